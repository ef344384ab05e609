//! What a connection speaks, and what its streams carry.
//!
//! An HTTP/1.1 connection has one stream at a time, in place; HTTP/2 has many, by their numbers.
//! Above this, streams are told apart by their numbers only.

use std::time::{Duration, Instant};

use pronghorn_proto::deadline::Expired;
use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::{Outbound, Transmit};
use pronghorn_proto::http1;
use pronghorn_proto::limits::Limits;

use crate::asgi::carried::Carried;

/// What a connection speaks.
pub enum Protocol {
    Http1(Http1),
}

/// HTTP/1.0 or HTTP/1.1.
pub struct Http1 {
    pub state: http1::Connection,
    /// The request in progress.
    pub carried: Option<Carried>,
}

/// What is left to do for a stream whose answer cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The connection ends.
    Close,
    /// So it does, but its end would look like that of a complete answer: it must be reset.
    Reset,
}

impl Protocol {
    /// A connection just accepted: HTTP/1.1, unless its first bytes tell otherwise.
    pub fn new(now: Instant, limits: &Limits) -> Self {
        Self::Http1(Http1 { state: http1::Connection::new(now, limits), carried: None })
    }

    /// What a stream carries.
    pub fn carried(&self, _number: u32) -> Option<&Carried> {
        match self {
            Self::Http1(http1) => http1.carried.as_ref(),
        }
    }

    /// What all streams carry.
    pub fn all_carried(&self) -> impl Iterator<Item = &Carried> {
        match self {
            Self::Http1(http1) => http1.carried.iter(),
        }
    }

    /// Has a stream carry something; gives back what it carried before.
    pub fn carry(&mut self, _number: u32, carried: Carried) -> Option<Carried> {
        match self {
            Self::Http1(http1) => http1.carried.replace(carried),
        }
    }

    /// Writes what an application answers.
    pub fn submit(
        &mut self,
        _number: u32,
        limits: &Limits,
        defaults: &[u8],
        outbound: &Outbound<'_>,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        match self {
            Self::Http1(http1) => http1.state.submit(limits, defaults, outbound, out),
        }
    }

    /// The application asks for the body. Says whether there is something to send.
    pub fn wants_body(&mut self, _number: u32, out: &mut impl Transmit) -> bool {
        match self {
            Self::Http1(http1) => http1.state.wants_body(out),
        }
    }

    /// The application has taken so many bytes of the body.
    pub fn body_taken(&mut self, _number: u32, _bytes: usize) {
        match self {
            Self::Http1(http1) => http1.state.body_taken(),
        }
    }

    /// The body is still coming.
    pub fn expects_body(&self, _number: u32) -> bool {
        match self {
            Self::Http1(http1) => http1.state.expects_body(),
        }
    }

    /// The answer cannot be completed.
    pub fn abort(&mut self, _number: u32, out: &mut impl Transmit) -> Aborted {
        match self {
            Self::Http1(http1) => {
                if http1.state.abort(out) {
                    Aborted::Reset
                } else {
                    Aborted::Close
                }
            }
        }
    }

    /// Requests that have begun are the last ones, or one that comes within `idle_grace`.
    pub fn drain(&mut self, now: Instant, idle_grace: Duration) {
        match self {
            Self::Http1(http1) => http1.state.drain(now, idle_grace),
        }
    }

    /// No request has begun, as far as bytes that were understood tell.
    pub fn is_between_requests(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.state.is_between_requests(),
        }
    }

    /// Until when the peer has time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Http1(http1) => http1.state.poll_timeout(),
        }
    }

    /// The time has come. `waiting` tells that the application lags, not the peer.
    pub fn handle_timeout(&mut self, now: Instant, limits: &Limits, waiting: bool) -> Expired {
        match self {
            Self::Http1(http1) => http1.state.handle_timeout(now, limits, waiting),
        }
    }
}
