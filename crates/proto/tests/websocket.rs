//! Frames in, events out: whole, byte by byte, and cut at every point.

use std::time::{Duration, Instant};

use pronghorn_proto::event::Input;
use pronghorn_proto::limits::WebSocketLimits;
use pronghorn_proto::websocket::deflate::{Agreement, DeflateLimits};
use pronghorn_proto::websocket::{CloseError, Event, Expired, MessageKind, Shared, WebSocket};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// A text that goes on, a piece of it, its last piece.
const TEXT_BEGUN: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]));
    frame
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &close_payload(code, reason))
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Happened {
    Text(String),
    Binary(Vec<u8>),
    Closed(u16, String),
}

fn text(text: &str) -> Happened {
    Happened::Text(text.to_owned())
}

fn closed(code: u16, reason: &str) -> Happened {
    Happened::Closed(code, reason.to_owned())
}

/// A WebSocket, and what has happened to it.
struct Driver {
    socket: WebSocket,
    shared: Shared,
    limits: WebSocketLimits,
    now: Instant,
    pending: Vec<u8>,
    happened: Vec<Happened>,
    output: Vec<u8>,
}

impl Driver {
    fn new(limits: WebSocketLimits, agreement: Option<&Agreement>) -> Self {
        let now = Instant::now();
        let mut shared = Shared::new(Some(&DeflateLimits::default()));
        let socket = WebSocket::new(now, &limits, agreement, &mut shared);
        Self {
            socket,
            shared,
            limits,
            now,
            pending: Vec::new(),
            happened: Vec::new(),
            output: Vec::new(),
        }
    }

    fn plain() -> Self {
        Self::new(WebSocketLimits::default(), None)
    }

    fn bounded(message_bytes_max: usize) -> Self {
        Self::new(WebSocketLimits { message_bytes_max, ..WebSocketLimits::default() }, None)
    }

    fn deflating() -> Self {
        Self::new(WebSocketLimits::default(), Some(&agreement(&[])))
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.pending);
        let mut input = Input::new(&bytes);
        loop {
            let before = input.consumed();
            let event = self.socket.receive(
                self.now,
                &self.limits,
                &mut input,
                &mut self.shared,
                &mut self.output,
            );
            match event {
                None if input.consumed() == before || input.rest().is_empty() => break,
                None => {}
                Some(Event::Message { kind: MessageKind::Text, payload }) => {
                    self.happened.push(text(str::from_utf8(payload).expect("checked UTF-8")));
                }
                Some(Event::Message { kind: MessageKind::Binary, payload }) => {
                    self.happened.push(Happened::Binary(payload.to_vec()));
                }
                Some(Event::Closed { code, reason }) => self.happened.push(closed(code, reason)),
            }
        }
        self.pending.extend_from_slice(input.rest());
    }

    fn send(&mut self, kind: MessageKind, data: &[u8]) -> Vec<u8> {
        assert!(self.socket.send(kind, data.into(), &mut self.shared, &mut self.output));
        std::mem::take(&mut self.output)
    }

    fn timeout(&mut self, after: Duration, waiting: bool) -> Expired {
        self.now += after;
        self.socket.handle_timeout(self.now, &self.limits, waiting, &mut self.output)
    }
}

/// Parameters of an offer.
type Offer = &'static [(&'static [u8], Option<&'static [u8]>)];

fn agreement(offer: Offer) -> Agreement {
    Agreement::answer(offer.iter().copied(), &DeflateLimits::default()).expect("an offer")
}

/// Feeds the bytes whole, byte by byte, and cut at every point; checks that it makes no difference.
fn happens(bytes: &[u8], expected: &[Happened]) -> Vec<u8> {
    let mut whole = Driver::plain();
    whole.feed(bytes);
    assert_eq!(whole.happened, expected, "whole");
    let mut single = Driver::plain();
    for byte in bytes {
        single.feed(&[*byte]);
    }
    assert_eq!(single.happened, expected, "byte by byte");
    assert_eq!(single.output, whole.output, "byte by byte");
    for cut in 1..bytes.len() {
        let mut driver = Driver::plain();
        driver.feed(&bytes[..cut]);
        driver.feed(&bytes[cut..]);
        assert_eq!(driver.happened, expected, "cut at {cut}");
        assert_eq!(driver.output, whole.output, "cut at {cut}");
    }
    whole.output
}

#[test]
fn messages_of_every_header_length_arrive() {
    for length in [0, 1, 3, 4, 7, 8, 9, 125, 126, 127, 300] {
        let payload = vec![b'x'; length];
        happens(&frame(TEXT, &payload), &[text(str::from_utf8(&payload).unwrap())]);
        happens(&frame(BINARY, &payload), &[Happened::Binary(payload)]);
    }
    let mut driver = Driver::plain();
    driver.feed(&frame(BINARY, &vec![7; 70_000]));
    assert_eq!(driver.happened, [Happened::Binary(vec![7; 70_000])]);
}

#[test]
fn fragments_make_one_message_with_control_frames_between() {
    let bytes = [
        frame(TEXT_BEGUN, "gr\u{fc}".as_bytes()),
        frame(PING, b"between"),
        frame(MORE, b""),
        frame(MORE, "\u{1f40e}".as_bytes()),
        frame(PONG, b"unasked"),
        frame(LAST, b"!"),
        frame(TEXT, b""),
    ]
    .concat();
    let output = happens(&bytes, &[text("gr\u{fc}\u{1f40e}!"), text("")]);
    assert_eq!(output, [&[PONG, 7], b"between".as_slice()].concat());
}

#[test]
fn text_may_be_cut_within_a_character() {
    let whole = "\u{3ba}\u{1f40e}\u{fc}";
    for at in 0..=whole.len() {
        let (first, second) = whole.as_bytes().split_at(at);
        happens(&[frame(TEXT_BEGUN, first), frame(LAST, second)].concat(), &[text(whole)]);
    }
}

#[test]
fn what_rfc_6455_forbids_fails() {
    let protocol_errors: &[(&str, Vec<u8>)] = &[
        ("reserved bits", frame(TEXT | 0x40, b"")),
        ("reserved bits", frame(TEXT | 0x20, b"")),
        ("reserved bits", frame(PING | 0x10, b"")),
        ("invalid opcode", frame(0x83, b"")),
        ("invalid opcode", frame(0x8b, b"")),
        ("incorrect masking", vec![TEXT, 0x00]),
        ("fragmented control frame", frame(0x09, b"")),
        ("control frame too long", frame(PING, &[0; 126])),
        ("most significant bit", [&[TEXT, 0xff, 0x80][..], &[0; 11]].concat()),
        ("unexpected continuation frame", frame(LAST, b"")),
        ("expected a continuation frame", [frame(TEXT_BEGUN, b"a"), frame(TEXT, b"b")].concat()),
        ("close frame too short", frame(CLOSE, b"\x03")),
        ("invalid close code", close_frame(1005, b"")),
        ("invalid close code", close_frame(2999, b"")),
        ("invalid close code", close_frame(5000, b"")),
    ];
    for (reason, bytes) in protocol_errors {
        let mut driver = Driver::plain();
        driver.feed(bytes);
        let [Happened::Closed(1002, said)] = driver.happened.as_slice() else {
            panic!("{reason}: {:?}", driver.happened);
        };
        assert!(said.contains(reason), "{said} for {reason}");
        happens(bytes, &driver.happened);
    }
    for invalid in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xce"] {
        happens(&frame(TEXT, invalid), &[closed(1007, "invalid UTF-8")]);
    }
    happens(&close_frame(1000, b"\xff"), &[closed(1007, "invalid UTF-8")]);
}

#[test]
fn failures_are_told_as_soon_as_the_byte_is_there() {
    for bytes in [&[TEXT | 0x20][..], &[0x83], &[TEXT, 0x05], &[PING, 0xfe]] {
        let mut driver = Driver::plain();
        driver.feed(bytes);
        assert!(matches!(driver.happened[..], [Happened::Closed(1002, _)]), "{bytes:?}");
    }
    // Within a frame most of which is still to come.
    let bytes = frame(TEXT, &[&b"ok\xff"[..], &[b'x'; 500]].concat());
    let mut driver = Driver::plain();
    driver.feed(&bytes[..11]);
    assert_eq!(driver.happened, [closed(1007, "invalid UTF-8")]);
}

#[test]
fn limit_counts_the_whole_message() {
    let fits: Vec<Vec<u8>> = vec![
        frame(BINARY, &[0; 10]),
        [frame(0x02, &[0; 4]), frame(MORE, &[0; 6]), frame(LAST, b"")].concat(),
    ];
    for bytes in fits {
        let mut driver = Driver::bounded(10);
        driver.feed(&bytes);
        assert_eq!(driver.happened, [Happened::Binary(vec![0; 10])]);
    }
    let exceeds = [
        frame(BINARY, &[0; 11]),
        [frame(0x02, &[0; 4]), frame(MORE, &[0; 7])].concat(),
        // Its header is enough.
        [&[BINARY, 0xff][..], &1_u64.rotate_right(2).to_be_bytes(), &MASK].concat(),
    ];
    for bytes in exceeds {
        let mut driver = Driver::bounded(10);
        driver.feed(&bytes);
        assert_eq!(driver.happened, [closed(1009, "message too big")]);
    }
}

#[test]
fn close_frame_is_answered_after_what_came_before_it() {
    let mut driver = Driver::plain();
    driver.feed(&[frame(TEXT, b"last"), close_frame(3001, b"bye"), frame(TEXT, b"late")].concat());
    assert_eq!(driver.happened, [text("last"), closed(3001, "bye")]);
    assert!(driver.socket.owes_answer() && driver.output.is_empty());
    // The application answers the last message.
    assert_eq!(driver.send(MessageKind::Text, b"ok"), [TEXT, 2, b'o', b'k']);
    driver.socket.answer(&mut driver.output);
    assert_eq!(driver.output, [&[CLOSE, 5], &close_payload(3001, b"bye")[..]].concat());
    assert!(driver.socket.is_closed());
    assert!(!driver.socket.send(
        MessageKind::Text,
        b"".into(),
        &mut driver.shared,
        &mut driver.output
    ));
}

#[test]
fn close_frame_without_a_code_gets_one_like_it() {
    let mut driver = Driver::plain();
    driver.feed(&frame(CLOSE, b""));
    driver.socket.answer(&mut driver.output);
    assert_eq!((driver.happened, driver.output), (vec![closed(1005, "")], vec![CLOSE, 0]));
}

#[test]
fn answer_that_is_owed_goes_out_in_time() {
    let mut driver = Driver::plain();
    driver.feed(&close_frame(1000, b""));
    assert_eq!(driver.socket.poll_timeout(), Some(driver.now + Duration::from_secs(10)));
    assert_eq!(driver.timeout(Duration::from_secs(10), false), Expired::Over);
    assert_eq!(driver.output, [CLOSE, 2, 0x03, 0xe8]);
}

#[test]
fn own_close_waits_for_the_answer_and_drops_messages() {
    let mut driver = Driver::plain();
    driver.feed(&frame(TEXT_BEGUN, b"half"));
    let close = |driver: &mut Driver, code, reason: &str| {
        driver.socket.close(driver.now, &driver.limits, code, reason, &mut driver.output)
    };
    assert_eq!(close(&mut driver, 1005, ""), Err(CloseError::InvalidCode));
    assert_eq!(close(&mut driver, 1000, &"x".repeat(124)), Err(CloseError::ReasonTooLong));
    assert_eq!(close(&mut driver, 1000, "bye"), Ok(()));
    assert_eq!(driver.output, [&[CLOSE, 5], &close_payload(1000, b"bye")[..]].concat());
    assert_eq!(close(&mut driver, 1000, ""), Err(CloseError::Closed));
    driver.output.clear();
    // What was on its way, invalid text among it, and a ping that is answered.
    driver.feed(&[frame(LAST, b"\xff"), frame(TEXT, b"late"), frame(PING, b"")].concat());
    assert_eq!((&driver.happened[..], &driver.output[..]), (&[][..], &[PONG, 0][..]));
    driver.feed(&close_frame(1000, b""));
    assert_eq!(driver.happened, [closed(1000, "")]);
    assert!(driver.socket.is_closed());
    assert_eq!(driver.output, [PONG, 0], "no second close frame");
}

#[test]
fn own_close_is_not_waited_for_longer_than_ten_seconds() {
    let mut driver = Driver::plain();
    driver.socket.close(driver.now, &driver.limits, 1000, "", &mut driver.output).unwrap();
    assert_eq!(driver.timeout(Duration::from_secs(9), false), Expired::NotYet);
    assert_eq!(driver.timeout(Duration::from_secs(1), false), Expired::Over);
    assert!(driver.socket.is_closed());
}

#[test]
fn own_close_that_is_hastened_is_waited_for_no_longer() {
    let mut driver = Driver::plain();
    driver.socket.close(driver.now, &driver.limits, 1000, "", &mut driver.output).unwrap();
    driver.socket.hasten(driver.now, Duration::from_secs(2));
    driver.socket.hasten(driver.now, Duration::from_secs(20));
    assert_eq!(driver.timeout(Duration::from_secs(1), false), Expired::NotYet);
    assert_eq!(driver.timeout(Duration::from_secs(1), false), Expired::Over);
}

// --- Keep-alive --------------------------------------------------------------------------------

fn pinged() -> (Driver, Vec<u8>) {
    let mut driver = Driver::plain();
    assert_eq!(driver.timeout(Duration::from_secs(20), false), Expired::NotYet);
    let ping = std::mem::take(&mut driver.output);
    assert_eq!((ping[0], ping[1]), (PING, 4));
    (driver, ping[2..].to_vec())
}

#[test]
fn ping_that_is_answered_is_followed_by_another() {
    let (mut driver, payload) = pinged();
    driver.now += Duration::from_secs(3);
    // Only its own pong counts.
    driver.feed(&frame(PONG, b"else"));
    assert_eq!(driver.socket.poll_timeout(), Some(driver.now + Duration::from_secs(17)));
    driver.feed(&frame(PONG, &payload));
    // The way of the pong counts towards the interval.
    assert_eq!(driver.socket.poll_timeout(), Some(driver.now + Duration::from_secs(17)));
    driver.timeout(Duration::from_secs(17), false);
    assert_ne!(driver.output[2..], payload, "another ping says something else");
}

#[test]
fn ping_that_is_not_answered_fails_the_connection() {
    let (mut driver, _) = pinged();
    driver.feed(&frame(TEXT, b"data is no pong"));
    let Expired::Failed(failure) = driver.timeout(Duration::from_secs(20), false) else {
        panic!("it is still open")
    };
    assert_eq!((failure.code, failure.reason), (1011, "keepalive ping timeout"));
    let payload = close_payload(1011, b"keepalive ping timeout");
    assert_eq!(driver.output, [&[CLOSE, 24], &payload[..]].concat());
    assert!(driver.socket.is_closed());
}

#[test]
fn peer_is_not_to_blame_while_the_application_lags() {
    let (mut driver, payload) = pinged();
    for _ in 0..3 {
        assert_eq!(driver.timeout(Duration::from_secs(20), true), Expired::NotYet);
    }
    driver.feed(&frame(PONG, &payload));
    assert!(driver.output.is_empty() && driver.socket.is_open());
}

#[test]
fn pings_can_be_turned_off_and_pongs_not_waited_for() {
    let off = WebSocketLimits { ping_interval: None, ..WebSocketLimits::default() };
    assert_eq!(Driver::new(off, None).socket.poll_timeout(), None);
    let zero =
        WebSocketLimits { ping_interval: Some(Duration::ZERO), ..WebSocketLimits::default() };
    assert_eq!(Driver::new(zero, None).socket.poll_timeout(), None);
    let patient = WebSocketLimits { ping_timeout: None, ..WebSocketLimits::default() };
    let mut driver = Driver::new(patient, None);
    for _ in 0..3 {
        assert_eq!(driver.timeout(Duration::from_secs(20), false), Expired::NotYet);
    }
    assert_eq!(driver.output.len(), 3 * 6);
}

// --- permessage-deflate ------------------------------------------------------------------------

/// RFC 7692, 7.2.3.1 and 7.2.3.2.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const HELLO_AGAIN: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];

#[test]
fn compressed_messages_arrive_however_they_are_cut() {
    let (half, rest) = HELLO.split_at(3);
    let cases: [Vec<u8>; 5] = [
        frame(TEXT | COMPRESSED, HELLO),
        [frame(TEXT_BEGUN | COMPRESSED, half), frame(PING, b""), frame(LAST, rest)].concat(),
        [frame(TEXT_BEGUN | COMPRESSED, HELLO), frame(LAST, b"")].concat(),
        // 7.2.3.3, a block without compression, and 7.2.3.4, one that says that it is the last.
        frame(TEXT | COMPRESSED, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
        frame(TEXT | COMPRESSED, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
    ];
    for bytes in cases {
        for cut in 0..bytes.len() {
            let mut driver = Driver::deflating();
            driver.feed(&bytes[..cut]);
            driver.feed(&bytes[cut..]);
            // The second refers to the first.
            driver.feed(&frame(TEXT | COMPRESSED, HELLO_AGAIN));
            assert_eq!(driver.happened, [text("Hello"), text("Hello")], "{bytes:x?} cut at {cut}");
        }
    }
}

#[test]
fn messages_need_not_be_compressed() {
    let mut driver = Driver::deflating();
    driver.feed(&[frame(TEXT, b"plain"), frame(TEXT | COMPRESSED, HELLO)].concat());
    assert_eq!(driver.happened, [text("plain"), text("Hello")]);
    // An empty one is not worth it.
    assert_eq!(driver.send(MessageKind::Text, b""), [TEXT, 0]);
}

#[test]
fn rsv1_means_something_only_at_a_messages_start() {
    for bytes in [
        [frame(TEXT_BEGUN | COMPRESSED, HELLO), frame(LAST | COMPRESSED, b"")].concat(),
        frame(PING | COMPRESSED, b""),
        frame(CLOSE | COMPRESSED, b""),
    ] {
        let mut driver = Driver::deflating();
        driver.feed(&bytes);
        assert!(matches!(driver.happened[..], [Happened::Closed(1002, _)]));
    }
}

#[test]
fn what_cannot_be_inflated_fails() {
    // A block of the type that there is not.
    let mut driver = Driver::deflating();
    driver.feed(&frame(TEXT | COMPRESSED, &[0x07]));
    assert_eq!(driver.happened, [closed(1002, "decompression failed")]);
    let mut invalid = Driver::deflating();
    let mut compressed = other_side(agreement(&[]), &[b"\xce\xff"]).remove(0);
    compressed[0] = TEXT | COMPRESSED;
    invalid.feed(&compressed);
    assert_eq!(invalid.happened, [closed(1007, "invalid UTF-8")]);
}

#[test]
fn first_fault_in_a_compressed_text_counts_however_it_is_cut() {
    // Found by the fuzzer: no UTF-8, and behind that no such data or too much of it.
    let bad_text: &[u8] = b"\x00\x01\x00\xfe\xff\xff";
    let long = &compressed(agreement(&[]), &[&[b'a'; 2000]])[0];
    for rest in [&[0x07], &long[..]] {
        let mut bytes = frame(TEXT | COMPRESSED, &[bad_text, rest].concat());
        bytes.extend(frame(PING, b""));
        for step in 1..=bytes.len() {
            let limits = WebSocketLimits { message_bytes_max: 1000, ..WebSocketLimits::default() };
            let mut driver = Driver::new(limits, Some(&agreement(&[])));
            bytes.chunks(step).for_each(|piece| driver.feed(piece));
            assert_eq!(driver.happened, [closed(1007, "invalid UTF-8")], "{step} at once");
        }
    }
}

/// The frames that another WebSocket makes of messages, masked as a client would.
fn other_side(agreement: Agreement, messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let payloads = compressed(agreement, messages).into_iter();
    payloads.map(|payload| frame(BINARY | COMPRESSED, &payload)).collect()
}

/// What another WebSocket makes of messages.
fn compressed(agreement: Agreement, messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut other = Driver::new(WebSocketLimits::default(), Some(&agreement));
    let payloads = messages.iter().map(|message| {
        let sent = other.send(MessageKind::Binary, message);
        let header = match sent[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        sent[header..].to_vec()
    });
    payloads.collect()
}

#[test]
fn limit_holds_after_inflation_and_memory_with_it() {
    let zeros = vec![0; 3_000_000];
    let bomb = &other_side(agreement(&[]), &[&zeros])[0];
    assert!(bomb.len() < 10_000);
    for limit in [0, 1, 1000, 100_000, 2_999_999] {
        let limits = WebSocketLimits { message_bytes_max: limit, ..WebSocketLimits::default() };
        let mut driver = Driver::new(limits, Some(&agreement(&[])));
        driver.feed(bomb);
        assert_eq!(driver.happened, [closed(1009, "message too big")], "{limit}");
    }
    let limits = WebSocketLimits { message_bytes_max: 3_000_000, ..WebSocketLimits::default() };
    let mut driver = Driver::new(limits, Some(&agreement(&[])));
    driver.feed(bomb);
    assert_eq!(driver.happened, [Happened::Binary(zeros)], "exactly the limit");
}

#[test]
fn windows_survive_that_codecs_are_shared() {
    let noise: Vec<u8> =
        (0..6000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for codecs_max in [0, 1, 2, 100] {
        let deflate = DeflateLimits { codecs_max, ..DeflateLimits::default() };
        let limits = WebSocketLimits::default();
        let mut shared = Shared::new(Some(&deflate));
        let now = Instant::now();
        // Five that take turns, each to be understood by one of its own.
        let offers: [Offer; 5] = [
            &[],
            &[(b"client_max_window_bits", None)],
            &[(b"server_max_window_bits", Some(b"11")), (b"client_max_window_bits", Some(b"9"))],
            &[(b"server_no_context_takeover", None)],
            &[(b"client_no_context_takeover", None), (b"server_no_context_takeover", None)],
        ];
        let agreements: Vec<Agreement> = offers.iter().map(|offer| agreement(offer)).collect();
        let mut sockets: Vec<WebSocket> = agreements
            .iter()
            .map(|agreement| WebSocket::new(now, &limits, Some(agreement), &mut shared))
            .collect();
        let mut sizes = Vec::new();
        for round in 0..4 {
            for (socket, agreement) in sockets.iter_mut().zip(&agreements) {
                let message = &noise[round..round + 200];
                let mut sent = Vec::new();
                assert!(socket.send(
                    MessageKind::Binary,
                    message[..].into(),
                    &mut shared,
                    &mut sent
                ));
                sizes.push((agreement.server_context_takeover, round, sent.len()));
            }
        }
        for (takes_over, round, size) in sizes {
            // What has been there before takes next to nothing, whoever had the codec meanwhile.
            assert_eq!(
                size < 60,
                takes_over && round > 0,
                "{codecs_max} codecs, round {round}, {size} bytes"
            );
        }
    }
}

#[test]
fn what_is_compressed_inflates_to_the_same_with_any_agreement() {
    let messages: Vec<Vec<u8>> =
        (0..40_usize).map(|n| format!("message {n} ").repeat(n * n).into_bytes()).collect();
    let messages: Vec<&[u8]> =
        messages.iter().map(Vec::as_slice).filter(|message| !message.is_empty()).collect();
    for bits in [&b"9"[..], b"10", b"12", b"15"] {
        for forgets in [false, true] {
            // Both directions alike, so that one WebSocket can play the other's client.
            let mut offer: Vec<(&[u8], Option<&[u8]>)> = vec![
                (b"server_max_window_bits", Some(bits)),
                (b"client_max_window_bits", Some(bits)),
            ];
            if forgets {
                offer.push((b"server_no_context_takeover", None));
                offer.push((b"client_no_context_takeover", None));
            }
            let limits = DeflateLimits { window_bits: 15, ..DeflateLimits::default() };
            let agreement = Agreement::answer(offer.into_iter(), &limits).unwrap();
            let mut driver = Driver::new(WebSocketLimits::default(), Some(&agreement));
            for sent in other_side(agreement, &messages) {
                driver.feed(&sent);
            }
            let expected: Vec<Happened> =
                messages.iter().map(|message| Happened::Binary(message.to_vec())).collect();
            assert_eq!(driver.happened, expected);
        }
    }
}
