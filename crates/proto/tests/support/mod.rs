//! Runs a connection over bytes that come in any pieces, and records what it makes of them.
//!
//! Every request is answered as soon as it is whole, so that the record depends on the bytes alone.

#![allow(dead_code, reason = "each test file uses a part")]

pub mod http2;
pub mod response;

use std::fmt;
use std::time::{Duration, Instant};

use pronghorn_proto::error::{ApplicationError, Reject};
use pronghorn_proto::event::{Inbound, Input, Outbound};
use pronghorn_proto::head::{Framing, Method, RequestHead, Version};
use pronghorn_proto::http1::{Connection, Next};
use pronghorn_proto::limits::Limits;

/// The header lines that every response carries.
pub const DEFAULTS: &[u8] = b"server: test\r\n";

/// How `Driver` answers a request that is whole.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nserver: test\r\ncontent-length: 2\r\n\r\nok";

/// The same where the connection ends with it.
pub const LAST_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: test\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A request head with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    pub version: Version,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub framing: Framing,
    pub persistent: bool,
    pub expects_continue: bool,
    pub upgrade: Option<Vec<u8>>,
    pub forwarded: bool,
}

impl Head {
    fn new(head: &RequestHead, source: &[u8]) -> Self {
        let method = match head.method {
            Method::Other(span) => str::from_utf8(span.of(source)).expect("a token").to_owned(),
            known => format!("{known:?}").to_uppercase(),
        };
        let owned = |span: pronghorn_proto::head::Span| span.of(source).to_vec();
        Self {
            method,
            version: head.version,
            path: owned(head.path),
            query: owned(head.query),
            fields: head
                .fields
                .iter()
                .map(|field| (owned(field.name), owned(field.value)))
                .collect(),
            framing: head.framing,
            persistent: head.persistent,
            expects_continue: head.expects_continue,
            upgrade: head.upgrade.map(owned),
            forwarded: head.forwarded,
        }
    }
}

/// What a connection made of its input. Neighbouring pieces of a body are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Head(Box<Head>),
    Body(Vec<u8>),
    End,
    Http2(Reject),
    Refused(Reject),
    Closed { linger: bool },
}

/// All that happened on a connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub events: Vec<Event>,
    pub output: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            match event {
                Event::Head(head) => {
                    write!(formatter, "{} {}, ", head.method, head.path.escape_ascii())?;
                }
                Event::Body(data) => write!(formatter, "`{}`, ", data.escape_ascii())?,
                other => write!(formatter, "{other:?}, ")?,
            }
        }
        write!(formatter, "answered `{}`", self.output.escape_ascii())
    }
}

impl Record {
    pub fn heads(&self) -> Vec<&Head> {
        let heads = self.events.iter();
        heads
            .filter_map(|event| if let Event::Head(head) = event { Some(&**head) } else { None })
            .collect()
    }

    /// The only head there is.
    pub fn head(&self) -> &Head {
        let heads = self.heads();
        assert_eq!(heads.len(), 1, "{:?}", self.events);
        heads[0]
    }

    /// All bodies one after the other.
    pub fn body(&self) -> Vec<u8> {
        let pieces = self.events.iter();
        pieces
            .filter_map(|event| if let Event::Body(data) = event { Some(&**data) } else { None })
            .collect::<Vec<_>>()
            .concat()
    }

    pub fn ends(&self) -> usize {
        self.events.iter().filter(|event| **event == Event::End).count()
    }

    pub fn refusal(&self) -> Option<Reject> {
        self.events
            .iter()
            .find_map(|event| if let Event::Refused(reject) = event { Some(*reject) } else { None })
    }

    /// What comes is another protocol's.
    pub fn is_handed_over(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Http2(_)))
    }

    pub fn refused_status(&self) -> Option<u16> {
        self.refusal().map(|reject| reject.status)
    }
}

/// A connection, what came of its input, and a clock.
pub struct Driver {
    pub connection: Connection,
    pub limits: Limits,
    pub now: Instant,
    pub pending: Vec<u8>,
    pub head: RequestHead,
    pub record: Record,
    /// Requests are answered when they are whole.
    pub answers: bool,
    /// It must be reset: closing it would look like the end of a response.
    pub must_reset: bool,
}

impl Driver {
    pub fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(now, limits),
            limits: limits.clone(),
            now,
            pending: Vec::new(),
            head: RequestHead::default(),
            record: Record::default(),
            answers: true,
            must_reset: false,
        }
    }

    /// A connection whose requests the test answers itself.
    pub fn unanswered(limits: &Limits) -> Self {
        Self { answers: false, ..Self::new(limits) }
    }

    /// A connection in which `input` has been understood; the test answers.
    pub fn after(input: &[u8]) -> Self {
        let mut driver = Self::unanswered(&Limits::default());
        driver.send(input);
        driver
    }

    pub fn wait(&mut self, seconds: f64) -> &mut Self {
        self.now += Duration::from_secs_f64(seconds);
        self
    }

    /// Sends bytes behind those that wait.
    pub fn send(&mut self, piece: &[u8]) -> &mut Self {
        if self.record.is_handed_over() {
            return self;
        }
        self.pending.extend_from_slice(piece);
        loop {
            let mut pending = std::mem::take(&mut self.pending);
            let mut input = Input::new(&pending);
            let goes_on = self.understand(&mut input);
            let understood = input.consumed();
            pending.drain(..understood);
            self.pending = pending;
            if !goes_on || self.pending.is_empty() {
                return self;
            }
        }
    }

    /// Collects events until more bytes are needed; says whether the next request may begin.
    fn understand(&mut self, input: &mut Input<'_>) -> bool {
        loop {
            match self.connection.receive(self.now, &self.limits, input, &mut self.head) {
                Ok(Some(Inbound::Head(source))) => {
                    let head = Head::new(&self.head, source);
                    let is_whole = head.framing == Framing::None;
                    self.record.events.push(Event::Head(Box::new(head)));
                    if is_whole && self.answers {
                        return self.answer();
                    }
                }
                Ok(Some(Inbound::Body(data))) => self.body(data),
                Ok(Some(Inbound::End)) => {
                    self.record.events.push(Event::End);
                    if self.answers {
                        return self.answer();
                    }
                }
                Ok(Some(Inbound::Reset)) => unreachable!("HTTP/1.1 has no streams to take back"),
                Ok(Some(Inbound::Http2(reject))) => {
                    self.record.events.push(Event::Http2(reject));
                    input.take(usize::MAX);
                    return false;
                }
                Ok(None) => return false,
                Err(reject) => {
                    self.record.events.push(Event::Refused(reject));
                    self.reject(reject.status);
                    self.next();
                    return false;
                }
            }
        }
    }

    fn body(&mut self, data: &[u8]) {
        assert!(!data.is_empty(), "a piece of a body is never empty");
        match self.record.events.last_mut() {
            Some(Event::Body(earlier)) => earlier.extend_from_slice(data),
            _ => self.record.events.push(Event::Body(data.to_vec())),
        }
    }

    fn answer(&mut self) -> bool {
        self.start(200, &[]).expect("a response may start");
        self.end(b"ok").expect("a response may end");
        self.next() == Next::Request
    }

    pub fn submit(&mut self, outbound: &Outbound<'_>) -> Result<(), ApplicationError> {
        self.connection.submit(&self.limits, DEFAULTS, outbound, &mut self.record.output)
    }

    pub fn start(&mut self, status: u16, headers: &[(&str, &str)]) -> Result<(), ApplicationError> {
        let headers = bytes_of(headers);
        self.submit(&Outbound::Start { status, headers: &headers })
    }

    /// A piece of the body that is not the last.
    pub fn piece(&mut self, data: &[u8]) -> Result<(), ApplicationError> {
        self.submit(&Outbound::Body { data: data.into(), more: true })
    }

    /// The last piece of the body.
    pub fn end(&mut self, data: &[u8]) -> Result<(), ApplicationError> {
        self.submit(&Outbound::Body { data: data.into(), more: false })
    }

    pub fn flush(&mut self) {
        self.connection.flush(&self.limits, &mut self.record.output);
    }

    pub fn wants_body(&mut self) -> bool {
        self.connection.wants_body(&mut self.record.output)
    }

    pub fn reject(&mut self, status: u16) -> bool {
        let must_reset = self.connection.reject(
            Reject::with_status(status, "a test"),
            DEFAULTS,
            &mut self.record.output,
        );
        self.must_reset |= must_reset;
        must_reset
    }

    pub fn abort(&mut self) -> bool {
        let must_reset = self.connection.abort(&mut self.record.output);
        self.must_reset |= must_reset;
        must_reset
    }

    pub fn next(&mut self) -> Next {
        let next = self.connection.next(self.now, &self.limits);
        if let Next::Close { linger } = next {
            self.record.events.push(Event::Closed { linger });
        }
        next
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.record.output)
    }
}

pub fn bytes_of<'a>(headers: &[(&'a str, &'a str)]) -> Vec<(&'a [u8], &'a [u8])> {
    headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// What a connection makes of the pieces.
pub fn run<'p>(limits: &Limits, pieces: impl IntoIterator<Item = &'p [u8]>) -> Record {
    let mut driver = Driver::new(limits);
    for piece in pieces {
        driver.send(piece);
    }
    driver.record
}

/// What a connection makes of the input, which has to be the same whether that comes whole, byte by
/// byte, or in two pieces, wherever it is cut.
pub fn record(input: &[u8]) -> Record {
    record_within(&Limits::default(), input)
}

pub fn record_within(limits: &Limits, input: &[u8]) -> Record {
    let whole = run(limits, [input]);
    assert_eq!(run(limits, input.chunks(1)), whole, "byte by byte: {}", input.escape_ascii());
    // Long inputs are cut near their ends and here and there between.
    let stride = input.len() / 500 + 1;
    for cut in 1..input.len() {
        if cut % stride == 0 || cut < 16 || cut + 16 > input.len() {
            let (first, second) = input.split_at(cut);
            let both = run(limits, [first, second]);
            assert_eq!(
                both,
                whole,
                "cut at {cut}: {}",
                input[..input.len().min(200)].escape_ascii()
            );
        }
    }
    whole
}

/// A request that would be answered if the bytes before it were misread.
pub const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Asserts that the input is refused, whatever follows, and that nothing after it is a request.
#[track_caller]
pub fn assert_refused(input: &[u8], status: u16) -> Reject {
    assert_refused_within(&Limits::default(), input, status)
}

#[track_caller]
pub fn assert_refused_within(limits: &Limits, input: &[u8], status: u16) -> Reject {
    let shown = input[..input.len().min(200)].escape_ascii().to_string();
    let record = record_within(limits, &[input, SMUGGLED].concat());
    let refusal = record.refusal().unwrap_or_else(|| panic!("not refused: {shown}"));
    let end = [Event::Refused(refusal), Event::Closed { linger: true }];
    assert!(record.events.ends_with(&end), "{shown}: {record:?}");
    assert!(record.heads().iter().all(|head| head.path != b"/smuggled"), "smuggled: {shown}");
    let mut rest = &*record.output;
    let answers: Vec<_> = std::iter::from_fn(|| response::take(&mut rest, false)).collect();
    let last = answers.last().expect("an answer");
    assert!(rest.is_empty() && last.closes, "{shown}: {record:?}");
    assert_eq!((refusal.status, last.status), (status, status), "{shown}: {refusal:?}");
    refusal
}

/// The record of one request that is understood and answered.
#[track_caller]
pub fn accepted(input: &[u8]) -> Record {
    accepted_within(&Limits::default(), input)
}

#[track_caller]
pub fn accepted_within(limits: &Limits, input: &[u8]) -> Record {
    let shown = input[..input.len().min(200)].escape_ascii().to_string();
    let record = record_within(limits, input);
    assert_eq!(record.refusal(), None, "{shown}");
    assert_eq!(record.heads().len(), 1, "{shown}");
    assert!(
        [ANSWER, LAST_ANSWER].contains(&&*record.output),
        "{shown}: {}",
        record.output.escape_ascii()
    );
    record
}

/// A POST with these field lines behind `Host`, and the end of its head.
pub fn post(lines: &[&[u8]]) -> Vec<u8> {
    let mut input = b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec();
    for line in lines {
        input.extend_from_slice(line);
        input.extend_from_slice(b"\r\n");
    }
    input.extend_from_slice(b"\r\n");
    input
}

/// A GET with these bytes between request line and the empty line.
pub fn get(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\n", fields, b"\r\n"].concat()
}

/// A POST with this chunked body.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    [&post(&[b"Transfer-Encoding: chunked"])[..], body].concat()
}
