//! One HTTP/1.x connection: what is being read, what is being written, and all transitions.
//!
//! The caller feeds `receive` with what has come and the application's messages to `submit`; when
//! a response is complete it asks `next` how the connection goes on. One request at a time: a
//! pipelined head is not looked at before the response to the one before it is complete, which
//! keeps answers in order.

use std::time::{Duration, Instant};

use crate::deadline::{Deadline, Expired};
use crate::error::{ApplicationError, Reject};
use crate::event::{Inbound, Input, Outbound, Transmit, Tunnel};
use crate::head::{Framing, RequestHead, Version};
use crate::http1::body::BodyReader;
use crate::http1::current::{Current, Demand};
use crate::http1::request::HeadReader;
use crate::http1::response::{self, BodyWriter, Declared, Piece};
use crate::limits::Limits;

#[derive(Debug)]
enum Reading {
    Head(HeadReader),
    Body(BodyReader),
    /// The request is whole; what follows waits.
    Complete,
    /// Another protocol's bytes.
    Tunnel,
    /// Nothing that comes is of interest any more.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    /// No request, or none answered yet.
    Idle,
    /// The head's last lines depend on how much body there is. So many bytes of it are at the end of
    /// the buffer, which is not to be sent before `flush`.
    HeadOpen {
        length: usize,
        status: u16,
        declared: Declared,
    },
    Body(BodyWriter),
    Tunnel,
    /// The body is out, and its end is not.
    Trailers {
        written: bool,
    },
    Complete,
}

/// Whether another request may follow the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Persistence {
    Kept,
    /// The peer has said that it sends no more.
    EndedByPeer,
    /// It may be sending more.
    EndedByServer,
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
    /// It is a tunnel: what comes is another protocol's.
    Tunnel,
    /// It ends. With `linger`, unread bytes may be on their way, and closing at once would reset the
    /// connection and destroy the response (RFC 9112, 9.6).
    Close { linger: bool },
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    reading: Reading,
    writing: Writing,
    deadline: Deadline,
    persistence: Persistence,
    /// How long an idle connection waits for one last request, once there are to be no more.
    drained: Option<Duration>,
    request: Current,
}

impl Connection {
    /// A connection just accepted: its first head is due.
    #[must_use]
    pub fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            reading: Reading::Head(HeadReader::first()),
            writing: Writing::Idle,
            deadline: Deadline::request_header(now, limits),
            persistence: Persistence::Kept,
            drained: None,
            request: Current::default(),
        }
    }

    /// Understands as much of `input` as makes one event, `None` when that takes more bytes or the
    /// present response comes first; what was not taken then comes again, with more behind it. A
    /// head goes into `head`, which may be overwritten without one as well.
    ///
    /// # Errors
    /// The request is refused; `reject` writes the answer. Nothing more is understood.
    pub fn receive<'i>(
        &mut self,
        now: Instant,
        limits: &Limits,
        input: &mut Input<'i>,
        head: &mut RequestHead,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        let result = match &mut self.reading {
            Reading::Head(_) => self.receive_head(now, limits, input, head),
            Reading::Body(_) => self.receive_body(limits, input),
            Reading::Complete => Ok(None),
            Reading::Tunnel => Ok(match input.take(usize::MAX) {
                [] => None,
                bytes => Some(Inbound::Body(bytes)),
            }),
            Reading::Closed => {
                input.take(usize::MAX);
                Ok(None)
            }
        };
        if result.is_err() {
            self.stop_reading();
        }
        result
    }

    fn receive_head<'i>(
        &mut self,
        now: Instant,
        limits: &Limits,
        input: &mut Input<'i>,
        head: &mut RequestHead,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        let Reading::Head(reader) = &mut self.reading else { return Ok(None) };
        let rest = input.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(length) = (match reader.read(rest, limits, head) {
            Err(reject) if reader.is_http2(rest, reject) => {
                return Ok(Some(Inbound::Http2(reject)));
            }
            length => length?,
        }) else {
            if matches!(self.deadline, Deadline::KeepAlive { .. }) && reader.has_begun() {
                self.deadline = Deadline::request_header(now, limits);
            }
            return Ok(None);
        };
        self.request = Current::of(head);
        if matches!(head.framing, Framing::Length(length) if length > limits.body_bytes_max) {
            return Err(Reject::CONTENT_TOO_LARGE);
        }
        if !head.persistent {
            self.persistence = Persistence::EndedByPeer;
        }
        (self.reading, self.deadline) = match BodyReader::new(head.framing) {
            None => (Reading::Complete, Deadline::None),
            Some(reader) => (Reading::Body(reader), Deadline::request_body(now, limits)),
        };
        Ok(Some(Inbound::Head(input.take(length))))
    }

    fn receive_body<'i>(
        &mut self,
        limits: &Limits,
        input: &mut Input<'i>,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        let Reading::Body(reader) = &mut self.reading else { return Ok(None) };
        let before = input.consumed();
        let event = reader.receive(input, limits)?;
        let taken = input.consumed() - before;
        self.deadline.count(taken);
        if taken > 0 && self.request.demand == Demand::Continue {
            // It does not wait any longer.
            self.request.demand = Demand::Nobody;
            self.deadline.excuse();
        }
        if event == Some(Inbound::End) {
            self.reading = Reading::Complete;
            self.deadline = Deadline::None;
        }
        Ok(event)
    }

    /// Writes what the application answers. What it writes of a head is not to be sent before
    /// `flush`, since `abort` and `reject` take it back.
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
            // The request that this would answer is over.
            (_, Writing::Idle) if matches!(self.reading, Reading::Head(_)) => {
                Err(ApplicationError::AfterComplete)
            }
            (Outbound::Start { status, headers }, Writing::Idle) => {
                let start = out.buffer().len();
                let declared = response::open_head(*status, defaults, headers, out.buffer())?;
                if declared.closes {
                    self.end_after_response();
                }
                let length = out.buffer().len() - start;
                self.writing = Writing::HeadOpen { length, status: *status, declared };
                Ok(())
            }
            (Outbound::EarlyHint { links }, _) => self.early_hint(links, out),
            (Outbound::Tunnel(tunnel), Writing::Idle) => self.open_tunnel(tunnel, defaults, out),
            (_, Writing::Idle) => Err(ApplicationError::ExpectedStart),
            (Outbound::Body { data, more }, Writing::HeadOpen { .. } | Writing::Body(_)) => {
                self.write_body(limits, Piece::Bytes(*data), *more, out)
            }
            (Outbound::Detached { length, more }, Writing::HeadOpen { .. } | Writing::Body(_)) => {
                self.write_body(limits, Piece::Detached(*length), *more, out)
            }
            (
                Outbound::Trailers { headers, more },
                Writing::HeadOpen { .. } | Writing::Body(_) | Writing::Trailers { .. },
            ) => self.write_trailers(limits, headers, *more, out),
            (Outbound::Body { data, more }, Writing::Tunnel) => {
                out.payload(*data);
                if !more {
                    self.writing = Writing::Complete;
                    self.stop_reading();
                }
                Ok(())
            }
            (_, Writing::HeadOpen { .. } | Writing::Body(_)) => Err(ApplicationError::ExpectedBody),
            (_, Writing::Trailers { .. }) => Err(ApplicationError::ExpectedTrailers),
            (_, Writing::Tunnel | Writing::Complete) => Err(ApplicationError::AfterComplete),
        }
    }

    fn write_body(
        &mut self,
        limits: &Limits,
        piece: Piece<'_>,
        more: bool,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        self.close_head(limits, (!more).then_some(piece.len()), out);
        let Writing::Body(writer) = &mut self.writing else {
            return Err(ApplicationError::ExpectedBody);
        };
        writer.write(piece, more, out)?;
        if !more {
            self.writing = Writing::Complete;
        }
        Ok(())
    }

    /// Only a chunked body has a place for trailers, and only a peer that says so knows of it; the
    /// others lose nothing that they need (RFC 9110, 6.5.1).
    fn write_trailers(
        &mut self,
        limits: &Limits,
        headers: &[(&[u8], &[u8])],
        more: bool,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        self.close_head(limits, None, out);
        if let Writing::Body(mut writer) = self.writing {
            let written = writer == BodyWriter::Chunked && self.request.accepts_trailers;
            if written {
                out.buffer().extend_from_slice(b"0\r\n");
            } else {
                writer.write(Piece::Bytes(b"".into()), false, out)?;
            }
            self.writing = Writing::Trailers { written };
        }
        if let Writing::Trailers { written: true } = self.writing {
            response::trailer_lines(headers, out.buffer())?;
            if !more {
                out.buffer().extend_from_slice(b"\r\n");
            }
        }
        if !more {
            self.writing = Writing::Complete;
        }
        Ok(())
    }

    /// Interim responses precede the final one, and HTTP/1.0 has none (RFC 9110, 15.2).
    fn early_hint(
        &mut self,
        links: &[&[u8]],
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        if self.request.version == Version::Http10 {
            return Ok(());
        }
        match &self.writing {
            Writing::Idle => response::early_hint(links, out.buffer()),
            Writing::HeadOpen { length, .. } => {
                let mut hint = Vec::new();
                response::early_hint(links, &mut hint)?;
                let start = out.buffer().len() - *length;
                out.buffer().splice(start..start, hint);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Only a request without a body can be answered so: where it ended, the tunnel begins.
    fn open_tunnel(
        &mut self,
        tunnel: &Tunnel<'_>,
        defaults: &[u8],
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        if !matches!(self.reading, Reading::Complete) {
            return Err(ApplicationError::ExpectedStart);
        }
        response::switch_protocols(tunnel, defaults, out.buffer())?;
        self.reading = Reading::Tunnel;
        self.writing = Writing::Tunnel;
        self.end_after_response();
        Ok(())
    }

    /// Closes a head that still waits for its first body message, so that it can be sent.
    pub fn flush(&mut self, limits: &Limits, out: &mut impl Transmit) {
        self.close_head(limits, None, out);
    }

    fn close_head(&mut self, limits: &Limits, length: Option<u64>, out: &mut impl Transmit) {
        let Writing::HeadOpen { status, declared, .. } = self.writing else { return };
        let writer = if self.request.is_head {
            BodyWriter::Dropped
        } else if matches!(status, 204 | 304) {
            BodyWriter::Forbidden
        } else if let Some(remaining) = declared.content_length.or(length) {
            BodyWriter::Length { remaining }
        } else if self.request.version == Version::Http11 {
            BodyWriter::Chunked
        } else {
            BodyWriter::UntilClose
        };
        let is_last = length.is_some();
        if self.drained.is_some() || !self.rest_is_drainable(limits, is_last) {
            self.end_after_response();
        }
        let closes = self.persistence != Persistence::Kept && !declared.closes;
        response::close_head(writer, declared.content_length.is_some(), closes, out.buffer());
        self.writing = Writing::Body(writer);
    }

    /// Whether what is missing of the request is worth reading to keep the connection. An application
    /// that reads may do so until the last message of its response, and not behind it.
    fn rest_is_drainable(&self, limits: &Limits, is_last: bool) -> bool {
        match (&self.reading, self.request.demand) {
            (Reading::Complete | Reading::Tunnel, _) => true,
            (Reading::Body(_), Demand::Application) if !is_last => true,
            (Reading::Body(reader), Demand::Application | Demand::Nobody) => {
                reader.is_short(limits)
            }
            // Whether a peer that was not told to send its body does so is anybody's guess.
            (Reading::Body(_), Demand::Continue) | (Reading::Head(_) | Reading::Closed, _) => false,
        }
    }

    /// The application asks for the body: tells a waiting client to send it (RFC 9110, 10.1.1).
    /// Says whether there is something to send.
    pub fn wants_body(&mut self, out: &mut impl Transmit) -> bool {
        match (self.request.demand, self.writing) {
            (Demand::Continue, Writing::Idle) => {
                self.request.demand = Demand::Application;
                self.deadline.excuse();
                out.buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                true
            }
            // The response has come before it.
            (Demand::Continue, _) => false,
            (Demand::Nobody | Demand::Application, _) => {
                self.request.demand = Demand::Application;
                false
            }
        }
    }

    /// The application has taken a part of the body.
    pub fn body_taken(&mut self) {
        self.request.demand = Demand::Application;
    }

    /// Answers a refused request, unless a response is under way, and ends the connection. Says
    /// whether closing it would look like a complete response, so that it must be reset.
    pub fn reject(&mut self, reject: Reject, defaults: &[u8], out: &mut impl Transmit) -> bool {
        self.withdraw_head(out);
        if self.writing == Writing::Idle {
            response::refusal(reject, defaults, self.request.is_head, out.buffer());
        }
        self.abort(out)
    }

    /// Ends the connection in the middle of a response. Says whether closing it would look like a
    /// complete response, so that it must be reset.
    pub fn abort(&mut self, out: &mut impl Transmit) -> bool {
        self.withdraw_head(out);
        let looks_complete = self.writing == Writing::Body(BodyWriter::UntilClose);
        self.writing = Writing::Complete;
        self.stop_reading();
        looks_complete
    }

    /// Takes back a head that is still open: half of one could be taken for a whole one.
    fn withdraw_head(&mut self, out: &mut impl Transmit) {
        if let Writing::HeadOpen { length, .. } = self.writing {
            let start = out.buffer().len() - length;
            out.buffer().truncate(start);
            self.writing = Writing::Idle;
        }
    }

    fn stop_reading(&mut self) {
        self.reading = Reading::Closed;
        self.deadline = Deadline::None;
        self.end_after_response();
    }

    /// How the connection goes on; call it when a response may have become complete. Going on to
    /// the next request starts the keep-alive clock.
    pub fn next(&mut self, now: Instant, limits: &Limits) -> Next {
        match (self.writing, &self.reading, self.persistence) {
            (Writing::Complete, Reading::Complete, Persistence::Kept) => {
                self.reading = Reading::Head(HeadReader::default());
                self.writing = Writing::Idle;
                self.request.is_head = false;
                let timeout = self.drained.unwrap_or(limits.keep_alive_timeout);
                self.deadline = Deadline::keep_alive(now, timeout);
                Next::Request
            }
            (Writing::Complete, Reading::Body(reader), Persistence::Kept)
                if reader.is_short(limits) =>
            {
                Next::Drain
            }
            (Writing::Tunnel, ..) => Next::Tunnel,
            (Writing::Complete, reading, persistence) => {
                let peer_has_ended =
                    matches!(reading, Reading::Complete) && persistence == Persistence::EndedByPeer;
                self.stop_reading();
                Next::Close { linger: !peer_has_ended }
            }
            _ => Next::Response,
        }
    }

    /// The present request is the last one.
    pub fn end_after_response(&mut self) {
        if self.persistence == Persistence::Kept {
            self.persistence = Persistence::EndedByServer;
        }
    }

    /// The next response whose head goes out is the last, and says so. A peer that has not been told
    /// may send another request, for which an idle connection waits for so long: closing at once
    /// would lose it (RFC 9112, 9.6).
    pub fn drain(&mut self, now: Instant, idle_grace: Duration) {
        self.drained = Some(idle_grace);
        if self.is_between_requests() && !self.has_begun_head() {
            self.deadline = self.deadline.idle_until(now + idle_grace);
        }
    }

    /// No request has begun, as far as bytes that were understood tell.
    #[must_use]
    pub fn is_between_requests(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && self.writing == Writing::Idle
    }

    /// The bytes are another protocol's.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        matches!(self.reading, Reading::Tunnel)
    }

    /// The request's body is still coming, or a tunnel's bytes.
    #[must_use]
    pub fn expects_body(&self) -> bool {
        matches!(self.reading, Reading::Body(_) | Reading::Tunnel)
    }

    /// What was written last is a head that may still be taken back or changed.
    #[must_use]
    pub fn has_open_head(&self) -> bool {
        matches!(self.writing, Writing::HeadOpen { .. })
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
        let waiting = waiting || self.request.demand == Demand::Continue;
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
        matches!(&self.reading, Reading::Head(reader) if reader.has_begun())
    }
}
