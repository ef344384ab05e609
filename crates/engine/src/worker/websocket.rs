//! From a head that asks for a WebSocket to its exchange.

use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::head::{RequestHead, Version};
use pronghorn_proto::http1::reason_phrase;
use pronghorn_proto::websocket::handshake::{Handshake, Refusal, subprotocols};
use smallvec::SmallVec;

use crate::access_log::websocket_line;
use crate::asgi::application::Level;
use crate::asgi::carried::Carried;
use crate::asgi::exchange::Exchange;
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::protocol::Protocol;
use crate::stream::{Handshakes, StreamId, Streams, answer};
use crate::worker::Worker;
use crate::worker::request::closed;

impl Worker {
    /// Makes a WebSocket's of the scope of a request.
    pub(super) fn websocket_scope(
        &self,
        head: &RequestHead,
        source: &[u8],
        scope: Object,
    ) -> Result<Object, Raised> {
        let subprotocols: SmallVec<[&[u8]; 8]> = subprotocols(head, source).collect();
        self.application.scopes.make_websocket(scope, &subprotocols)
    }

    /// Makes an exchange of a head that asks for a WebSocket. `None` when it is refused.
    pub(super) fn begin_websocket(
        &self,
        id: StreamId,
        head: &RequestHead,
        source: &[u8],
        scope: Object,
    ) -> Result<Option<Carried>, Raised> {
        let deflate = self.application.websockets.as_ref().and_then(|all| all.deflate.as_ref());
        let handshake = match head.version {
            Version::Http2 => Handshake::of_connect(head, source, deflate),
            _ => Handshake::of_upgrade(head, source, deflate),
        };
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(refusal) => {
                self.refuse_handshake(id, &refusal);
                return Ok(None);
            }
        };
        let is_draining = self.tables.borrow().draining == Some(Handshakes::Refused);
        if is_draining || self.is_at_limit(head.path.of(source)) {
            if !is_draining {
                self.application.log(Level::Warning, "Exceeded concurrency limit.");
            }
            self.application.log(Level::Info, &websocket_line(&scope, "503"));
            self.refuse_handshake(id, &Refusal::unavailable());
            return Ok(None);
        }
        let streams: Rc<dyn Streams> = self.this.upgrade().ok_or_else(closed)?;
        let application = self.application.clone();
        let exchange = Exchange::for_handshake(application, streams, id, scope, handshake)?;
        let carried = Carried::WebSocket(exchange);
        self.carry(id, carried.clone());
        Ok(Some(carried))
    }

    /// Bytes have come; says whether through a tunnel, to a WebSocket.
    pub(super) fn tunnel_received(&self, id: StreamId, data: &[u8], now: Instant) -> bool {
        let socket = match self.tables.borrow_mut().connection(id.connection) {
            Some(connection) => match connection.protocol.carried(id.number) {
                Some(Carried::WebSocket(socket)) => socket.clone(),
                _ => return false,
            },
            None => return false,
        };
        if let Err(raised) = socket.receive_bytes(data, now) {
            raised.report(None);
            self.abort(id);
        }
        true
    }

    /// What comes behind the head is the other protocol's, and no request whatever the answer is.
    pub(super) fn end_after_handshake(&self, id: StreamId) {
        if let Some(connection) = self.tables.borrow_mut().connection(id.connection) {
            match &mut connection.protocol {
                Protocol::Http1(http1) => http1.state.end_after_response(),
                Protocol::Http2(_) => {}
            }
        }
    }

    fn refuse_handshake(&self, id: StreamId, refusal: &Refusal) {
        let Refusal { status, text, field } = refusal;
        if answer(self, id, *status, text.as_bytes(), *field).is_err() {
            self.abort(id);
        }
        let line = format!("connection rejected ({status} {})", reason_phrase(*status));
        self.application.log(Level::Info, &line);
    }
}
