//! One HTTP/1.x connection: what is being read, what is being written, and all transitions.
//!
//! The caller feeds `receive` with what has come and the application's messages to `submit`; when
//! a response is complete it asks `next` how the connection goes on. One request at a time: a
//! pipelined head is not looked at before the response to the one before it is complete, which
//! keeps answers in order.

use std::time::Instant;

use crate::deadline::{Deadline, Expired};
use crate::error::{ApplicationError, Reject};
use crate::event::{Inbound, Input, Outbound, Transmit};
use crate::head::{Method, RequestHead, Version};
use crate::http1::body::BodyReader;
use crate::http1::request::{self, Progress};
use crate::http1::response::{self, BodyWriter, Declared};
use crate::limits::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Head(Progress),
    Body(BodyReader),
    /// The request is whole; what follows waits.
    Complete,
    /// Nothing that comes is of interest any more.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// No request, or none answered yet.
    Idle,
    /// The head's last lines depend on how much body there is.
    HeadOpen {
        start: usize,
        status: u16,
        declared: Declared,
    },
    Body(BodyWriter),
    Complete,
}

/// How a connection goes on after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The response is not complete.
    Response,
    /// The rest of the request is read and dropped first.
    Drain,
    /// The next head may be read.
    Request,
    /// It ends. With `linger`, unread bytes are on their way, and closing at once would reset the
    /// connection and destroy the response (RFC 9112, 9.6).
    Close { linger: bool },
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    reading: Reading,
    writing: Writing,
    deadline: Deadline,
    /// The request in progress: its method was HEAD.
    head_request: bool,
    version: Version,
    /// The connection may carry another request.
    persistent: bool,
    /// `100 Continue` is still owed.
    owes_continue: bool,
    /// The application reads the body, so that there is no reason to end the connection over it.
    is_body_wanted: bool,
}

impl Connection {
    /// A connection just accepted: its first head is due.
    #[must_use]
    pub fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            reading: Reading::Head(Progress::default()),
            writing: Writing::Idle,
            deadline: Deadline::request_header(now, limits),
            head_request: false,
            version: Version::Http11,
            persistent: true,
            owes_continue: false,
            is_body_wanted: false,
        }
    }

    /// Understands as much of `input` as makes one event, `None` when that takes more bytes or the
    /// present response comes first. A head goes into `head`.
    ///
    /// # Errors
    /// The request is refused; `reject` writes the answer.
    pub fn receive<'i>(
        &mut self,
        now: Instant,
        limits: &Limits,
        input: &mut Input<'i>,
        head: &mut RequestHead,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        match &mut self.reading {
            Reading::Head(_) => self.receive_head(now, limits, input, head),
            Reading::Body(reader) => {
                let before = input.consumed();
                let event = reader.receive(input, limits)?;
                self.deadline.count(input.consumed() - before);
                if event == Some(Inbound::End) {
                    self.reading = Reading::Complete;
                    self.deadline = Deadline::None;
                    self.owes_continue = false;
                }
                Ok(event)
            }
            Reading::Complete => Ok(None),
            Reading::Closed => {
                input.take(usize::MAX);
                Ok(None)
            }
        }
    }

    fn receive_head<'i>(
        &mut self,
        now: Instant,
        limits: &Limits,
        input: &mut Input<'i>,
        head: &mut RequestHead,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        let Reading::Head(progress) = &mut self.reading else { return Ok(None) };
        let rest = input.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(length) = request::read_head(rest, progress, limits, head)? else {
            if matches!(self.deadline, Deadline::KeepAlive { .. }) {
                self.deadline = Deadline::request_header(now, limits);
            }
            return Ok(None);
        };
        self.head_request = head.method == Method::Head;
        self.version = head.version;
        self.persistent &= head.persistent;
        self.owes_continue = head.expects_continue;
        self.is_body_wanted = false;
        self.writing = Writing::Idle;
        (self.reading, self.deadline) = match BodyReader::new(head.framing) {
            None => (Reading::Complete, Deadline::None),
            Some(reader) => (Reading::Body(reader), Deadline::request_body(now, limits)),
        };
        Ok(Some(Inbound::Head(input.take(length))))
    }

    /// Writes what the application answers.
    ///
    /// # Errors
    /// The message is not allowed now or malformed; nothing of it has been written.
    pub fn submit(
        &mut self,
        limits: &Limits,
        defaults: &[u8],
        outbound: &Outbound<'_>,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        match (outbound, self.writing) {
            (Outbound::Start { status, headers }, Writing::Idle) => {
                let start = out.buffer().len();
                let declared = response::open_head(*status, defaults, headers, out.buffer())?;
                self.persistent &= !declared.closes;
                self.writing = Writing::HeadOpen { start, status: *status, declared };
                Ok(())
            }
            (Outbound::Body { data, more }, Writing::HeadOpen { .. } | Writing::Body(_)) => {
                self.close_head(limits, (!more).then_some(data.len() as u64), out);
                let Writing::Body(writer) = &mut self.writing else {
                    return Err(ApplicationError::ExpectedBody);
                };
                writer.write(data, *more, out)?;
                if !more {
                    self.writing = Writing::Complete;
                }
                Ok(())
            }
            (_, Writing::Idle) => Err(ApplicationError::ExpectedStart),
            (_, Writing::HeadOpen { .. } | Writing::Body(_)) => Err(ApplicationError::ExpectedBody),
            (_, Writing::Complete) => Err(ApplicationError::AfterComplete),
        }
    }

    /// Closes a head that still waits for its first body message, so that it can be sent.
    pub fn flush(&mut self, limits: &Limits, out: &mut impl Transmit) {
        self.close_head(limits, None, out);
    }

    fn close_head(&mut self, limits: &Limits, length: Option<u64>, out: &mut impl Transmit) {
        let Writing::HeadOpen { status, declared, .. } = self.writing else { return };
        let writer = if self.head_request {
            BodyWriter::Dropped
        } else if matches!(status, 204 | 304) {
            BodyWriter::Forbidden
        } else if let Some(remaining) = declared.content_length.or(length) {
            BodyWriter::Length { remaining }
        } else if self.version == Version::Http11 {
            BodyWriter::Chunked
        } else {
            BodyWriter::UntilClose
        };
        self.persistent &= self.rest_is_drainable(limits);
        self.owes_continue = false;
        let closes = !self.persistent && !declared.closes;
        response::close_head(writer, declared.content_length.is_some(), closes, out.buffer());
        self.writing = Writing::Body(writer);
    }

    /// Whether what is missing of the request is worth reading to keep the connection.
    fn rest_is_drainable(&self, limits: &Limits) -> bool {
        match &self.reading {
            Reading::Body(reader) => {
                !self.owes_continue
                    && (self.is_body_wanted
                        || reader.remaining().is_some_and(|bytes| bytes <= limits.drain_bytes_max))
            }
            Reading::Complete => true,
            Reading::Head(_) | Reading::Closed => false,
        }
    }

    /// The application asks for the body: tells a waiting client to send it (RFC 9110, 10.1.1).
    /// Says whether there is something to send.
    pub fn wants_body(&mut self, out: &mut impl Transmit) -> bool {
        self.is_body_wanted = true;
        let owed = self.owes_continue && self.writing == Writing::Idle;
        self.owes_continue &= !owed;
        if owed {
            out.buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        owed
    }

    /// The application has taken a part of the body.
    pub fn body_taken(&mut self) {
        self.is_body_wanted = true;
    }

    /// Answers a refused request, unless a response is under way, and ends the connection.
    pub fn reject(&mut self, status: u16, defaults: &[u8], out: &mut impl Transmit) {
        self.persistent = false;
        if self.writing == Writing::Idle {
            response::refusal(status, defaults, out.buffer());
        }
        self.writing = Writing::Complete;
        self.reading = Reading::Closed;
        self.deadline = Deadline::None;
    }

    /// Ends the connection in the middle of a response. Says whether closing it would look like a
    /// complete response, so that it must be reset.
    pub fn abort(&mut self, out: &mut impl Transmit) -> bool {
        if let Writing::HeadOpen { start, .. } = self.writing {
            // Half a head could be taken for a whole one.
            out.buffer().truncate(start);
        }
        let looks_complete = self.writing == Writing::Body(BodyWriter::UntilClose);
        self.persistent = false;
        self.writing = Writing::Complete;
        looks_complete
    }

    /// How the connection goes on; call it when a response may have become complete. Going on to
    /// the next request starts the keep-alive clock.
    pub fn next(&mut self, now: Instant, limits: &Limits) -> Next {
        match (self.writing, &self.reading) {
            (Writing::Complete, Reading::Complete) if self.persistent => {
                self.reading = Reading::Head(Progress::default());
                self.writing = Writing::Idle;
                self.deadline = Deadline::keep_alive(now, limits);
                Next::Request
            }
            (Writing::Complete, Reading::Body(reader))
                if self.persistent
                    && reader.remaining().is_some_and(|bytes| bytes <= limits.drain_bytes_max) =>
            {
                Next::Drain
            }
            (Writing::Complete, reading) => {
                let linger = !matches!(reading, Reading::Complete);
                self.reading = Reading::Closed;
                self.deadline = Deadline::None;
                Next::Close { linger }
            }
            _ => Next::Response,
        }
    }

    /// The present request is the last one.
    pub fn end_after_response(&mut self) {
        self.persistent = false;
    }

    /// No request has begun, as far as bytes that were understood tell.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && self.writing == Writing::Idle
    }

    /// The request's body is still coming.
    #[must_use]
    pub fn expects_body(&self) -> bool {
        matches!(self.reading, Reading::Body(_))
    }

    /// Nothing of a response has been written for the present request.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.writing == Writing::Idle
    }

    /// Until when the peer has time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.until()
    }

    /// The time has come: says what to do. `waiting` tells that the application lags, so that the
    /// peer is not to blame for a body that does not move.
    pub fn handle_timeout(&mut self, now: Instant, limits: &Limits, waiting: bool) -> Expired {
        match self.deadline {
            deadline if deadline.until().is_none_or(|until| until > now) => Expired::NotYet,
            Deadline::RequestBody { received, .. }
                if waiting || received >= limits.request_body_window_bytes_min =>
            {
                self.deadline = Deadline::request_body(now, limits);
                Expired::NotYet
            }
            Deadline::RequestBody { .. } => Expired::RequestTimeout("request body too slow"),
            Deadline::RequestHeader { .. } if self.has_begun_head() => {
                Expired::RequestTimeout("request header too slow")
            }
            _ => Expired::Close,
        }
    }

    fn has_begun_head(&self) -> bool {
        matches!(self.reading, Reading::Head(progress) if progress != Progress::default())
    }
}
