//! One WebSocket: what is being read, how far it is closed, and all transitions (RFC 6455, 5 to 7).
//!
//! The caller feeds `receive` with the stream's bytes and takes one event at a time, which is how it
//! holds a peer back that sends faster than the application takes.

use std::time::{Duration, Instant};

use crate::deadline::after;
use crate::error::Failure;
use crate::event::{self, Input, Transmit};
use crate::limits::WebSocketLimits;
use crate::websocket::deflate::{Agreement, Deflate};
use crate::websocket::frame::{
    CONTROL_BYTES_MAX, FrameHeader, HEADER_BYTES_MAX, Opcode, read_header, write_header,
};
use crate::websocket::keepalive::{Keepalive, Turn};
use crate::websocket::mask::unmask;
use crate::websocket::message::{Assembly, Payload, Shared, whole_message};
use crate::websocket::pieces::{INVALID_UTF8, MessageKind};

/// What a close frame without a code counts as (7.1.5).
const NO_CODE: u16 = 1005;

/// Bytes of a close frame's code.
const CODE_BYTES: usize = 2;

#[derive(Debug)]
enum State {
    Open,
    /// The peer's close frame has come, or it is to be failed. The application may answer the messages
    /// before that first, until then.
    Answering {
        until: Instant,
        payload: Box<[u8]>,
    },
    /// A close frame has been sent; the peer's may come until then.
    Closing {
        until: Instant,
    },
    Closed,
}

/// What a peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'s> {
    /// A whole message.
    Message { kind: MessageKind, payload: &'s [u8] },
    /// It has closed the WebSocket, or is to be failed: nothing comes any more. `answer` sends the
    /// close frame.
    Closed { code: u16, reason: &'s str },
}

/// What the passing of time led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    NotYet,
    /// A close frame has waited long enough for its answer: the stream ends.
    Over,
    /// It did not answer a ping and has been sent a close frame.
    Failed(Failure),
}

/// Why a close frame cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseError {
    /// Not one of those that may stand in a frame (7.4).
    InvalidCode,
    /// More than 123 bytes.
    ReasonTooLong,
    /// It has been sent already.
    Closed,
}

/// A piece of the input understood; its content is in `Shared`.
enum Understood {
    Message(MessageKind),
    Closed(u16),
}

/// The state of one WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    state: State,
    /// The frame under way.
    payload: Option<Payload>,
    /// The message under way.
    message: Option<Box<Assembly>>,
    deflate: Option<Box<Deflate>>,
    keepalive: Keepalive,
}

impl WebSocket {
    /// One whose opening handshake is complete.
    #[must_use]
    pub fn new(
        now: Instant,
        limits: &WebSocketLimits,
        agreement: Option<&Agreement>,
        shared: &mut Shared,
    ) -> Self {
        Self {
            state: State::Open,
            payload: None,
            message: None,
            deflate: agreement.map(|agreement| Deflate::new(agreement, &mut shared.pool).into()),
            keepalive: Keepalive::new(now, limits),
        }
    }

    /// Messages may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Answering { .. })
    }

    /// A close frame is to be sent as soon as the application has taken the messages before it.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        matches!(self.state, State::Answering { .. })
    }

    /// Nothing comes any more, and nothing may be sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Understands as much of `input` as makes one event, `None` when that takes more bytes; what was
    /// not taken, which is a few bytes, then comes again with more behind it. Answers to pings go to
    /// `out`.
    pub fn receive<'s>(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        input: &mut Input<'_>,
        shared: &'s mut Shared,
        out: &mut impl Transmit,
    ) -> Option<Event<'s>> {
        shared.begin();
        let understood = match self.understand(now, limits, input, shared, out) {
            Ok(understood) => understood?,
            Err(failure) => {
                let payload = close_payload(failure.code, failure.reason);
                self.end_reading(now, limits, payload);
                return Some(Event::Closed { code: failure.code, reason: failure.reason });
            }
        };
        Some(match understood {
            Understood::Message(kind) => Event::Message { kind, payload: &shared.whole },
            Understood::Closed(code) => {
                let reason = str::from_utf8(&shared.whole).unwrap_or_default();
                Event::Closed { code, reason }
            }
        })
    }

    fn understand(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        input: &mut Input<'_>,
        shared: &mut Shared,
        out: &mut impl Transmit,
    ) -> Result<Option<Understood>, Failure> {
        loop {
            if matches!(self.state, State::Closed | State::Answering { .. }) {
                input.take(usize::MAX);
                return Ok(None);
            }
            if self.payload.is_some() {
                let kind = self.receive_payload(input, shared)?;
                if kind.is_some() || self.payload.is_some() {
                    return Ok(kind.map(Understood::Message));
                }
            }
            let Some((header, length)) = read_header(input.rest(), self.deflate.is_some())? else {
                return Ok(None);
            };
            let available = input.rest().len() - length;
            if header.opcode.is_control() {
                let payload_bytes = Payload::of(&header).count(CONTROL_BYTES_MAX);
                if available < payload_bytes {
                    return Ok(None);
                }
                input.take(length);
                let mut payload = [0; CONTROL_BYTES_MAX];
                let payload = unmask_control(&header, input.take(payload_bytes), &mut payload);
                let closed = self.receive_control(now, limits, header.opcode, payload, shared, out);
                if let Some(code) = closed? {
                    return Ok(Some(Understood::Closed(code)));
                }
                continue;
            }
            input.take(length);
            if let Some(kind) = self.begin_frame(&header, limits, input, shared)? {
                return Ok(Some(Understood::Message(kind)));
            }
        }
    }

    /// A data frame begins. If it is a message and all there, that is all.
    fn begin_frame(
        &mut self,
        header: &FrameHeader,
        limits: &WebSocketLimits,
        input: &mut Input<'_>,
        shared: &mut Shared,
    ) -> Result<Option<MessageKind>, Failure> {
        let payload = Payload::of(header);
        self.payload = Some(payload);
        if !self.is_open() {
            return Ok(None);
        }
        let kind = match (header.opcode, &self.message) {
            (Opcode::Text, None) => MessageKind::Text,
            (Opcode::Binary, None) => MessageKind::Binary,
            (Opcode::Continuation, Some(message)) => {
                if message.exceeds(header.payload_bytes, limits.message_bytes_max) {
                    return Err(Failure::too_big());
                }
                return Ok(None);
            }
            (Opcode::Continuation, None) => {
                return Err(Failure::protocol_error("unexpected continuation frame"));
            }
            _ => return Err(Failure::protocol_error("expected a continuation frame")),
        };
        if !header.compressed {
            if header.payload_bytes > limits.message_bytes_max as u64 {
                return Err(Failure::too_big());
            }
            let count = payload.count(usize::MAX);
            if header.fin && count <= input.rest().len() {
                self.payload = None;
                return whole_message(kind, input.take(count), payload, &mut shared.whole)
                    .map(Some);
            }
        }
        let deflate = self.deflate.as_ref().filter(|_| header.compressed);
        let inflater = deflate.map(|deflate| deflate.inflater(&mut shared.pool));
        self.message = Some(Box::new(Assembly::new(kind, limits.message_bytes_max, inflater)));
        Ok(None)
    }

    /// Goes on with the frame under way. `None` if its message needs more.
    fn receive_payload(
        &mut self,
        input: &mut Input<'_>,
        shared: &mut Shared,
    ) -> Result<Option<MessageKind>, Failure> {
        let Some(payload) = &mut self.payload else { return Ok(None) };
        let piece = input.take(payload.count(usize::MAX));
        match &mut self.message {
            Some(message) => {
                let deflate = self.deflate.as_deref();
                message.push(piece, payload, deflate, &mut shared.compressed)?;
            }
            // A message that comes after the application has closed.
            None => payload.skip(piece),
        }
        if !payload.is_complete() {
            return Ok(None);
        }
        let fin = payload.fin;
        self.payload = None;
        match self.message.take_if(|_| fin) {
            None => Ok(None),
            Some(message) => {
                let deflate = self.deflate.as_deref_mut();
                message.finish(deflate, &mut shared.pool, &mut shared.whole).map(Some)
            }
        }
    }

    /// Answers a control frame. A close frame gives its code, and its reason in `shared`.
    fn receive_control(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        opcode: Opcode,
        payload: &[u8],
        shared: &mut Shared,
        out: &mut impl Transmit,
    ) -> Result<Option<u16>, Failure> {
        match opcode {
            Opcode::Ping => write_control(Opcode::Pong, payload, out),
            Opcode::Pong => self.keepalive.receive_pong(now, limits, payload),
            _ => {
                let (code, reason) = read_close(payload)?;
                shared.whole.clear();
                shared.whole.extend_from_slice(reason);
                self.end_reading(now, limits, payload.into());
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    /// Sends a message; says whether it may.
    pub fn send(
        &mut self,
        kind: MessageKind,
        data: event::Payload<'_>,
        shared: &mut Shared,
        out: &mut impl Transmit,
    ) -> bool {
        if !self.is_open() {
            return false;
        }
        let opcode = match kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        match &mut self.deflate {
            // There is nothing to gain, and an empty message that is compressed is not empty.
            Some(deflate) if !data.bytes.is_empty() => {
                shared.begin();
                deflate.compress(data.bytes, &mut shared.pool, &mut shared.compressed);
                write_header(opcode, true, shared.compressed.len(), out.buffer());
                out.payload(shared.compressed[..].into());
            }
            _ => {
                out.buffer().reserve(HEADER_BYTES_MAX);
                write_header(opcode, false, data.bytes.len(), out.buffer());
                out.payload(data);
            }
        }
        true
    }

    /// Sends a close frame; what comes until the peer's is dropped.
    ///
    /// # Errors
    /// It would be malformed, or there has been one.
    pub fn close(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        code: u16,
        reason: &str,
        out: &mut impl Transmit,
    ) -> Result<(), CloseError> {
        if !is_code(code) {
            return Err(CloseError::InvalidCode);
        }
        if reason.len() > CONTROL_BYTES_MAX - CODE_BYTES {
            return Err(CloseError::ReasonTooLong);
        }
        if !self.is_open() {
            return Err(CloseError::Closed);
        }
        write_control(Opcode::Close, &close_payload(code, reason), out);
        let is_answer = self.owes_answer();
        self.end();
        if !is_answer {
            self.state = State::Closing { until: after(now, limits.close_timeout) };
        }
        Ok(())
    }

    /// Waits no longer than this for the close frame that answers ours.
    pub fn hasten(&mut self, now: Instant, grace: Duration) {
        if let State::Closing { until } = &mut self.state {
            *until = after(now, grace).min(*until);
        }
    }

    /// Nothing is read any more. The close frame that answers this is owed, unless ours was first.
    fn end_reading(&mut self, now: Instant, limits: &WebSocketLimits, payload: Box<[u8]>) {
        self.message = None;
        self.state = match self.state {
            State::Open => State::Answering { until: after(now, limits.close_timeout), payload },
            _ => State::Closed,
        };
    }

    /// Sends the close frame that is owed; nothing is sent after it.
    pub fn answer(&mut self, out: &mut impl Transmit) {
        if let State::Answering { payload, .. } = &self.state {
            write_control(Opcode::Close, payload, out);
            self.end();
        }
    }

    /// The stream has ended, or is of no use any more.
    pub fn end(&mut self) {
        self.state = State::Closed;
        self.message = None;
        self.deflate = None;
        self.keepalive.end();
    }

    /// When `handle_timeout` has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Closing { until } | State::Answering { until, .. } => Some(*until),
            State::Open | State::Closed => self.keepalive.due(),
        }
    }

    /// The time has come: sends a ping, or gives the peer up. `waiting` tells that the application
    /// lags, so that a pong may have come and not been read.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        limits: &WebSocketLimits,
        waiting: bool,
        out: &mut impl Transmit,
    ) -> Expired {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return Expired::NotYet;
        }
        if !matches!(self.state, State::Open) {
            self.answer(out);
            self.end();
            return Expired::Over;
        }
        match self.keepalive.handle_timeout(now, limits, waiting) {
            Turn::Wait => Expired::NotYet,
            Turn::Ping(payload) => {
                write_control(Opcode::Ping, &payload, out);
                Expired::NotYet
            }
            Turn::Fail(failure) => {
                let payload = close_payload(failure.code, failure.reason);
                write_control(Opcode::Close, &payload, out);
                self.end();
                Expired::Failed(failure)
            }
        }
    }
}

fn unmask_control<'p>(
    header: &FrameHeader,
    masked: &[u8],
    payload: &'p mut [u8; CONTROL_BYTES_MAX],
) -> &'p [u8] {
    let payload = &mut payload[..masked.len()];
    payload.copy_from_slice(masked);
    unmask(payload, header.mask, 0);
    payload
}

fn write_control(opcode: Opcode, payload: &[u8], out: &mut impl Transmit) {
    write_header(opcode, false, payload.len(), out.buffer());
    out.buffer().extend_from_slice(payload);
}

/// What a close frame says (5.5.1).
fn close_payload(code: u16, reason: &str) -> Box<[u8]> {
    [&code.to_be_bytes(), reason.as_bytes()].concat().into()
}

/// The code and the reason of a close frame (5.5.1).
fn read_close(payload: &[u8]) -> Result<(u16, &[u8]), Failure> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok((NO_CODE, payload)),
        None => Err(Failure::protocol_error("close frame too short")),
        Some((code, reason)) => {
            let code = u16::from_be_bytes(*code);
            if !is_code(code) {
                return Err(Failure::protocol_error("invalid close code"));
            }
            if str::from_utf8(reason).is_err() {
                return Err(INVALID_UTF8);
            }
            Ok((code, reason))
        }
    }
}

/// A code that may stand in a close frame (7.4.1 and 7.4.2, and the registry that it founds).
fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
