//! Requests over HTTP/2, by their bytes and however these are cut.

mod support;

use pronghorn_proto::head::Framing;
use pronghorn_proto::limits::Limits;

use support::http2::{
    ACK, CANCEL, CONTINUATION, DATA, Driver, END_HEADERS, END_STREAM, Event, HAS_PRIORITY, HEADERS,
    NO_ERROR, Outcome, PADDED, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, data, frame, get, head, hello, last_data, post, record, reset, run,
    window_update,
};

// --- what comes in ------------------------------------------------------------------------------

#[track_caller]
fn only(outcome: &Outcome) -> &[Event] {
    assert_eq!(outcome.events.len(), 1, "{outcome:?}");
    &outcome.events[&1]
}

#[track_caller]
fn head_of(outcome: &Outcome) -> &support::Head {
    match &only(outcome)[0] {
        Event::Head(head) => head,
        other => panic!("no head: {other:?}"),
    }
}

#[test]
fn reads_a_request_without_a_body() {
    let outcome = record(&frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &head("GET", "/a%20b?c=d", &[("x-a", "1"), ("x-b", " padded\t")]),
    ));
    let head = head_of(&outcome);
    assert_eq!((&*head.method, &*head.path, &*head.query), ("GET", &b"/a%20b"[..], &b"c=d"[..]));
    let fields = [(&b"host"[..], &b"a"[..]), (b"x-a", b"1"), (b"x-b", b"padded")];
    let read: Vec<_> = head.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(read, fields);
    assert_eq!((head.framing, head.persistent), (Framing::None, true));
    assert_eq!(only(&outcome).len(), 1);
    assert_eq!((outcome.goaway, outcome.resets.len()), (None, 0));
}

#[test]
fn reads_bodies_in_all_their_shapes() {
    let padded = |payload: &[u8], padding: u8| {
        let payload = [&[padding], payload, &vec![0; usize::from(padding)]].concat();
        frame(DATA, PADDED, 1, &payload)
    };
    let cases: [(Vec<u8>, &[u8]); 6] = [
        ([post(1, &[]), last_data(1, b"hello")].concat(), b"hello"),
        ([post(1, &[]), data(1, b"he"), data(1, b"llo"), last_data(1, b"")].concat(), b"hello"),
        ([post(1, &[]), data(1, b""), last_data(1, b"hello")].concat(), b"hello"),
        ([post(1, &[]), padded(b"hello", 7), last_data(1, b"")].concat(), b"hello"),
        (
            [post(1, &[("content-length", "5")]), data(1, b"hel"), last_data(1, b"lo")].concat(),
            b"hello",
        ),
        ([post(1, &[]), padded(b"", 0), last_data(1, b"")].concat(), b""),
    ];
    for (input, body) in cases {
        let outcome = record(&input);
        let mut expected = vec![];
        if !body.is_empty() {
            expected.push(Event::Body(body.to_vec()));
        }
        expected.push(Event::End);
        assert_eq!(&only(&outcome)[1..], expected);
    }
    let framings = |fields: &[(&str, &str)]| head_of(&record(&post(1, fields))).framing;
    assert_eq!(framings(&[]), Framing::Chunked);
    assert_eq!(framings(&[("content-length", "5")]), Framing::Length(5));
}

#[test]
fn reads_heads_in_all_their_shapes() {
    let whole = head("GET", "/", &[("x", "y")]);
    let (first, second) = whole.split_at(11);
    let flags = END_HEADERS | END_STREAM;
    let inputs = [
        frame(HEADERS, flags, 1, &whole),
        frame(HEADERS, flags | PADDED, 1, &[&[3], &*whole, &[0; 3]].concat()),
        frame(HEADERS, flags | HAS_PRIORITY, 1, &[&[0, 0, 0, 0, 9], &*whole].concat()),
        [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, second),
        ]
        .concat(),
    ];
    let outcomes: Vec<_> = inputs.iter().map(|input| record(input)).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    assert_eq!(head_of(&outcomes[0]).fields.len(), 2);
}

#[test]
fn trailers_end_a_body() {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")]));
    let outcome = record(&[post(1, &[]), data(1, b"hello"), trailers].concat());
    assert_eq!(only(&outcome)[1..], [Event::Body(b"hello".to_vec()), Event::End]);
}

#[test]
fn streams_are_told_apart() {
    let input = [
        post(1, &[]),
        get(3),
        data(1, b"o"),
        post(5, &[]),
        data(5, b"five"),
        frame(PING, 0, 0, b"12345678"),
        data(1, b"ne"),
        last_data(5, b""),
        frame(PRIORITY, 0, 7, b"\0\0\0\0\x10"),
        frame(0xfa, 0xff, 1, b"unknown"),
        window_update(0, 1),
        window_update(3, 1),
        last_data(1, b"!"),
    ];
    let outcome = record(&input.concat());
    let streams: Vec<_> = outcome.events.keys().collect();
    assert_eq!(streams, [&1, &3, &5]);
    assert_eq!(outcome.events[&1][1..], [Event::Body(b"one!".to_vec()), Event::End]);
    assert_eq!(outcome.events[&5][1..], [Event::Body(b"five".to_vec()), Event::End]);
}

#[test]
fn crumbs_of_a_cookie_are_one_field() {
    let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    let outcome = record(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", &fields)));
    let cookies = head_of(&outcome).fields.iter().filter(|(name, _)| name == b"cookie");
    assert_eq!(cookies.map(|(_, value)| &**value).collect::<Vec<_>>(), [b"a=1; b=2; c=3"]);
}

#[test]
fn fields_of_proxies_are_noted() {
    for (name, is_noted) in [
        ("x-forwarded-for", true),
        ("x-forwarded-host", true),
        ("forwarded", true),
        ("x-real-ip", true),
        ("x-other", false),
    ] {
        let input = head("GET", "/", &[(name, "1.2.3.4")]);
        let outcome = record(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &input));
        assert_eq!(head_of(&outcome).forwarded, is_noted, "{name}");
    }
}

/// A stream error: whatever is wrong with one request is no trouble to the others.
#[test]
fn malformed_requests_reset_their_streams() {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let without = |left_out: &str| {
        let kept = pseudo.iter().filter(|(name, _)| *name != left_out);
        block(&kept.copied().collect::<Vec<_>>())
    };
    let with = |field| head("GET", "/", &[field]);
    let blocks = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        with(("connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "websocket")),
        with(("keep-alive", "1")),
        with(("proxy-connection", "close")),
        with(("te", "gzip")),
        with(("content-length", "+0")),
        head("GET", "/", &[("content-length", "0"), ("content-length", "1")]),
        with((":status", "200")),
        with((":path", "/again")),
        block(&[&[("x", "y")], &pseudo[..]].concat()),
        head("GET", "", &[]),
    ];
    for block in blocks {
        let input = [frame(HEADERS, END_HEADERS | END_STREAM, 1, &block), get(3)].concat();
        let outcome = record(&input);
        assert_eq!(outcome.resets, [(1, PROTOCOL_ERROR)].into(), "{}", block.escape_ascii());
        assert_eq!(outcome.goaway, None, "{}", block.escape_ascii());
        assert_eq!(outcome.events.keys().collect::<Vec<_>>(), [&3], "{}", block.escape_ascii());
    }
}

#[test]
fn refused_requests_are_answered() {
    let blocks = [
        (head("GET", "/", &[("host", "b")]), 400),
        (head("GET", "/", &[("host", "a"), ("host", "a")]), 400),
        (head("GET", "/", &[("te", "trailers"), ("host", "a/b")]), 400),
        (head("GET", "*", &[]), 400),
        (block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]), 400),
        (block(&[(":method", "CONNECT"), (":authority", "a:80")]), 501),
    ];
    for (block, status) in blocks {
        let input = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        let outcome = record(&[input, get(3)].concat());
        let refused = vec![Event::Refused(status)];
        assert_eq!(outcome.events.get(&1), Some(&refused), "{}", block.escape_ascii());
        assert!(matches!(outcome.events[&3][..], [Event::Head(_)]));
        assert_eq!((outcome.goaway, outcome.resets.len()), (None, 0));
    }
}

#[test]
fn bodies_that_are_not_as_long_as_they_said_are_reset() {
    let length = [("content-length", "5")];
    let inputs = [
        [post(1, &length), last_data(1, b"four")].concat(),
        [post(1, &length), data(1, b"sixsix")].concat(),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("POST", "/", &length)),
        [post(1, &length), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")]))]
            .concat(),
    ];
    for input in inputs {
        let outcome = record(&[input, get(3)].concat());
        assert_eq!(outcome.resets, [(1, PROTOCOL_ERROR)].into());
        assert_eq!(outcome.goaway, None);
        let ended = outcome.events.get(&1).is_some_and(|events| events.contains(&Event::End));
        assert!(!ended, "{outcome:?}");
    }
}

/// Connection errors (RFC 9113, 5.4.1).
#[test]
fn what_nobody_can_go_on_from_ends_the_connection() {
    let inputs = [
        frame(DATA, 0, 1, b"idle"),
        frame(DATA, 0, 0, b""),
        frame(HEADERS, END_HEADERS, 2, &head("GET", "/", &[])),
        frame(HEADERS, END_HEADERS, 0, &head("GET", "/", &[])),
        [get(3), get(1)].concat(),
        frame(SETTINGS, 0, 1, b""),
        frame(SETTINGS, 0, 0, b"12345"),
        frame(SETTINGS, ACK, 0, b"123456"),
        frame(PING, 0, 0, b"short"),
        frame(PING, 0, 1, b"12345678"),
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        frame(WINDOW_UPDATE, 0, 0, b"\0"),
        [window_update(0, i32::MAX as u32), window_update(0, i32::MAX as u32)].concat(),
        frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
        frame(CONTINUATION, END_HEADERS, 1, b""),
        [frame(HEADERS, 0, 1, &head("GET", "/", &[])), get(3)].concat(),
        frame(HEADERS, END_HEADERS, 1, b"\x80"),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05a"),
        frame(HEADERS, END_HEADERS, 1, &head("GET", "/", &[("X", "y")])),
        frame(HEADERS, END_HEADERS, 1, &head("GET", "/", &[(":unknown", "1")])),
        frame(5, END_HEADERS, 1, b"\0\0\0\x02"),
        [post(1, &[]), frame(DATA, PADDED, 1, b"\x05a")].concat(),
    ];
    for input in inputs {
        let limits = Limits::default();
        let input = [hello(65_535), input].concat();
        let whole = run(&limits, [&*input]);
        assert!(whole.goaway.is_some_and(|code| code != NO_ERROR), "{}", input.escape_ascii());
        assert_eq!(run(&limits, input.chunks(1)).goaway, whole.goaway);
        let mut driver = Driver::new(&limits);
        driver.send(&input).send(&get(99));
        assert!(driver.connection.is_closed());
        assert!(!driver.events.contains_key(&99), "nothing is understood any more");
    }
}

#[test]
fn half_a_preface_ends_the_connection() {
    for length in 0..PREFACE.len() {
        let mut driver = Driver::new(&Limits::default());
        driver.send(&[&PREFACE[..length], b"?"].concat()).send(&get(1));
        assert!(driver.connection.is_closed(), "{length}");
        assert!(driver.events.is_empty());
    }
}

#[test]
fn request_that_is_taken_back_ends_with_a_reset() {
    let outcome = record(&[post(1, &[]), reset(1, CANCEL)].concat());
    assert_eq!(only(&outcome).last(), Some(&Event::Reset));
}
