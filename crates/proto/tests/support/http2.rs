//! An HTTP/2 connection over bytes that come in any pieces, and the frames of a client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pronghorn_proto::error::{ApplicationError, Reject};
use pronghorn_proto::event::{Inbound, Outbound};
use pronghorn_proto::head::RequestHead;
use pronghorn_proto::http2::{Connection, Expired};
use pronghorn_proto::limits::Limits;

use super::{DEFAULTS, Head, bytes_of};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Frame types, flags and error codes (RFC 9113, 6 and 7).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const HAS_PRIORITY: u8 = 0x20;
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// The setting for the windows that new streams have.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Preface and SETTINGS, with this initial window.
pub fn hello(window: u32) -> Vec<u8> {
    let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &setting)].concat()
}

/// A header block of literals that are not indexed (RFC 7541, 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).expect("seven bits"));
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128 + 128).expect("a byte"));
                    length /= 128;
                }
                block.push(u8::try_from(length).expect("a byte"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A request's header block.
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    block(&[&pseudo[..], fields].concat())
}

/// A request without a body.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", "/", &[]))
}

/// A request whose body follows.
pub fn post(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head("POST", "/", fields))
}

pub fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, payload)
}

pub fn last_data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, payload)
}

pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// What has come of a stream. Neighbouring pieces of a body are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Head(Box<Head>),
    Body(Vec<u8>),
    End,
    Reset,
    Refused(u16),
}

/// A frame that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` or `GOAWAY`.
    pub fn code(&self) -> u32 {
        let start = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[start..start + 4].try_into().expect("four bytes"))
    }
}

/// What came of a connection's input, as far as that may not depend on how it was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub events: BTreeMap<u32, Vec<Event>>,
    pub resets: BTreeMap<u32, u32>,
    pub goaway: Option<u32>,
}

/// A connection, what has come of it, and a clock.
pub struct Driver {
    pub connection: Connection,
    pub limits: Limits,
    pub now: Instant,
    pub events: BTreeMap<u32, Vec<Event>>,
    pub output: Vec<u8>,
    /// What is written before room must be made.
    pub output_bytes_max: usize,
    /// The application takes bodies as they come.
    pub takes_bodies: bool,
    head: RequestHead,
    source: Vec<u8>,
}

impl Driver {
    pub fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(now, limits),
            limits: limits.clone(),
            now,
            events: BTreeMap::new(),
            output: Vec::new(),
            output_bytes_max: usize::MAX,
            takes_bodies: true,
            head: RequestHead::default(),
            source: Vec::new(),
        }
    }

    /// A connection that has understood these frames behind the client's preface.
    pub fn after(frames: &[u8]) -> Self {
        Self::within(&Limits::default(), frames)
    }

    pub fn within(limits: &Limits, frames: &[u8]) -> Self {
        let mut driver = Self::new(limits);
        driver.send(&hello(65_535)).send(frames);
        driver
    }

    pub fn wait(&mut self, seconds: f64) -> &mut Self {
        self.now += Duration::from_secs_f64(seconds);
        self
    }

    pub fn send(&mut self, piece: &[u8]) -> &mut Self {
        self.feed(piece);
        self.understand()
    }

    /// Bytes come, which nobody asks about yet.
    pub fn feed(&mut self, piece: &[u8]) {
        self.connection.receive(self.now, &mut Box::from(piece), piece.len());
    }

    /// Collects events, and writes what there is to be written.
    pub fn understand(&mut self) -> &mut Self {
        while let Some((stream, event)) = self.next_event() {
            match &event {
                Event::Refused(status) => self.reject(stream, *status),
                Event::Body(data) if self.takes_bodies => {
                    self.connection.body_taken(stream, data.len());
                }
                _ => {}
            }
            let events = self.events.entry(stream).or_default();
            match (events.last_mut(), event) {
                (Some(Event::Body(earlier)), Event::Body(data)) => earlier.extend(data),
                (_, event) => events.push(event),
            }
        }
        self.transmit()
    }

    fn next_event(&mut self) -> Option<(u32, Event)> {
        let Self { connection, now, limits, head, source, .. } = self;
        let (stream, event) = connection.poll_event(*now, limits, true, head, source)?;
        let event = match event {
            Ok(Inbound::Head(source)) => Event::Head(Box::new(Head::new(head, source))),
            Ok(Inbound::Body(data)) => Event::Body(data.to_vec()),
            Ok(Inbound::End) => Event::End,
            Ok(Inbound::Reset) => Event::Reset,
            Ok(Inbound::Http2(_)) => unreachable!("it is HTTP/2 already"),
            Err(reject) => Event::Refused(reject.status),
        };
        Some((stream, event))
    }

    pub fn transmit(&mut self) -> &mut Self {
        let Self { connection, now, limits, output, output_bytes_max, .. } = self;
        connection.poll_transmit(*now, limits, output, *output_bytes_max);
        while connection.poll_ended().is_some() {}
        self
    }

    pub fn submit(&mut self, stream: u32, outbound: &Outbound<'_>) -> Result<(), ApplicationError> {
        let result = self.connection.submit(stream, DEFAULTS, outbound);
        self.transmit();
        result
    }

    pub fn start(
        &mut self,
        stream: u32,
        status: u16,
        headers: &[(&str, &str)],
    ) -> Result<(), ApplicationError> {
        let headers = bytes_of(headers);
        self.connection.submit(stream, DEFAULTS, &Outbound::Start { status, headers: &headers })
    }

    pub fn body(&mut self, stream: u32, data: &[u8], more: bool) -> Result<(), ApplicationError> {
        self.submit(stream, &Outbound::Body { data: data.into(), more })
    }

    /// A whole answer.
    pub fn answer(&mut self, stream: u32, data: &[u8]) {
        self.start(stream, 200, &[]).expect("a response may start");
        self.body(stream, data, false).expect("a response may end");
    }

    pub fn reject(&mut self, stream: u32, status: u16) {
        self.connection.reject(stream, Reject::with_status(status, "a test"), DEFAULTS);
    }

    /// What the clock has ended.
    pub fn expired(&mut self) -> Vec<Expired> {
        let mut all = Vec::new();
        while let Some(expired) = self.connection.handle_timeout(self.now, &self.limits) {
            if let Expired::Request(stream, reject) = expired {
                self.reject(stream, reject.status);
            }
            all.push(expired);
        }
        self.transmit();
        all
    }

    pub fn take_frames(&mut self) -> Vec<Frame> {
        frames(&std::mem::take(&mut self.output))
    }

    /// The frames of one stream, and all others are forgotten.
    pub fn frames_of(&mut self, stream: u32) -> Vec<Frame> {
        self.take_frames().into_iter().filter(|frame| frame.stream == stream).collect()
    }

    pub fn outcome(&self) -> Outcome {
        let mut outcome = Outcome { events: self.events.clone(), ..Outcome::default() };
        for frame in frames(&self.output) {
            match frame.kind {
                RST_STREAM => _ = outcome.resets.insert(frame.stream, frame.code()),
                GOAWAY => outcome.goaway = Some(frame.code()),
                _ => {}
            }
        }
        outcome
    }
}

/// The frames that were written, which must be whole.
pub fn frames(mut output: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = output.split_first_chunk::<9>() {
        let [high, middle, low, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        assert!(length <= 16_384, "a frame that the client does not allow");
        let (payload, rest) = rest.split_at(length);
        let stream = u32::from_be_bytes(stream);
        frames.push(Frame { kind, flags, stream, payload: payload.to_vec() });
        output = rest;
    }
    assert!(output.is_empty(), "half a frame");
    frames
}

/// What a connection makes of the pieces when nobody answers.
pub fn run<'p>(limits: &Limits, pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut driver = Driver::new(limits);
    for piece in pieces {
        driver.send(piece);
    }
    driver.outcome()
}

/// What a connection makes of these frames behind the preface, which has to be the same whether they
/// come whole, byte by byte, or in two pieces, wherever they are cut.
#[track_caller]
pub fn record(frames: &[u8]) -> Outcome {
    let limits = Limits::default();
    let input = [&hello(65_535), frames].concat();
    let whole = run(&limits, [&*input]);
    assert_eq!(run(&limits, input.chunks(1)), whole, "byte by byte");
    for cut in 1..input.len() {
        let (first, second) = input.split_at(cut);
        assert_eq!(run(&limits, [first, second]), whole, "cut at {cut}");
    }
    whole
}
