//! One stream: a request being received, and an answer being sent.
//!
//! What `h2` has room for goes to `h2`; what it has no room for, because the peer's windows or the
//! buffers are full, waits here, so that it is known how much that is.

use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode};

use crate::error::{ApplicationError, Reject};
use crate::event::{Outbound, Tunnel};
use crate::head::{Method, RequestHead};
use crate::http1::BodyWriter;
use crate::http2::driver::context;
use crate::http2::meter::Sent;
use crate::http2::queue::{End, Piece, Queue};
use crate::http2::receiving::{Received, Receiving};
use crate::http2::response::{self, Defaults, OpenHead};
use crate::http2::rest::Rests;
use crate::limits::Limits;

/// See the module.
#[derive(Debug)]
pub struct Stream {
    receiving: Receiving,
    sending: Sending,
    queue: Queue,
    sent: Sent,
    is_head_request: bool,
}

#[derive(Debug)]
enum Sending {
    Nothing(SendResponse<Bytes>),
    /// The head's last fields depend on how much body there is.
    HeadOpen {
        send: SendResponse<Bytes>,
        head: OpenHead,
    },
    Body {
        send: SendStream<Bytes>,
        writer: BodyWriter,
        is_ended: bool,
    },
    /// All of it is with `h2`. There is nothing to end where it was never begun.
    Complete(Option<SendStream<Bytes>>),
    /// `h2` knows that nobody waits for the rest. `receive` tells of it.
    Lost,
}

impl Stream {
    /// A request whose head has come. `body` is `None` where that was all.
    pub fn new(
        now: Instant,
        limits: &Limits,
        send: SendResponse<Bytes>,
        body: Option<RecvStream>,
        head: &RequestHead,
    ) -> Self {
        let receiving =
            body.map_or(Receiving::Nothing, |body| Receiving::new(now, limits, body, head));
        let sending = Sending::Nothing(send);
        Self {
            receiving,
            sending,
            queue: Queue::default(),
            sent: Sent::default(),
            is_head_request: head.method == Method::Head,
        }
    }

    /// What has come since the last time, one event at a time.
    pub fn receive(&mut self) -> Result<Received, Reject> {
        match self.receiving.receive()? {
            Received::Nothing if self.is_reset() => Ok(Received::Reset),
            received => Ok(received),
        }
    }

    fn is_reset(&mut self) -> bool {
        match &mut self.sending {
            Sending::Nothing(send) | Sending::HeadOpen { send, .. } => {
                send.poll_reset(&mut context()).is_ready()
            }
            Sending::Body { send, .. } => send.poll_reset(&mut context()).is_ready(),
            Sending::Complete(_) => false,
            Sending::Lost => true,
        }
    }

    /// The request's body is still coming.
    pub fn expects_body(&self) -> bool {
        matches!(self.receiving, Receiving::Body(_))
    }

    /// The application asks for the body: tells a waiting client to send it. Says whether there is
    /// something to send.
    pub fn wants_body(&mut self) -> bool {
        let Sending::Nothing(send) = &mut self.sending else { return false };
        if !self.receiving.ends_wait() {
            return false;
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        // A stream that has been reset needs none.
        send.send_informational(response).is_ok()
    }

    /// The application has taken so many bytes: the peer may send as many more.
    pub fn body_taken(&mut self, bytes: usize) {
        self.receiving.taken(bytes);
    }

    /// Leaves the rest of a body that nobody is going to read to `rests`.
    pub fn leave_rest(self, now: Instant, number: u32, rests: &mut Rests) {
        if let (Some((body, untaken)), Sending::Complete(Some(answer))) =
            (self.receiving.into_rest(), self.sending)
        {
            rests.add(now, number, body, answer, untaken);
        }
    }

    /// Writes what the application answers.
    pub fn submit(
        &mut self,
        defaults: &Defaults,
        outbound: &Outbound<'_>,
    ) -> Result<(), ApplicationError> {
        match outbound {
            Outbound::Start { status, headers } => self.start(*status, headers, defaults),
            Outbound::Body { data, more } => {
                self.body(data.bytes.len() as u64, *more, |queue| queue.push(data))
            }
            Outbound::Detached { length, more } => {
                self.body(*length, *more, |queue| queue.push_detached(*length))
            }
            Outbound::Trailers { headers, more } => self.trailers(headers, *more),
            Outbound::EarlyHint { links } => self.early_hint(links),
            Outbound::Tunnel(tunnel) => self.open_tunnel(tunnel, defaults),
        }
    }

    fn start(
        &mut self,
        status: u16,
        headers: &[(&[u8], &[u8])],
        defaults: &Defaults,
    ) -> Result<(), ApplicationError> {
        match std::mem::replace(&mut self.sending, Sending::Lost) {
            Sending::Nothing(send) => match response::open_head(status, defaults, headers) {
                Ok(head) => {
                    self.sending = Sending::HeadOpen { send, head };
                    Ok(())
                }
                Err(error) => {
                    self.sending = Sending::Nothing(send);
                    Err(error)
                }
            },
            Sending::Lost => Ok(()),
            complete @ Sending::Complete(_) => {
                self.sending = complete;
                Err(ApplicationError::AfterComplete)
            }
            begun => {
                self.sending = begun;
                Err(ApplicationError::ExpectedBody)
            }
        }
    }

    /// Answers an extended CONNECT (RFC 8441, 5).
    fn open_tunnel(
        &mut self,
        tunnel: &Tunnel<'_>,
        defaults: &Defaults,
    ) -> Result<(), ApplicationError> {
        let fields: Vec<_> =
            tunnel.first.iter().chain(tunnel.headers).chain(&tunnel.last).copied().collect();
        self.start(200, &fields, defaults)?;
        self.flush();
        Ok(())
    }

    fn body(
        &mut self,
        length: u64,
        more: bool,
        push: impl FnOnce(&mut Queue),
    ) -> Result<(), ApplicationError> {
        let (mut writer, whole) = match &self.sending {
            Sending::Nothing(_) => return Err(ApplicationError::ExpectedStart),
            Sending::HeadOpen { head, .. } => (self.writer(head), !more),
            Sending::Body { .. } if matches!(self.queue.end, End::Trailing(_)) => {
                return Err(ApplicationError::ExpectedTrailers);
            }
            Sending::Body { writer, .. } => (*writer, false),
            Sending::Complete(_) => return Err(ApplicationError::AfterComplete),
            Sending::Lost => return Ok(()),
        };
        let is_sent = writer.admit(length, more)?;
        self.close_head(whole.then_some(length));
        let Sending::Body { writer: present, is_ended, .. } = &mut self.sending else {
            return Ok(());
        };
        *present = writer;
        if *is_ended {
            if !more {
                self.complete();
            }
            return Ok(());
        }
        if is_sent && length > 0 {
            push(&mut self.queue);
        }
        if !more {
            self.queue.end = End::Last;
        }
        if !more || !self.queue.has_tail() {
            self.pump();
        }
        Ok(())
    }

    fn trailers(&mut self, headers: &[(&[u8], &[u8])], more: bool) -> Result<(), ApplicationError> {
        let fields = response::trailers(headers)?;
        if matches!(self.sending, Sending::HeadOpen { .. }) {
            self.flush();
        }
        match &mut self.sending {
            Sending::Nothing(_) => return Err(ApplicationError::ExpectedStart),
            Sending::HeadOpen { .. } | Sending::Complete(_) => {
                return Err(ApplicationError::AfterComplete);
            }
            Sending::Lost => return Ok(()),
            Sending::Body { is_ended: true, .. } => {
                if !more {
                    self.complete();
                }
                return Ok(());
            }
            Sending::Body { writer, .. } => {
                writer.admit(0, false)?;
            }
        }
        let mut all = match std::mem::take(&mut self.queue.end) {
            End::Trailing(earlier) => earlier,
            _ => HeaderMap::new(),
        };
        for (name, value) in &fields {
            all.append(name.clone(), value.clone());
        }
        self.queue.end = match (more, all.is_empty()) {
            (true, _) => End::Trailing(all),
            (false, true) => End::Last,
            (false, false) => End::Trailers(all),
        };
        self.pump();
        Ok(())
    }

    /// Interim responses precede the final one (RFC 9110, 15.2).
    fn early_hint(&mut self, links: &[&[u8]]) -> Result<(), ApplicationError> {
        let (Sending::Nothing(send) | Sending::HeadOpen { send, .. }) = &mut self.sending else {
            return Ok(());
        };
        let hint = response::early_hint(links)?;
        // Fails only where the peer has reset the stream, of which the connection tells.
        let _ = send.send_informational(hint);
        Ok(())
    }

    fn writer(&self, head: &OpenHead) -> BodyWriter {
        if self.is_head_request {
            BodyWriter::Dropped
        } else if matches!(head.status, 204 | 304) {
            BodyWriter::Forbidden
        } else if let Some(remaining) = head.declared.content_length {
            BodyWriter::Length { remaining }
        } else {
            BodyWriter::UntilClose
        }
    }

    /// Closes a head that still waits for its first body message, so that it can be sent.
    pub fn flush(&mut self) {
        self.close_head(None);
    }

    /// `length` is that of a body which is whole.
    fn close_head(&mut self, length: Option<u64>) {
        let Sending::HeadOpen { head, .. } = &self.sending else { return };
        let writer = self.writer(head);
        let sending = std::mem::replace(&mut self.sending, Sending::Lost);
        let Sending::HeadOpen { mut send, mut head } = sending else { return };
        if let (BodyWriter::UntilClose, Some(length)) = (writer, length) {
            head.declare(length);
        }
        let is_ended =
            matches!(writer, BodyWriter::Dropped | BodyWriter::Forbidden) || length == Some(0);
        if let Ok(send) = send.send_response(head.response, is_ended) {
            self.sending = Sending::Body { send, writer, is_ended };
        }
    }

    /// Answers a refused request.
    pub fn reject(&mut self, reject: Reject, defaults: &Defaults) {
        let sending = std::mem::replace(&mut self.sending, Sending::Complete(None));
        if let Sending::Nothing(mut send) | Sending::HeadOpen { mut send, .. } = sending {
            let (response, body) = response::refusal(reject, defaults);
            if let Ok(mut send) = send.send_response(response, self.is_head_request) {
                if !self.is_head_request {
                    let _ = send.send_data(body, true);
                }
                self.sending = Sending::Complete(Some(send));
            }
        } else {
            self.sending = sending;
            self.reset(Reason::CANCEL);
        }
    }

    /// Ends it where it is.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Sending::Nothing(send) | Sending::HeadOpen { send, .. } => send.send_reset(reason),
            Sending::Body { send, .. } => send.send_reset(reason),
            Sending::Complete(_) | Sending::Lost => {}
        }
        self.complete();
        self.queue = Queue::default();
    }

    fn complete(&mut self) {
        if let Sending::Body { send, .. } =
            std::mem::replace(&mut self.sending, Sending::Complete(None))
        {
            self.sending = Sending::Complete(Some(send));
        }
    }

    /// Gives `h2` what it has room for.
    pub fn pump(&mut self) {
        while let Some(Piece::Bytes(piece)) = self.queue.front() {
            let Sending::Body { send, .. } = &mut self.sending else { return };
            let room = room(send, piece.len());
            if room == 0 {
                return;
            }
            let part = piece.split_to(room);
            if piece.is_empty() {
                self.pop_piece();
            }
            self.send(part);
        }
        if self.queue.is_empty() && !matches!(self.sending, Sending::Complete(_)) {
            self.end();
        }
    }

    fn pop_piece(&mut self) {
        self.queue.pop();
        self.sent.pieces += 1;
    }

    /// What has been given to `h2` since the last time.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// Sends bytes that there is room for, with the end if that is all.
    fn send(&mut self, part: Bytes) {
        let Sending::Body { send, .. } = &mut self.sending else { return };
        self.queue.note_sent(part.len());
        self.sent.bytes += part.len();
        let is_last = self.queue.is_empty() && matches!(self.queue.end, End::Last);
        match send.send_data(part, is_last) {
            Ok(()) if is_last => self.complete(),
            Ok(()) => {}
            Err(_) => self.lose(),
        }
    }

    fn end(&mut self) {
        let Sending::Body { send, .. } = &mut self.sending else { return };
        let sent = match std::mem::take(&mut self.queue.end) {
            End::Last => send.send_data(Bytes::new(), true),
            End::Trailers(trailers) => send.send_trailers(trailers),
            end @ (End::More | End::Trailing(_)) => {
                self.queue.end = end;
                return;
            }
        };
        match sent {
            Ok(()) => self.complete(),
            Err(_) => self.lose(),
        }
    }

    /// The peer has taken the stream back: nothing that waits is of use.
    fn lose(&mut self) {
        self.sending = Sending::Lost;
        self.queue = Queue::default();
    }

    /// How many detached bytes come next and have room.
    pub fn room_for_detached(&mut self) -> usize {
        match (&mut self.sending, self.queue.front()) {
            (Sending::Body { send, .. }, Some(&mut Piece::Detached(length))) => {
                room(send, usize::try_from(length).unwrap_or(usize::MAX))
            }
            _ => 0,
        }
    }

    /// The next detached bytes, as many as there is room for at the most.
    pub fn give_detached(&mut self, data: &[u8]) {
        let Some(Piece::Detached(length)) = self.queue.front() else { return };
        *length -= data.len() as u64;
        if *length == 0 {
            self.pop_piece();
        }
        self.send(Bytes::copy_from_slice(data));
        self.pump();
    }

    /// The answer is whole and with `h2`.
    pub fn is_answered(&self) -> bool {
        matches!(self.sending, Sending::Complete(_))
    }

    /// Something waits for room.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty() || matches!(self.queue.end, End::Last | End::Trailers(_))
    }

    /// Bytes that wait for room.
    pub fn unsent(&self) -> u64 {
        self.queue.bytes()
    }

    /// Starts or ends the clock of a peer that takes too little.
    pub fn watch_reader(&mut self, now: Instant, limits: &Limits) {
        self.queue.watch_reader(now, limits);
    }

    /// Until when the peer has time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let body = self.receiving.poll_timeout();
        let reading = self.queue.poll_timeout();
        [body, reading].into_iter().flatten().min()
    }

    /// Whether the peer has sent its body too slowly; else it gets another window.
    pub fn is_too_slow_a_writer(&mut self, now: Instant, limits: &Limits) -> bool {
        self.receiving.is_too_slow(now, limits)
    }

    /// Whether the peer has taken too little of the answer for too long.
    pub fn is_too_slow_a_reader(&mut self, now: Instant, limits: &Limits) -> bool {
        self.queue.is_too_slow_a_reader(now, limits)
    }
}

/// How many of so many bytes `h2` takes now.
fn room(send: &mut SendStream<Bytes>, bytes: usize) -> usize {
    send.reserve_capacity(bytes);
    send.capacity().min(bytes)
}
