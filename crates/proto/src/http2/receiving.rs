//! A request's body while it is received.

use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;

use crate::deadline::Deadline;
use crate::error::Reject;
use crate::head::RequestHead;
use crate::http2::driver::context;
use crate::limits::Limits;

#[derive(Debug)]
pub enum Receiving {
    Body(Body),
    /// It has all come. What the application has not taken of it still counts against the peer.
    Ended(Body),
    /// There was none.
    Nothing,
}

#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    deadline: Deadline,
    received: u64,
    bytes_max: u64,
    /// Bytes that the application has not taken.
    untaken: usize,
    /// The peer waits for `100 Continue` (RFC 9110, 10.1.1).
    awaits_continue: bool,
}

/// What has come for a stream.
pub enum Received {
    Body(Bytes),
    End,
    /// The peer has taken it back, or broken a rule.
    Reset,
    Nothing,
}

impl Receiving {
    pub fn new(now: Instant, limits: &Limits, stream: RecvStream, head: &RequestHead) -> Self {
        Self::Body(Body {
            stream,
            // What goes through a tunnel has clocks of its own.
            deadline: match head.upgrade {
                None => Deadline::request_body(now, limits),
                Some(_) => Deadline::None,
            },
            received: 0,
            bytes_max: head.upgrade.map_or(limits.body_bytes_max, |_| u64::MAX),
            untaken: 0,
            awaits_continue: head.expects_continue,
        })
    }

    /// What has come since the last time, one event at a time.
    pub fn receive(&mut self) -> Result<Received, Reject> {
        let Self::Body(body) = self else { return Ok(Received::Nothing) };
        let polled = loop {
            match body.stream.poll_data(&mut context()) {
                // A frame may hold nothing, or nothing but padding.
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                polled => break polled,
            }
        };
        match polled {
            Poll::Ready(Some(Ok(data))) => body.count(data),
            Poll::Ready(Some(Err(_))) => Ok(Received::Reset),
            Poll::Ready(None) => {
                if let Self::Body(body) = std::mem::replace(self, Self::Nothing) {
                    *self = Self::Ended(body);
                }
                Ok(Received::End)
            }
            Poll::Pending => Ok(Received::Nothing),
        }
    }

    /// The application asks for the body. Says whether the peer waits for that; it does so once.
    pub fn ends_wait(&mut self) -> bool {
        let Self::Body(body) = self else { return false };
        let awaits_continue = std::mem::take(&mut body.awaits_continue);
        if awaits_continue {
            body.deadline.excuse();
        }
        awaits_continue
    }

    /// The application has taken so many bytes: the peer may send as many more.
    pub fn taken(&mut self, bytes: usize) {
        if let Self::Body(body) | Self::Ended(body) = self {
            let bytes = bytes.min(body.untaken);
            body.untaken -= bytes;
            // Fails only for more than has come.
            let _ = body.stream.flow_control().release_capacity(bytes);
        }
    }

    /// What of it still comes, and how much of what has come nobody has taken.
    pub fn into_rest(self) -> Option<(RecvStream, usize)> {
        match self {
            Self::Body(body) => Some((body.stream, body.untaken)),
            Self::Ended(_) | Self::Nothing => None,
        }
    }

    /// Until when the peer has time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Body(body) => body.deadline.until(),
            Self::Ended(_) | Self::Nothing => None,
        }
    }

    /// Whether the peer has sent too little for too long; else it gets another window.
    pub fn is_too_slow(&mut self, now: Instant, limits: &Limits) -> bool {
        let Self::Body(body) = self else { return false };
        // What the application has not taken, the peer need not add to.
        let is_excused = body.untaken > 0 || body.awaits_continue;
        match body.deadline {
            Deadline::RequestBody { until, received } if until <= now => {
                let is_enough = received >= limits.request_body_window_bytes_min;
                if is_excused || is_enough {
                    body.deadline = Deadline::request_body(now, limits);
                }
                !(is_excused || is_enough)
            }
            _ => false,
        }
    }
}

impl Body {
    fn count(&mut self, data: Bytes) -> Result<Received, Reject> {
        self.awaits_continue = false;
        self.deadline.count(data.len());
        self.received += data.len() as u64;
        self.untaken += data.len();
        if self.received > self.bytes_max {
            return Err(Reject::CONTENT_TOO_LARGE);
        }
        Ok(Received::Body(data))
    }
}
