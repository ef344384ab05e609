//! `h2` itself, polled whenever there may be something to do.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, Handshake, SendResponse};
use http::Request;

use crate::http2::pipe::Pipe;

/// How far the connection has come.
pub enum Driver {
    Handshake(Box<Handshake<Pipe, Bytes>>),
    Open(Box<Connection<Pipe, Bytes>>),
    Closed,
}

/// A new request and where its answer goes.
pub type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

impl Driver {
    /// Lets `h2` understand what has come, and write what it likes; gives the next request.
    pub fn accept(&mut self, drain: bool) -> Option<Accepted> {
        self.shake_hands(drain);
        let Self::Open(connection) = self else { return None };
        match connection.poll_accept(&mut context()) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(accepted))) => Some(accepted),
            // It has told the peer why.
            Poll::Ready(Some(Err(_)) | None) => {
                *self = Self::Closed;
                None
            }
        }
    }

    /// The same, with requests left where they are.
    pub fn advance(&mut self, drain: bool) {
        self.shake_hands(drain);
        if let Self::Open(connection) = self
            && connection.poll_closed(&mut context()).is_ready()
        {
            *self = Self::Closed;
        }
    }

    fn shake_hands(&mut self, drain: bool) {
        let Self::Handshake(handshake) = self else { return };
        match Pin::new(&mut **handshake).poll(&mut context()) {
            Poll::Pending => {}
            Poll::Ready(Ok(mut connection)) => {
                if drain {
                    connection.graceful_shutdown();
                }
                *self = Self::Open(Box::new(connection));
            }
            Poll::Ready(Err(_)) => *self = Self::Closed,
        }
    }
}

/// Nobody needs to be woken.
pub fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
