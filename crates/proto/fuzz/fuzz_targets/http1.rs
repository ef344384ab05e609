//! HTTP/1 connections over arbitrary bytes in arbitrary pieces, with an application and a clock
//! that do anything in any order.
//!
//! What must hold is asserted: pieces make no difference, nothing is understood after a refusal, no
//! head is read in another way than a second parser reads it, a client can read what is written and
//! finds in it what the application sent, and it never takes a cut response for a whole one.

#![no_main]

use libfuzzer_sys::fuzz_target;

use pronghorn_proto::deadline::Expired;
use pronghorn_proto::event::{Outbound, Tunnel};
use pronghorn_proto::head::{self, Version};
use pronghorn_proto::http1::Next;
use pronghorn_proto::limits::Limits;

#[path = "../../tests/support/mod.rs"]
mod support;

use support::response::{Framing, Response, take};
use support::{Driver, Event, Head, Record, SMUGGLED, run};

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, script_bytes], rest)) = data.split_first_chunk() else { return };
    let (script, rest) = rest.split_at(usize::from(script_bytes % 64).min(rest.len()));
    let limits = if flags & 1 == 0 { Limits::default() } else { narrow() };
    let mut input = if flags & 2 == 0 { rest.to_vec() } else { from_fragments(rest) };
    input.truncate(INPUT_BYTES_MAX);
    pieces_make_no_difference(&limits, script, &input);
    Session::new(&limits).run(script, &input);
});

/// Longer inputs find nothing that shorter ones do not, only later.
const INPUT_BYTES_MAX: usize = 1024;

/// Bounds that short inputs reach.
fn narrow() -> Limits {
    Limits {
        request_line_bytes_max: 40,
        header_bytes_max: 90,
        headers_max: 4,
        chunk_line_bytes_max: 8,
        chunk_extension_bytes_max: 12,
        trailer_bytes_max: 16,
        drain_bytes_max: 8,
        request_body_window_bytes_min: 4,
        ..Limits::default()
    }
}

const FRAGMENTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"HEAD /a?b HTTP/1.1\r\n",
    b"POST http://a/ HTTP/1.1\r\n",
    b"PUT / HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"X-Forwarded-For: b\r\n",
    b"x_forwarded_for: b\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b";a=b",
    b"5\r\nhello\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"X: y\r\n",
    b"hello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    SMUGGLED,
];

/// Inputs near the grammar: small bytes stand for fragments, the others for themselves.
fn from_fragments(data: &[u8]) -> Vec<u8> {
    let pieces = data.iter().map(|byte| match FRAGMENTS.get(usize::from(*byte)) {
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

fn pieces_make_no_difference(limits: &Limits, script: &[u8], input: &[u8]) {
    let whole = run(limits, [input]);
    assert_eq!(run(limits, in_pieces(input, script)), whole);
    assert_eq!(run(limits, input.chunks(1)), whole);
    let over = whole.events.iter().position(|event| matches!(event, Event::Closed { .. }));
    assert!(over.is_none_or(|index| index + 1 == whole.events.len()), "{whole:?}");
    if let Some(refused) = whole.refusal() {
        assert!(whole.events.ends_with(&[Event::Refused(refused), Event::Closed { linger: true }]));
    }
    let mut output = &*whole.output;
    for head in whole.heads() {
        means_the_same_to_others(head);
        let response = take(&mut output, head.method == "HEAD");
        assert!(response.is_some() || whole.refusal().is_none(), "{whole:?}");
    }
    if whole.refusal().is_some() && !output.is_empty() {
        let response = take(&mut output, false).expect("a whole refusal");
        assert!(response.closes && response.status >= 400);
    }
    assert!(output.is_empty(), "{whole:?}");
}

/// Reads the fields as a lenient reader may, who must not come to another result.
fn means_the_same_to_others(head: &Head) {
    let values = |name: &str| {
        let fields =
            head.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        fields.map(|(_, value)| value.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let expected = match (&*codings, &*lengths) {
        ([coding], []) => {
            assert_eq!((&**coding, head.version), (&b"chunked"[..], Version::Http11), "{head:?}");
            head::Framing::Chunked
        }
        ([], [length]) => {
            assert!(length.iter().all(u8::is_ascii_digit), "{head:?}");
            match str::from_utf8(length).expect("digits").parse().expect("a number") {
                0 => head::Framing::None,
                length => head::Framing::Length(length),
            }
        }
        ([], []) => head::Framing::None,
        _ => panic!("two framings: {head:?}"),
    };
    assert_eq!(head.framing, expected, "{head:?}");
    assert!(values("host").len() <= 1, "{head:?}");
    assert!(values("host").len() == 1 || head.version == Version::Http10, "{head:?}");
    let is_visible = |byte: &u8| (0x21..0x7f).contains(byte);
    assert!(head.path.iter().chain(&head.query).all(is_visible), "{head:?}");
    for (name, value) in &head.fields {
        let mut text = [name, &b": "[..], value, b"\r\n\r\n"].concat();
        text.splice(0..0, *b"GET / HTTP/1.1\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 1];
        let mut request = httparse::Request::new(&mut headers);
        assert_eq!(request.parse(&text), Ok(httparse::Status::Complete(text.len())), "{head:?}");
        assert_eq!(request.headers[0].name.as_bytes(), name);
        assert_eq!(request.headers[0].value.trim_ascii(), value.trim_ascii());
    }
}

/// What has become of one request's response.
#[derive(Debug, Default)]
struct Sent {
    is_head: bool,
    status: Option<u16>,
    body: Vec<u8>,
    is_complete: bool,
}

/// A connection on which everything happens in the order of a script.
struct Session {
    driver: Driver,
    /// One for each head.
    sent: Vec<Sent>,
    /// It was refused or aborted, or a response has ended it.
    is_over: bool,
    tunnel: Option<Opened>,
}

/// A tunnel that has been opened.
struct Opened {
    /// How much had come as bodies of requests.
    before: usize,
    /// What has come since.
    received: Vec<u8>,
}

impl Session {
    fn new(limits: &Limits) -> Self {
        Self { driver: Driver::unanswered(limits), sent: Vec::new(), is_over: false, tunnel: None }
    }

    fn run(mut self, script: &[u8], input: &[u8]) {
        let mut rest = input;
        for &byte in script {
            if byte < 0x80 {
                let (piece, after) = rest.split_at(usize::from(byte).min(rest.len()));
                self.receive(piece);
                rest = after;
            } else {
                self.act(byte & 0x7f);
            }
        }
        self.receive(rest);
        self.act(13);
        self.receive(SMUGGLED);
        self.check_output();
    }

    fn receive(&mut self, piece: &[u8]) {
        let events = self.driver.record.events.len();
        let answered = self.sent.last().is_none_or(|sent| sent.is_complete);
        let goes_through = self.driver.connection.is_tunnel();
        self.driver.send(piece);
        let record: &Record = &self.driver.record;
        if let Some(tunnel) = self.tunnel.as_mut().filter(|_| goes_through) {
            tunnel.received.extend_from_slice(piece);
            assert_eq!(record.body()[tunnel.before..], tunnel.received, "{record:?}");
        }
        if self.is_over {
            assert_eq!(record.events.len(), events, "nothing is understood any more: {record:?}");
            assert!(self.driver.pending.is_empty());
            return;
        }
        let heads = record.heads();
        assert!(heads.len() <= self.sent.len() + usize::from(answered), "answers keep their order");
        if let Some(head) = heads.get(self.sent.len()) {
            means_the_same_to_others(head);
            self.sent.push(Sent { is_head: head.method == "HEAD", ..Sent::default() });
        }
        self.is_over = record.refusal().is_some() || record.is_handed_over();
    }

    fn act(&mut self, action: u8) {
        if self.driver.record.is_handed_over() {
            return;
        }
        let (action, variant) = (action % 16, action / 16);
        match action {
            0..=2 => self.start(variant),
            3 => self.body(b"", true),
            4 => self.body(b"hello", true),
            5 | 6 => self.body(b"hello", false),
            7 => self.body(b"", false),
            8 => self.driver.flush(),
            9 => _ = self.driver.wants_body(),
            10 => self.driver.connection.body_taken(),
            11 => self.driver.connection.end_after_response(),
            12 | 13 => self.next(),
            14 => self.time_passes(variant),
            _ => match variant {
                5 => self.open_tunnel(),
                6 => self.reject(400),
                7 => self.abort(),
                _ => {}
            },
        }
    }

    fn start(&mut self, variant: u8) {
        let cases: [(u16, &[(&str, &str)]); 8] = [
            (200, &[]),
            (200, &[("Content-Length", "5")]),
            (204, &[]),
            (304, &[("content-length", "5")]),
            (404, &[("connection", "close"), ("x", "y")]),
            (200, &[("transfer-encoding", "chunked"), ("connection", "keep-alive")]),
            (200, &[("x", "a\r\nb")]),
            (100, &[]),
        ];
        let (status, headers) = cases[usize::from(variant)];
        let length = self.driver.record.output.len();
        if self.driver.start(status, headers).is_ok() {
            let sent = self.sent.last_mut().expect("a request");
            assert!(sent.status.is_none() && !sent.is_complete && variant < 6);
            sent.status = Some(status);
        } else {
            assert_eq!(self.driver.record.output.len(), length);
        }
    }

    fn body(&mut self, data: &[u8], more: bool) {
        let result = if more { self.driver.piece(data) } else { self.driver.end(data) };
        if result.is_ok() {
            let sent = self.sent.last_mut().expect("a request");
            assert!(sent.status.is_some() && !sent.is_complete);
            sent.body.extend_from_slice(data);
            sent.is_complete = !more;
        }
    }

    fn open_tunnel(&mut self) {
        let tunnel = Tunnel {
            first: &[(b"Connection", b"Upgrade")],
            headers: &[(b"x", b"y")],
            last: Some((b"Upgrade", b"websocket")),
        };
        let (before, received) = (self.driver.record.body().len(), self.driver.pending.clone());
        if self.driver.submit(&Outbound::Tunnel(tunnel)).is_ok() {
            let sent = self.sent.last_mut().expect("a request");
            assert!(sent.status.is_none() && !sent.is_complete && !self.is_over);
            sent.status = Some(101);
            self.tunnel = Some(Opened { before, received });
        }
    }

    fn next(&mut self) {
        let next = self.driver.next();
        let is_complete = self.sent.last().is_some_and(|sent| sent.is_complete);
        match next {
            Next::Close { .. } => self.is_over = true,
            Next::Request | Next::Drain => assert!(is_complete && !self.is_over),
            Next::Response => assert!(!self.is_over),
            Next::Tunnel => assert!(self.tunnel.is_some() && !is_complete && !self.is_over),
        }
    }

    fn reject(&mut self, status: u16) {
        self.driver.reject(status);
        self.is_over = true;
    }

    fn abort(&mut self) {
        self.driver.abort();
        self.is_over = true;
    }

    fn time_passes(&mut self, variant: u8) {
        self.driver.wait(f64::from(variant) * 5.0);
        let Driver { connection, now, limits, .. } = &mut self.driver;
        match connection.handle_timeout(*now, limits, variant & 1 == 0) {
            Expired::NotYet => {}
            Expired::Close => self.abort(),
            Expired::RequestTimeout(_) => self.reject(408),
        }
    }

    /// Reads what was written, as the client that sent the requests would.
    fn check_output(&self) {
        let mut output = &*self.driver.record.output;
        for (index, sent) in self.sent.iter().enumerate() {
            let mut response = take(&mut output, sent.is_head);
            if response.as_ref().is_some_and(|response| response.status == 100) {
                response = take(&mut output, sent.is_head);
            }
            let is_last = index + 1 == self.sent.len();
            match response {
                Some(response)
                    if sent.status == Some(response.status) && !is_refusal(&response) =>
                {
                    let is_cut = self.is_over && !self.driver.must_reset && !sent.is_complete;
                    assert!(!is_cut || response.framing != Framing::Close, "{sent:?}");
                    assert!(sent.is_complete || response.framing != Framing::Chunked, "{sent:?}");
                    let has_body = response.framing != Framing::None;
                    assert_eq!(response.body, if has_body { &*sent.body } else { b"" });
                    assert!(is_last || !response.closes, "{sent:?}");
                    if response.status == 101 {
                        assert!(is_last && output == sent.body, "{sent:?}");
                        return;
                    }
                }
                Some(response) => {
                    // The head was taken back, or there was none.
                    assert!(is_refusal(&response) && self.is_over && is_last, "{response:?}");
                    assert!(!sent.is_complete && sent.body.is_empty());
                }
                None => assert!(is_last && !sent.is_complete, "{sent:?}"),
            }
            if is_last && !sent.is_complete {
                return;
            }
        }
        if let Some(response) = take(&mut output, false) {
            assert!(is_refusal(&response) && self.is_over, "{response:?}");
        }
        assert!(output.is_empty());
    }
}

fn is_refusal(response: &Response) -> bool {
    response.closes && response.values("content-type") == [b"text/plain; charset=utf-8"]
}
