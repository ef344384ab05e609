//! What the application's messages lead to.

use std::time::Instant;

use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::{self, Outbound};
use pronghorn_proto::http1::reason_phrase;
use pronghorn_proto::websocket::handshake::subprotocol_field;
use pronghorn_proto::websocket::{self, CloseError, MessageKind};
use smallvec::SmallVec;

use crate::asgi::application::Level;
use crate::asgi::exchange::Exchange;
use crate::asgi::message::pairs;
use crate::asgi::websocket::message::SentMessage;
use crate::asgi::websocket::{Stage, WebSocket};
use crate::ffi::error::Raised;
use crate::ffi::kept;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::stream::{Flow, answer};

/// The application sends `message`.
pub fn send(exchange: &Exchange<WebSocket>, message: &Object) -> Result<Flow, Raised> {
    let (message, kind) = SentMessage::read(message)?;
    let order = || exchange.kind.order.get();
    let result = match &message {
        SentMessage::Send(content) => match order().send() {
            Ok(()) => return exchange.send_message(content.as_ref()),
            Err(error) => Err(error),
        },
        SentMessage::Accept { subprotocol, headers } => {
            let subprotocol = subprotocol
                .as_ref()
                .map(|chosen| text::utf8_of(chosen, "a subprotocol must be a str"))
                .transpose()?;
            exchange.accept(subprotocol, headers)
        }
        SentMessage::Close { code, reason } => {
            let reason = reason
                .as_ref()
                .map(|reason| text::utf8_of(reason, "a close reason must be a str"))
                .transpose()?;
            exchange.close(*code, reason.unwrap_or_default())
        }
        SentMessage::DenialStart { status, headers } => exchange.deny(*status, headers),
        SentMessage::DenialBody { data, more } => exchange.deny_body(data.as_ref(), *more),
        SentMessage::Other if order().is_disconnected() => Err(ApplicationError::Disconnected),
        SentMessage::Other => Err(order().unexpected()),
    };
    result.map_err(|error| exchange.raise(error, &kind))
}

impl Exchange<WebSocket> {
    fn raise(&self, error: ApplicationError, message_type: &Object) -> Raised {
        if error == ApplicationError::Disconnected
            && let Some(common) = self.websockets()
        {
            return Raised::of(&common.disconnected);
        }
        let message_type = text::as_str(message_type).unwrap_or_default();
        Raised::runtime_error(&error.text(message_type))
    }

    fn send_message(&self, content: Option<&(MessageKind, Object)>) -> Result<Flow, Raised> {
        let Some((kind, content)) = content else { return Ok(Flow::Free) };
        let data = match kind {
            MessageKind::Binary => kept::payload(content),
            MessageKind::Text => kept::utf8_payload(content, "`text` must be a str")?,
        };
        let flow = self.write(|socket, common, out| {
            let mut shared = common.shared.borrow_mut();
            socket.send(*kind, data, &mut shared, out).then(|| out.flow())
        });
        match (flow.flatten(), self.websockets()) {
            (Some(flow), _) => Ok(self.interrupted_at_times(flow, data.bytes.len())),
            (None, Some(common)) => Err(Raised::of(&common.disconnected)),
            (None, None) => Ok(Flow::Yield),
        }
    }

    fn accept(
        &self,
        subprotocol: Option<&str>,
        headers: &Object,
    ) -> Result<Flow, ApplicationError> {
        let last = subprotocol
            .filter(|chosen| !chosen.is_empty())
            .map(|chosen| subprotocol_field(chosen.as_bytes()))
            .transpose()?;
        self.kind.change(pronghorn_proto::asgi::websocket::Exchange::accept)?;
        let stage = self.kind.stage.replace(Stage::Over);
        let (Stage::Handshake(handshake), Some(common)) = (stage, self.websockets()) else {
            return Err(ApplicationError::Disconnected);
        };
        self.log_outcome("[accepted]");
        let first: SmallVec<[(&[u8], &[u8]); 4]> = handshake.fields().collect();
        let tunnel = event::Tunnel { first: &first, headers: &pairs(headers), last };
        let opened = self.streams.submit(self.stream(), &Outbound::Tunnel(tunnel));
        let flow = opened.inspect_err(|&error| self.handshake_failed(error))?;
        self.application.log(Level::Info, "connection open");
        let socket = websocket::WebSocket::new(
            Instant::now(),
            &common.limits,
            handshake.agreement.as_ref(),
            &mut common.shared.borrow_mut(),
        );
        self.kind.stage.replace(Stage::Open(Box::new(socket)));
        self.arm();
        Ok(flow)
    }

    fn close(&self, code: u16, reason: &str) -> Result<Flow, ApplicationError> {
        let before = self.kind.order.get();
        if self.kind.change(pronghorn_proto::asgi::websocket::Exchange::close)? {
            self.refuse(403, b"");
            return Ok(Flow::Free);
        }
        let now = Instant::now();
        let closed = self.write(|socket, common, out| {
            socket.close(now, &common.limits, code, reason, out).map(|()| out.flow())
        });
        let result = match closed {
            Some(Ok(flow)) => {
                self.kind.end.replace(Some((code, Some(reason.into()))));
                if self.is_closed() {
                    self.finish();
                }
                self.arm();
                return Ok(flow);
            }
            Some(Err(CloseError::InvalidCode)) => Err(ApplicationError::InvalidCloseCode),
            Some(Err(CloseError::ReasonTooLong)) => Err(ApplicationError::CloseReasonTooLong),
            Some(Err(CloseError::Closed)) | None => Err(ApplicationError::Disconnected),
        };
        self.kind.order.set(before);
        result
    }

    fn deny(&self, status: u16, headers: &Object) -> Result<Flow, ApplicationError> {
        self.kind.change(pronghorn_proto::asgi::websocket::Exchange::deny)?;
        let start = Outbound::Start { status, headers: &pairs(headers) };
        let flow = self.streams.submit(self.stream(), &start);
        let flow = flow.inspect_err(|&error| self.handshake_failed(error))?;
        self.log_outcome(&status.to_string());
        self.log_rejected(status);
        Ok(flow)
    }

    fn deny_body(&self, data: Option<&Object>, more: bool) -> Result<Flow, ApplicationError> {
        self.kind.change(|order| order.deny_body(more))?;
        let data = data.map_or_else(|| (&[]).into(), kept::payload);
        let flow = self.streams.submit(self.stream(), &Outbound::Body { data, more });
        let flow = flow.inspect_err(|_| {
            self.end(1006, None);
            self.abort_stream();
        })?;
        if !more {
            self.denied();
        }
        Ok(flow)
    }

    /// Answers the handshake instead of the application.
    pub(super) fn refuse(&self, status: u16, body: &[u8]) {
        if answer(&*self.streams, self.stream(), status, body, None).is_err() {
            self.abort_stream();
        }
        if status == 403 {
            self.log_outcome("403");
        }
        self.log_rejected(status);
        self.denied();
        self.streams.attend_soon(self.stream());
    }

    /// Nothing of the application's answer to the handshake has been sent.
    fn handshake_failed(&self, error: ApplicationError) {
        if matches!(error, ApplicationError::Disconnected) {
            self.end(1006, None);
            self.abort_stream();
        } else {
            self.refuse(500, b"Internal Server Error");
        }
    }

    fn denied(&self) {
        self.end(1006, None);
        self.kind.stage.replace(Stage::Over);
        self.wake_receivers();
    }

    fn log_rejected(&self, status: u16) {
        let line = format!("connection rejected ({status} {})", reason_phrase(status));
        self.application.log(Level::Info, &line);
    }
}
