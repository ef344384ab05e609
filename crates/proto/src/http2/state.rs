//! One HTTP/2 connection: `h2`, what it is fed and what it wrote, and the streams.
//!
//! The caller feeds `receive`, asks `poll_event` until there is none, gives `submit` the
//! application's messages, and has `poll_transmit` write what is to be sent. A stream is forgotten
//! when its answer is whole: `h2` sends what is left of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, server};

use crate::deadline::Deadline;
use crate::error::{ApplicationError, Reject};
use crate::event::{Inbound, Outbound};
use crate::head::RequestHead;
use crate::http2::driver::{Accepted, Driver};
use crate::http2::meter::{Frame, Meter};
use crate::http2::pipe::Pipe;
use crate::http2::receiving::Received;
use crate::http2::request;
use crate::http2::response::Defaults;
use crate::http2::rest::Rests;
use crate::http2::stream::Stream;
use crate::limits::Limits;

/// Streams that a peer may have taken back, or had us end through its own mistakes, before we are
/// done with them: `h2` counts these on its own.
const UNFINISHED_RESETS_MAX: usize = 256;

/// What `h2` keeps of one answer that has not been written.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Written before the caller asks for it: acknowledgements, for which no room must be found.
const UNASKED_BYTES_MAX: usize = 16 * 1024;

/// See the module.
pub struct Connection {
    driver: Driver,
    pipe: Pipe,
    meter: Meter,
    defaults: Defaults,
    /// Boxed, since the map moves what it holds.
    streams: BTreeMap<u32, Box<Stream>>,
    /// Streams that something has come for.
    touched: Vec<Frame>,
    /// Streams whose answer has begun and may still be without a body.
    begun: Vec<u32>,
    /// Streams that wait for room.
    waiting: Vec<u32>,
    ended: Vec<Ended>,
    rests: Rests,
    /// All that has come has been understood.
    is_driven: bool,
    /// `h2` could not go on before something was sent: what it then did not read is not known.
    is_stuck: bool,
    piece: Bytes,
    deadline: Deadline,
    /// Since when a head has been coming.
    head_since: Option<Instant>,
    /// The time when something last came or went...
    now: Instant,
    /// ...and when the peer last took some of an answer.
    moved: Instant,
    /// How long an idle peer has, once the server is shutting down.
    drain_grace: Option<Duration>,
}

/// What has come, and for which stream.
pub type Event<'c> = (u32, Result<Inbound<'c>, Reject>);

/// A stream that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub number: u32,
    /// Its answer is whole.
    pub is_answered: bool,
}

/// Which stream is over because of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Its request is refused.
    Request(u32, Reject),
    /// Its answer cannot be completed.
    Answer(u32),
}

impl Connection {
    /// A connection whose peer has sent the preface, or is about to.
    #[must_use]
    pub fn new(now: Instant, limits: &Limits) -> Self {
        let pipe = Pipe::default();
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(limits.http2.streams_max)
            .initial_window_size(limits.http2.stream_window_bytes)
            .initial_connection_window_size(limits.http2.connection_window_bytes)
            .max_frame_size(limits.http2.frame_bytes_max)
            .max_header_list_size(limits.http2.header_list_bytes_max)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_pending_accept_reset_streams(UNFINISHED_RESETS_MAX)
            .max_local_error_reset_streams(Some(UNFINISHED_RESETS_MAX));
        if limits.http2.tunnels {
            builder.enable_connect_protocol();
        }
        let handshake = builder.handshake(pipe.clone());
        Self {
            driver: Driver::Handshake(Box::new(handshake)),
            pipe,
            meter: Meter::new(now),
            defaults: Defaults::default(),
            streams: BTreeMap::new(),
            touched: Vec::new(),
            begun: Vec::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            rests: Rests::default(),
            is_driven: false,
            is_stuck: false,
            piece: Bytes::new(),
            deadline: Deadline::request_header(now, limits),
            head_since: None,
            now,
            moved: now,
            drain_grace: None,
        }
    }

    /// Bytes have come: so many at the start of `buffer`, which may be exchanged for another one, that
    /// may be empty. `take_buffer` gives it back.
    pub fn receive(&mut self, now: Instant, buffer: &mut Box<[u8]>, count: usize) {
        self.now = now;
        self.is_driven = false;
        let Self { touched, rests, .. } = self;
        let metered = self.meter.read(now, &buffer[..count], |frame| {
            if let Frame::Window(number, bytes) = frame
                && rests.widen(number, bytes)
            {
                return;
            }
            if touched.last() != Some(&frame) {
                touched.push(frame);
            }
        });
        self.pipe.feed(buffer, count);
        if metered.is_err() {
            self.end(Reason::ENHANCE_YOUR_CALM);
        }
        self.head_since = self.meter.head_since(now);
    }

    /// The buffer of the last bytes, once they have been understood.
    pub fn take_buffer(&mut self) -> Option<Box<[u8]>> {
        self.pipe.take_buffer()
    }

    /// The next event, `None` when there is none. A head goes into `head`, as ranges of `source`.
    /// New requests wait unless `accepts`.
    pub fn poll_event<'c>(
        &'c mut self,
        now: Instant,
        limits: &Limits,
        accepts: bool,
        head: &mut RequestHead,
        source: &'c mut Vec<u8>,
    ) -> Option<Event<'c>> {
        if !accepts {
            self.drive();
        } else if !self.is_driven {
            if let Some(accepted) = self.accept() {
                return Some(self.begin(now, limits, accepted, head, source));
            }
            self.is_driven = true;
        }
        while let Some(&frame) = self.touched.last() {
            let (Frame::Stream(number) | Frame::Reset(number) | Frame::Window(number, _)) = frame;
            let received = match (self.streams.get_mut(&number), frame) {
                (None, _) => {
                    self.rests.receive(number, limits);
                    Ok(Received::Nothing)
                }
                // What came before it counts: a tunnel's last bytes say why it ends.
                (Some(stream), Frame::Reset(_)) => match stream.receive() {
                    Ok(Received::Body(data)) => Ok(Received::Body(data)),
                    _ => Ok(Received::Reset),
                },
                (Some(stream), _) => stream.receive(),
            };
            let event = match received {
                Ok(Received::Nothing) => {
                    self.touched.pop();
                    continue;
                }
                Ok(Received::Body(data)) => {
                    self.piece = data;
                    Ok(Inbound::Body(&self.piece))
                }
                Ok(Received::End) => Ok(Inbound::End),
                Ok(Received::Reset) => {
                    self.streams.remove(&number);
                    Ok(Inbound::Reset)
                }
                Err(reject) => Err(reject),
            };
            return Some((number, event));
        }
        None
    }

    fn begin<'c>(
        &mut self,
        now: Instant,
        limits: &Limits,
        (request, send): Accepted,
        head: &mut RequestHead,
        source: &'c mut Vec<u8>,
    ) -> Event<'c> {
        let number = send.stream_id().as_u32();
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        let read = request::read(&parts, body.is_some(), limits, head, source);
        let stream = Stream::new(now, limits, send, body, head);
        self.streams.insert(number, Box::new(stream));
        self.deadline = Deadline::None;
        (number, read.map(|()| Inbound::Head(source)))
    }

    /// Lets `h2` understand what has come, and write what it likes; gives the next request.
    fn accept(&mut self) -> Option<Accepted> {
        let (pipe, driver) = (&self.pipe, &mut self.driver);
        let drain = self.drain_grace.is_some();
        let accepted = pipe.writing_ahead(UNASKED_BYTES_MAX, || driver.accept(drain));
        self.note_stuck();
        accepted
    }

    fn drive(&mut self) {
        let (pipe, driver) = (&self.pipe, &mut self.driver);
        let drain = self.drain_grace.is_some();
        pipe.writing_ahead(UNASKED_BYTES_MAX, || driver.advance(drain));
        self.note_stuck();
    }

    fn note_stuck(&mut self) {
        let was_stuck = std::mem::replace(&mut self.is_stuck, self.pipe.is_full());
        if was_stuck && !self.is_stuck {
            self.is_driven = false;
            self.touched.extend(self.streams.keys().map(|&number| Frame::Stream(number)));
        }
    }

    /// Writes what the application answers.
    ///
    /// # Errors
    /// The message is not allowed now or malformed.
    pub fn submit(
        &mut self,
        number: u32,
        defaults: &[u8],
        outbound: &Outbound<'_>,
    ) -> Result<(), ApplicationError> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        self.defaults.refresh(defaults);
        stream.submit(&self.defaults, outbound)?;
        self.meter.sent(stream.take_sent());
        if let Outbound::Start { .. } = outbound {
            self.begun.push(number);
        }
        if stream.is_answered() {
            self.forget(number);
        } else if stream.is_waiting() && !self.waiting.contains(&number) {
            self.waiting.push(number);
        }
        Ok(())
    }

    fn forget(&mut self, number: u32) {
        if let Some(stream) = self.streams.remove(&number) {
            stream.leave_rest(self.now, number, &mut self.rests);
        }
        self.ended.push(Ended { number, is_answered: true });
        self.meter.answered();
        self.moved = self.now;
    }

    /// A stream that is over since the last time.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.ended.pop()
    }

    /// Writes to the end of `out`, up to about `bytes_max` in all.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        limits: &Limits,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) {
        self.now = now;
        for number in std::mem::take(&mut self.begun) {
            if let Some(stream) = self.streams.get_mut(&number) {
                stream.flush();
            }
        }
        // What `h2` has not written yet would only grow in pieces.
        if !self.pipe.is_full() {
            self.pump();
        }
        loop {
            let (pipe, driver) = (&self.pipe, &mut self.driver);
            let drain = self.drain_grace.is_some();
            pipe.writing(out, bytes_max, || driver.advance(drain));
            self.note_stuck();
            // What has been written makes room in `h2`, even if there was none before.
            if self.pipe.is_full() || !self.pump() {
                break;
            }
        }
        for number in &self.waiting {
            if let Some(stream) = self.streams.get_mut(number) {
                stream.watch_reader(now, limits);
            }
        }
        // The end would take what `h2` has not written with it.
        let is_idle = self.streams.is_empty() && !self.pipe.is_full();
        if is_idle && self.deadline == Deadline::None {
            let timeout = self.drain_grace.unwrap_or(limits.keep_alive_timeout);
            self.deadline = Deadline::keep_alive(now, timeout);
            drop(self.pipe.take_buffer());
        }
    }

    /// Gives `h2` more of what waits. Says whether it took some.
    fn pump(&mut self) -> bool {
        let mut has_moved = false;
        for number in std::mem::take(&mut self.waiting) {
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            let before = stream.unsent();
            stream.pump();
            self.meter.sent(stream.take_sent());
            has_moved |= stream.unsent() < before;
            if stream.is_answered() {
                self.forget(number);
            } else if stream.is_waiting() {
                self.waiting.push(number);
            }
        }
        if has_moved {
            self.moved = self.now;
        }
        has_moved
    }

    /// More can be written once there is room.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.pipe.is_full()
    }

    /// `poll_event` has not been asked, as one that accepts, about all that has come.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.is_driven || !self.touched.is_empty()
    }

    /// What has come cannot be understood before something is sent.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.pipe.unread() > 0
    }

    /// Bytes of an answer that wait for room.
    #[must_use]
    pub fn unsent(&self, number: u32) -> usize {
        let unsent = self.streams.get(&number).map_or(0, |stream| stream.unsent());
        usize::try_from(unsent).unwrap_or(usize::MAX)
    }

    /// How many of a stream's detached bytes come next and have room.
    pub fn room_for_detached(&mut self, number: u32) -> usize {
        self.streams.get_mut(&number).map_or(0, |stream| stream.room_for_detached())
    }

    /// The next detached bytes of a stream, as many as there is room for at the most.
    pub fn give_detached(&mut self, number: u32, data: &[u8]) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        stream.give_detached(data);
        self.meter.sent(stream.take_sent());
        self.moved = self.now;
        if stream.is_answered() {
            self.forget(number);
        }
    }

    /// The request's body is still coming.
    #[must_use]
    pub fn expects_body(&self, number: u32) -> bool {
        self.streams.get(&number).is_some_and(|stream| stream.expects_body())
    }

    /// The application asks for the body: tells a waiting client to send it. Says whether there is
    /// something to send.
    pub fn wants_body(&mut self, number: u32) -> bool {
        self.streams.get_mut(&number).is_some_and(|stream| stream.wants_body())
    }

    /// The application has taken so many bytes of the body.
    pub fn body_taken(&mut self, number: u32, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.body_taken(bytes);
        }
    }

    /// Answers a refused request, unless a response is under way.
    pub fn reject(&mut self, number: u32, reject: Reject, defaults: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&number) {
            self.defaults.refresh(defaults);
            stream.reject(reject, &self.defaults);
            self.forget(number);
        }
    }

    /// The answer cannot be completed.
    pub fn abort(&mut self, number: u32) {
        if let Some(mut stream) = self.streams.remove(&number) {
            stream.reset(Reason::INTERNAL_ERROR);
            self.ended.push(Ended { number, is_answered: false });
        }
    }

    /// Requests that have begun, and those on their way, are the last ones. An idle peer has `grace`
    /// to say that it knows (RFC 9113, 6.8).
    pub fn drain(&mut self, now: Instant, grace: Duration) {
        self.drain_grace = Some(grace);
        if let Driver::Open(connection) = &mut self.driver {
            connection.graceful_shutdown();
        }
        if self.streams.is_empty() {
            self.deadline = Deadline::KeepAlive { until: now + grace };
        }
    }

    /// Says GOAWAY and ends.
    fn end(&mut self, reason: Reason) {
        // The preface may have come together with what ends it.
        self.drive();
        match &mut self.driver {
            Driver::Handshake(_) => self.driver = Driver::Closed,
            Driver::Open(connection) => connection.abrupt_shutdown(reason),
            Driver::Closed => {}
        }
    }

    /// Nothing more comes or goes but what has been written.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.driver, Driver::Closed)
    }

    /// No request is in progress.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Until when the peer has time.
    #[must_use]
    pub fn poll_timeout(&self, limits: &Limits) -> Option<Instant> {
        let head = self.head_since.and_then(|at| at.checked_add(limits.request_header_timeout));
        let streams = self.streams.values().filter_map(|stream| stream.poll_timeout()).min();
        [self.deadline.until(), head, streams, self.rests.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The time has come. Streams that are over because of it come one by one.
    pub fn handle_timeout(&mut self, now: Instant, limits: &Limits) -> Option<Expired> {
        self.rests.handle_timeout(now);
        let has_passed = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if has_passed(self.deadline.until()) {
            self.deadline = Deadline::None;
            if !self.pipe.is_full() {
                self.end(Reason::NO_ERROR);
            }
        }
        if has_passed(self.head_since.and_then(|at| at.checked_add(limits.request_header_timeout)))
        {
            self.head_since = None;
            self.end(Reason::ENHANCE_YOUR_CALM);
        }
        let (&number, expired) = self.streams.iter_mut().find_map(|(number, stream)| {
            if stream.is_too_slow_a_writer(now, limits) {
                let reject = Reject::with_status(408, "request body too slow");
                Some((number, Expired::Request(*number, reject)))
            } else if stream.is_too_slow_a_reader(now, limits) {
                stream.reset(Reason::CANCEL);
                Some((number, Expired::Answer(*number)))
            } else {
                None
            }
        })?;
        if matches!(expired, Expired::Answer(_)) {
            self.streams.remove(&number);
            if now.saturating_duration_since(self.moved) >= limits.write_timeout {
                // It is not one stream that the peer has lost interest in.
                self.end(Reason::ENHANCE_YOUR_CALM);
            }
        }
        Some(expired)
    }
}
