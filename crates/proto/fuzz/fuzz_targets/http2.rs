//! HTTP/2 connections over arbitrary bytes in arbitrary pieces, with an application, a kernel and a
//! clock that do anything in any order.
//!
//! What must hold is asserted: a stream begins with a head and ends once, pieces make no difference
//! to a peer that breaks no rule, nothing is understood after the end, what is written are whole
//! frames, nothing follows the end of a stream, and a client finds in it what the application sent.

#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use pronghorn_proto::event::Outbound;
use pronghorn_proto::limits::{Http2Limits, Limits};

#[path = "../../tests/support/mod.rs"]
mod support;

use support::http2::{
    ACK, CONTINUATION, DATA, Driver, END_HEADERS, END_STREAM, Event, HEADERS, PADDED, PING,
    PREFACE, PRIORITY, RST_STREAM, SETTINGS, block, data, frame, frames, get, head, hello,
    last_data, post, reset, run, window_update,
};

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, script_bytes], rest)) = data.split_first_chunk() else { return };
    let (script, rest) = rest.split_at(usize::from(script_bytes % 64).min(rest.len()));
    let limits = if flags & 1 == 0 { Limits::default() } else { narrow() };
    let mut input = if flags & 2 == 0 { rest.to_vec() } else { from_fragments(rest) };
    input.truncate(INPUT_BYTES_MAX);
    if flags & 4 == 0 {
        let window = if flags & 8 == 0 { 65_535 } else { 3 };
        input.splice(0..0, hello(window));
    }
    pieces_make_no_difference(&limits, script, &input);
    Session::new(&limits).run(script, &input);
});

/// Longer inputs find nothing that shorter ones do not, only later.
const INPUT_BYTES_MAX: usize = 4096;

/// Bounds that short inputs reach.
fn narrow() -> Limits {
    let http2 = Http2Limits {
        streams_max: 2,
        stream_window_bytes: 8,
        connection_window_bytes: 65_535,
        header_list_bytes_max: 200,
        tunnels: false,
        ..Http2Limits::default()
    };
    Limits {
        headers_max: 4,
        body_bytes_max: 9,
        request_body_window_bytes_min: 4,
        http2,
        ..Limits::default()
    }
}

fn fragments() -> Vec<Vec<u8>> {
    let whole = head("GET", "/", &[("x", "y")]);
    let (first, second) = whole.split_at(11);
    let expecting = [("expect", "100-continue"), ("content-length", "5")];
    let mut fragments = vec![
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, END_HEADERS, 1, second),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &head("HEAD", "/", &[])),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &head("CONNECT", "/", &[])),
        frame(HEADERS, END_HEADERS | END_STREAM, 5, &head("GET", "/", &[("host", "b")])),
        frame(HEADERS, END_HEADERS, 7, &head("GET", "/", &[("te", "gzip")])),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")])),
        frame(DATA, PADDED, 1, b"\x03hello\0\0\0"),
        frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x02"),
        frame(SETTINGS, 0, 0, b"\0\x04\0\x01\0\0"),
        frame(SETTINGS, ACK, 0, b""),
        frame(PING, 0, 0, b"12345678"),
        frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
        frame(0xfa, 0, 1, b"x"),
        window_update(0, i32::MAX as u32),
        window_update(0, 100),
        b"\0".to_vec(),
        b"\x01".to_vec(),
    ];
    for stream in [1, 3, 5, 7] {
        fragments.extend([
            get(stream),
            post(stream, &[]),
            post(stream, &expecting),
            data(stream, b"hello"),
            data(stream, b""),
            last_data(stream, b"world"),
            reset(stream, 8),
            window_update(stream, 3),
            window_update(stream, i32::MAX as u32),
        ]);
    }
    fragments
}

/// Inputs near the grammar: small bytes stand for fragments, the others for themselves.
fn from_fragments(data: &[u8]) -> Vec<u8> {
    let fragments = fragments();
    let pieces = data.iter().map(|byte| match fragments.get(usize::from(*byte)) {
        Some(fragment) => fragment,
        None => std::slice::from_ref(byte),
    });
    pieces.collect::<Vec<_>>().concat()
}

/// The input in pieces whose sizes the script tells.
fn in_pieces<'i>(input: &'i [u8], script: &[u8]) -> Vec<&'i [u8]> {
    let mut rest = input;
    let mut pieces = Vec::new();
    for size in script {
        let (piece, after) = rest.split_at(usize::from(*size).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Where a peer has broken a rule, or taken back what it asked for, it may matter what else had come.
fn pieces_make_no_difference(limits: &Limits, script: &[u8], input: &[u8]) {
    let whole = run(limits, [input]);
    let is_calm = whole.goaway.is_none()
        && whole.resets.is_empty()
        && whole
            .events
            .values()
            .flatten()
            .all(|event| matches!(event, Event::Head(_) | Event::Body(_) | Event::End));
    if is_calm && !whole.events.is_empty() {
        let mut pieces = run(limits, in_pieces(input, script));
        let taken_back = taken_back(input);
        pieces.resets.retain(|stream, _| !taken_back.contains(stream));
        assert_eq!(pieces, whole);
    }
}

/// The streams that the peer has reset: what was wrong with them before may be told or not.
fn taken_back(input: &[u8]) -> Vec<u32> {
    let mut rest = input.strip_prefix(PREFACE).unwrap_or_default();
    let mut streams = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<9>() {
        let [high, middle, low, kind, _, stream @ ..] = *header;
        if kind == RST_STREAM {
            streams.push(u32::from_be_bytes(stream) & 0x7fff_ffff);
        }
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        rest = after.get(length..).unwrap_or_default();
    }
    streams
}

/// What has become of one request's response.
#[derive(Debug, Default)]
struct Sent {
    status: Option<u16>,
    body: Vec<u8>,
    is_complete: bool,
    /// Something else ended it than its last message.
    is_given_up: bool,
}

/// A connection on which everything happens in the order of a script.
struct Session {
    driver: Driver,
    sent: BTreeMap<u32, Sent>,
    /// All that was written.
    output: Vec<u8>,
}

impl Session {
    fn new(limits: &Limits) -> Self {
        let mut driver = Driver::new(limits);
        driver.takes_bodies = false;
        Self { driver, sent: BTreeMap::new(), output: Vec::new() }
    }

    fn run(mut self, script: &[u8], input: &[u8]) {
        let mut rest = input;
        for &byte in script {
            if byte < 0x80 {
                let (piece, after) = rest.split_at(usize::from(byte).min(rest.len()));
                self.receive(piece);
                rest = after;
            } else {
                self.act((byte & 0x7f) % 16, (byte & 0x7f) / 16);
            }
        }
        self.receive(rest);
        self.driver.output_bytes_max = usize::MAX;
        self.driver.transmit();
        self.check();
    }

    fn receive(&mut self, piece: &[u8]) {
        let was_closed = self.driver.connection.is_closed();
        let streams = self.driver.events.len();
        self.driver.send(piece);
        assert!(!was_closed || self.driver.events.len() == streams, "no request begins any more");
        for (&stream, events) in &self.driver.events {
            check_events(events);
            let sent = self.sent.entry(stream).or_default();
            sent.is_given_up |= matches!(events.last(), Some(Event::Reset | Event::Refused(_)));
        }
    }

    fn act(&mut self, action: u8, variant: u8) {
        let stream = u32::from(variant % 4) * 2 + 1;
        match action {
            0..=2 => self.start(stream, action),
            3 | 4 => self.body(stream, b"hello", true),
            5 => self.body(stream, b"hello", false),
            6 => self.body(stream, b"", false),
            7 => self.trailers(stream, variant < 4),
            8 => _ = self.driver.submit(stream, &Outbound::EarlyHint { links: &[b"</a>"] }),
            9 => _ = self.driver.connection.wants_body(stream),
            10 => self.driver.connection.body_taken(stream, usize::from(variant) * 3),
            11 => {
                self.driver.connection.abort(stream);
                self.give_up(stream);
            }
            12 => self.detached(stream, variant < 4),
            13 => {
                self.driver.wait(f64::from(variant) * 10.0);
                for expired in self.driver.expired() {
                    use pronghorn_proto::http2::Expired;
                    let (Expired::Request(stream, _) | Expired::Answer(stream)) = expired;
                    self.give_up(stream);
                }
            }
            14 => {
                self.driver.output_bytes_max = self.driver.output.len() + usize::from(variant) * 9
            }
            _ if variant == 7 => {
                self.driver.connection.drain(self.driver.now, Duration::from_secs(1));
            }
            _ => _ = self.driver.transmit(),
        }
    }

    /// Whether an application could still send something on a stream.
    fn is_open(&self, stream: u32) -> bool {
        self.sent.get(&stream).is_some_and(|sent| !sent.is_given_up && !sent.is_complete)
    }

    fn give_up(&mut self, stream: u32) {
        self.sent.entry(stream).or_default().is_given_up = true;
    }

    fn start(&mut self, stream: u32, variant: u8) {
        let cases: [(u16, &[(&str, &str)]); 3] =
            [(200, &[]), (200, &[("content-length", "5")]), (204, &[])];
        let (status, headers) = cases[usize::from(variant)];
        if self.is_open(stream) && self.driver.start(stream, status, headers).is_ok() {
            self.sent.entry(stream).or_default().status = Some(status);
        }
    }

    fn body(&mut self, stream: u32, data: &[u8], more: bool) {
        if self.is_open(stream) && self.driver.body(stream, data, more).is_ok() {
            self.added(stream, data, more);
        }
    }

    fn added(&mut self, stream: u32, data: &[u8], more: bool) {
        let sent = self.sent.entry(stream).or_default();
        assert!(sent.status.is_some());
        sent.body.extend_from_slice(data);
        sent.is_complete = !more;
    }

    fn trailers(&mut self, stream: u32, more: bool) {
        let outbound = Outbound::Trailers { headers: &[(b"x", b"y")], more };
        if self.is_open(stream) && self.driver.submit(stream, &outbound).is_ok() {
            self.added(stream, b"", more);
        }
    }

    /// A piece that comes from elsewhere; it is given as there is room for it.
    fn detached(&mut self, stream: u32, more: bool) {
        let length = 5;
        let outbound = Outbound::Detached { length, more };
        if self.driver.connection.unsent(stream) > 0 || !self.is_open(stream) {
            return;
        }
        if self.driver.submit(stream, &outbound).is_ok() {
            let room = self.driver.connection.room_for_detached(stream);
            self.driver.connection.give_detached(stream, &b"hello"[..room]);
            let is_whole = room == 5;
            self.added(stream, &b"hello"[..room], more && is_whole);
            if !is_whole {
                self.driver.connection.abort(stream);
                self.give_up(stream);
            }
        }
    }

    /// Reads what was written, as the client that sent the requests would.
    fn check(mut self) {
        self.output.append(&mut self.driver.output);
        let mut ended = BTreeMap::<u32, bool>::new();
        let mut bodies = BTreeMap::<u32, Vec<u8>>::new();
        for frame in frames(&self.output) {
            let has_ended = ended.entry(frame.stream).or_default();
            match frame.kind {
                HEADERS | DATA => {
                    assert!(!*has_ended, "something follows the end of a stream");
                    *has_ended = frame.flags & END_STREAM != 0;
                    if frame.kind == DATA {
                        bodies.entry(frame.stream).or_default().extend(&frame.payload);
                    }
                }
                RST_STREAM => *has_ended = true,
                _ => {}
            }
        }
        for (stream, sent) in self.sent {
            let Some(body) = bodies.get(&stream) else { continue };
            if sent.is_given_up || self.driver.connection.is_closed() {
                continue;
            }
            assert!(sent.body.starts_with(body), "{stream}: {sent:?}, {body:?}");
            let is_head = matches!(
                self.driver.events[&stream].first(),
                Some(Event::Head(head)) if head.method == "HEAD"
            );
            assert!(!(is_head || sent.status == Some(204)) || body.is_empty());
            if sent.is_complete && ended[&stream] {
                assert_eq!(sent.body, *body);
            }
        }
    }
}

/// A head comes first and once, and nothing follows the end but what ends the stream.
fn check_events(events: &[Event]) {
    let is_head = |event: &Event| matches!(event, Event::Head(_));
    assert!(is_head(&events[0]) || matches!(events[0], Event::Refused(_)), "{events:?}");
    assert!(!events[1..].iter().any(is_head), "{events:?}");
    let end = events.iter().position(|event| *event == Event::End);
    if let Some(end) = end {
        let after = &events[end + 1..];
        assert!(after.iter().all(|event| matches!(event, Event::Reset)), "{events:?}");
        assert!(after.len() <= 1, "{events:?}");
    }
}
