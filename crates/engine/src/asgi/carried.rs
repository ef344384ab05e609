//! What a stream carries: a request and its application, whichever kind that is.
//!
//! The connection's side of it: bytes and the end come in, room to send is told of. A stream that
//! has become a byte tunnel (after 101 in HTTP/1.1, after 200 to an extended CONNECT in HTTP/2)
//! carries a WebSocket exchange: a variant here, to which the same calls bring the tunnel's bytes.

use std::time::Instant;

use crate::asgi::exchange::Exchange;
use crate::asgi::http::Http;
use crate::asgi::websocket::WebSocket;
use crate::ffi::error::Raised;
use crate::ffi::native::Ref;
use crate::ffi::object::Object;
use crate::stream::{Handshakes, StreamId};

/// What a stream carries.
#[derive(Clone)]
pub enum Carried {
    Http(Ref<Exchange<Http>>),
    WebSocket(Ref<Exchange<WebSocket>>),
}

impl Carried {
    /// The coroutine that its task runs.
    pub fn coroutine(&self) -> &Object {
        match self {
            Self::Http(exchange) => exchange.object(),
            Self::WebSocket(exchange) => exchange.object(),
        }
    }

    pub fn stream(&self) -> StreamId {
        match self {
            Self::Http(exchange) => exchange.stream(),
            Self::WebSocket(exchange) => exchange.stream(),
        }
    }

    /// The application has returned or raised.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Http(exchange) => exchange.has_ended(),
            Self::WebSocket(exchange) => exchange.has_ended(),
        }
    }

    /// Notes the number under which its task is kept.
    pub fn set_key(&self, key: usize) {
        match self {
            Self::Http(exchange) => exchange.set_key(key),
            Self::WebSocket(exchange) => exchange.set_key(key),
        }
    }

    /// Bytes have come. Runs no Python code.
    pub fn push_body(&self, data: &[u8]) -> Result<(), Raised> {
        match self {
            Self::Http(exchange) => exchange.push_body(data),
            Self::WebSocket(exchange) => exchange.push_body(data),
        }
    }

    /// Bytes that have come and that the application has not taken.
    pub fn inbox_bytes(&self) -> usize {
        match self {
            Self::Http(exchange) => exchange.inbox_bytes(),
            Self::WebSocket(exchange) => exchange.inbox_bytes(),
        }
    }

    /// The request is whole. Runs no Python code.
    pub fn end_body(&self) {
        match self {
            Self::Http(exchange) => exchange.end_body(),
            Self::WebSocket(exchange) => exchange.end_body(),
        }
    }

    /// What has come is told to those who wait for it.
    pub fn wake_receivers(&self) {
        match self {
            Self::Http(exchange) => exchange.wake_receivers(),
            Self::WebSocket(exchange) => exchange.bytes_came(),
        }
    }

    /// Somebody waits for room to send.
    pub fn waits_for_room(&self) -> bool {
        match self {
            Self::Http(exchange) => exchange.has_senders(),
            Self::WebSocket(exchange) => exchange.waits_for_room(),
        }
    }

    /// There is room to send.
    pub fn room_came(&self) {
        match self {
            Self::Http(exchange) => exchange.wake_senders(),
            Self::WebSocket(exchange) => exchange.room_came(),
        }
    }

    /// The client has ended its side; what is sent may still reach it.
    pub fn leave(&self) {
        match self {
            Self::Http(exchange) => exchange.leave(),
            Self::WebSocket(exchange) => exchange.leave(),
        }
    }

    /// It was told that the client has ended its side.
    pub fn has_left(&self) -> bool {
        match self {
            Self::Http(exchange) => exchange.has_left(),
            Self::WebSocket(exchange) => exchange.has_left(),
        }
    }

    /// The server is shutting down: who would stay is told to go.
    pub fn shut_down(&self, handshakes: Handshakes) {
        match self {
            Self::Http(_) => {}
            Self::WebSocket(exchange) => exchange.shut_down(handshakes),
        }
    }

    /// There is little time left: an application that waits for its client to leave is told that it
    /// has. What it sends still goes out.
    pub fn announce_end(&self) {
        match self {
            Self::Http(exchange) => exchange.leave(),
            // It was told when the server began to shut down.
            Self::WebSocket(_) => {}
        }
    }

    /// The time that it asked for has come.
    pub fn handle_timeout(&self, now: Instant) {
        match self {
            Self::Http(_) => {}
            Self::WebSocket(exchange) => exchange.handle_timeout(now),
        }
    }

    /// The client is gone.
    pub fn disconnect(&self) {
        match self {
            Self::Http(exchange) => exchange.disconnect(),
            Self::WebSocket(exchange) => exchange.disconnect(),
        }
    }

    /// The answer is complete, and the connection goes on without this stream.
    pub fn release(&self) {
        match self {
            Self::Http(exchange) => exchange.release(),
            Self::WebSocket(exchange) => exchange.release(),
        }
    }
}
