//! Heads of requests: what is understood, and what is refused because it could be read in two ways.
//!
//! Every input comes whole, byte by byte and cut at every point, which must make no difference.

mod support;

use pronghorn_proto::head::{Framing, Version};
use pronghorn_proto::limits::Limits;
use support::{
    ANSWER, Event, LAST_ANSWER, SMUGGLED, accepted, assert_refused, get, post, record,
    record_within, run,
};

const TOKEN: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn request_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: a\r\n\r\n"].concat()
}

// --- Request line -------------------------------------------------------------------------------

#[test]
fn reads_method_target_and_version() {
    let record = accepted(b"BREW /a/b?c=d?e HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = record.head();
    assert_eq!((&*head.method, head.version), ("BREW", Version::Http11));
    assert_eq!((&*head.path, &*head.query), (&b"/a/b"[..], &b"c=d?e"[..]));
    assert_eq!((head.framing, head.persistent), (Framing::None, true));
    assert_eq!(record.output, ANSWER);
}

#[test]
fn knows_the_usual_methods() {
    for method in
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "M-X"]
    {
        let record = record(&request_line(format!("{method} / HTTP/1.1").as_bytes()));
        assert_eq!(record.head().method, method);
    }
}

#[test]
fn refuses_malformed_request_lines() {
    let lines: &[&[u8]] = &[
        b"GET",
        b"GET /",
        b"GET / ",
        b"GET / HTTP",
        b"GET / HTTP/1",
        b"GET / HTTP/1.",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET / x HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b" GET / HTTP/1.1",
        b"\tGET / HTTP/1.1",
        b" / HTTP/1.1",
        b" HTTP/1.1",
        b"HTTP/1.1",
        b"G@T / HTTP/1.1",
        b"G\xc3\x8bT / HTTP/1.1",
        b"GET: / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP /1.1",
        b"GET / HTTP/1,1",
        b"GET / HTTP/1.1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/11",
        b"GET / HTTP/01.1",
        b"GET / HTTP/a.b",
        b"GET / HTTP-1.1",
        b"GET / HTTPS/1.1",
        b"GET / RTSP/1.0",
        b"HTTP/1.1 200 OK",
        b"\xef\xbb\xbfGET / HTTP/1.1",
    ];
    for line in lines {
        assert_refused(&request_line(line), 400);
    }
}

#[test]
fn refuses_other_versions() {
    for version in ["0.9", "0.0", "1.2", "1.9", "2.0", "2.1", "3.0", "9.9"] {
        assert_refused(&request_line(format!("GET / HTTP/{version}").as_bytes()), 505);
    }
    // Where a connection does not begin with it, HTTP/2's preface is a request like these.
    assert_refused(b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn tells_of_http_2() {
    assert!(matches!(*record(b"PRI * HTTP/2.0\r\n").events, [Event::Http2(_)]));
}

#[test]
fn takes_what_is_no_http_1_for_a_wrong_preface() {
    for line in [&b"INVALID CONNECTION PREFACE"[..], b"A B C", b"CONNECT example.com:80 FTP"] {
        assert!(matches!(*record(&[line, b"\r\n"].concat()).events, [Event::Http2(_)]));
    }
    for line in [&b"INVALID PREFACE"[..], b"ONE TWO THREE FOUR", b"A  C", b"A / B", b"A B HTTP/"] {
        assert_refused(&request_line(line), 400);
    }
    assert_refused(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nINVALID CONNECTION PREFACE\r\n\r\n", 400);
}

#[test]
fn refuses_other_protocols_as_soon_as_they_show() {
    let openings: &[&[u8]] =
        &[b"\x16\x03\x01\x02\x00", b"\x80\x2e\x01\x00", b"\0", b"\r\n\r\n\0\r\nQUIT\n"];
    for opening in openings {
        let record = record(opening);
        assert_eq!(record.refused_status(), Some(400), "{}", opening.escape_ascii());
    }
}

#[test]
fn every_byte_of_a_method_is_of_a_token() {
    for byte in 0..=255 {
        let input = request_line(&[b"X", &[byte][..], b"Y / HTTP/1.1"].concat());
        if TOKEN.contains(&byte) {
            accepted(&input);
        } else {
            assert_refused(&input, 400);
        }
    }
}

// --- Lines and fields ---------------------------------------------------------------------------

#[test]
fn refuses_bare_line_feeds() {
    let heads: &[&[u8]] = &[
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\nHost: a\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\nHTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for head in heads {
        assert_eq!(assert_refused(head, 400).reason, "bare LF");
    }
}

#[test]
fn refuses_bare_carriage_returns() {
    let heads: &[&[u8]] = &[
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n",
        b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\rHTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\0",
    ];
    for head in heads {
        assert_eq!(assert_refused(head, 400).reason, "control byte");
    }
}

#[test]
fn the_first_fault_in_the_bytes_is_the_one_that_counts() {
    let fields = "X: y\r\n".repeat(100);
    let cases = [
        // The version would be 505, `CONNECT` 501, the number of fields 431.
        ("G\x01T / HTTP/2.0\r\n\r\n".to_owned(), "control byte"),
        ("CONNECT a\x01 HTTP/1.1\r\n\r\n".to_owned(), "control byte"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}X: \x01\r\n\r\n"), "too many header fields"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}X: \x01\r\n\r\n", &fields[6..]), "control byte"),
        ("GET / HTTP/1.1\r\nno colon\r\nX: \x01\r\n\r\n".to_owned(), "field line without a colon"),
        ("GET / HTTP/1.1\r\nno colon\x01\nX\r\n\r\n".to_owned(), "control byte"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\x01".to_owned(), "more than one Host"),
    ];
    for (input, reason) in cases {
        let refusal = record(input.as_bytes()).refusal();
        assert_eq!(refusal.map(|reject| reject.reason), Some(reason), "{input:?}");
    }
}

#[test]
fn refuses_malformed_field_lines() {
    let lines: &[&[u8]] = &[
        b"X: y\r\n z",
        b"X: y\r\n\tz",
        b"X: y\r\n ",
        b"X:\r\n y",
        b" X: y",
        b"\tX: y",
        b"X : y",
        b"X\t: y",
        b": y",
        b" : y",
        b":",
        b"X",
        b"X y",
        b"X Y: z",
        b"(X): y",
        b"X@: y",
        b"X/: y",
        b"\"X\": y",
        b"X\x80: y",
        b"X\xc3\xa9: y",
        b"X\0: y",
        b"X: \0",
        b"X: y\x0bz",
        b"X: y\x7f",
        b"X: \x1b[31m",
    ];
    for line in lines {
        assert_refused(&get(&[b"Host: a\r\n", *line, b"\r\n"].concat()), 400);
        assert_refused(&get(&[*line, b"\r\nHost: a\r\n"].concat()), 400);
    }
}

#[test]
fn every_byte_of_a_field_name_is_of_a_token() {
    for byte in (0..=255).filter(|&byte| byte != b':') {
        for name in [vec![byte], vec![b'X', byte], vec![byte, b'X'], vec![b'X', byte, b'Y']] {
            let input = get(&[b"Host: a\r\n", &*name, b": z\r\n"].concat());
            if name.iter().all(|byte| TOKEN.contains(byte)) {
                assert_eq!(accepted(&input).head().fields[1], (name, b"z".to_vec()));
            } else {
                assert_refused(&input, 400);
            }
        }
    }
}

#[test]
fn every_byte_of_a_field_value_is_no_control_byte() {
    for byte in 0..=255 {
        for length in [0, 1, 6, 7, 8, 15, 30] {
            let value = [&b"y".repeat(length)[..], &[byte], b"z"].concat();
            let input = get(&[b"Host: a\r\nX: ", &*value, b"\r\n"].concat());
            if byte == b'\t' || (byte >= 0x20 && byte != 0x7f) {
                let expected = value.trim_ascii_start();
                assert_eq!(accepted(&input).head().fields[1].1, expected);
            } else {
                assert_refused(&input, 400);
            }
        }
    }
}

#[test]
fn strips_space_and_tab_around_values_and_nothing_else() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"X:a", b"a"),
        (b"X: \t a b", b"a b"),
        (b"X: a b \t", b"a b"),
        (b"X:", b""),
        (b"X: \t ", b""),
        (b"X: a:b", b"a:b"),
        (b"X: \xa0a\x85", b"\xa0a\x85"),
        (b"X: \x80\xff", b"\x80\xff"),
    ];
    for (line, value) in cases {
        let record = accepted(&get(&[b"Host: a\r\n", *line, b"\r\n"].concat()));
        assert_eq!(record.head().fields[1], (b"X".to_vec(), value.to_vec()));
    }
}

#[test]
fn keeps_fields_in_order_and_as_they_are() {
    let record = accepted(b"GET / HTTP/1.1\r\nX-B: 1\r\nHOST: a\r\nx-a: 2\r\nX-b: 3\r\n\r\n");
    let fields = [("X-B", "1"), ("HOST", "a"), ("x-a", "2"), ("X-b", "3")];
    let expected =
        fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    assert_eq!(record.head().fields, expected);
}

#[test]
fn drops_underscored_spellings_of_forwarding_fields() {
    for name in
        ["X_Forwarded_For", "x-forwarded_for", "X_FORWARDED-PROTO", "X_Real_IP", "x_real-ip"]
    {
        let record = accepted(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").as_bytes());
        assert_eq!((record.head().fields.len(), record.head().forwarded), (1, false), "{name}");
    }
    for name in ["my_own", "x_forward", "y_forwarded_for", "x-forwarded", "forward", "x-real-i"] {
        let record = accepted(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").as_bytes());
        assert_eq!((record.head().fields.len(), record.head().forwarded), (2, false), "{name}");
    }
    for name in
        ["X-Forwarded-For", "x-forwarded-proto", "x-real-ip", "X-Forwarded-Host", "Forwarded"]
    {
        let record = accepted(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").as_bytes());
        assert_eq!((record.head().fields.len(), record.head().forwarded), (2, true), "{name}");
    }
}

#[test]
fn skips_empty_lines_before_a_request() {
    for lines in ["\r\n", "\r\n\r\n\r\n"] {
        let input = format!("{lines}GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(accepted(input.as_bytes()).head().path, b"/a");
        let both = record(&[input.as_bytes(), input.as_bytes()].concat());
        assert_eq!(both.heads().len(), 2);
    }
}

// --- What a head asks for -----------------------------------------------------------------------

#[test]
fn persistence_follows_version_and_connection() {
    let cases = [
        ("1.1", "X: y", true),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: CLOSE", false),
        ("1.1", "Connection: foo , close", false),
        ("1.1", "Connection: close, foo", false),
        ("1.1", "Connection: foo\r\nConnection: close", false),
        ("1.1", "Connection: closed", true),
        ("1.1", "Connection: \"close\"", true),
        ("1.0", "X: y", false),
        ("1.0", "Connection: keep-alive", false),
    ];
    for (version, line, persistent) in cases {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n\r\n");
        let record = accepted(input.as_bytes());
        assert_eq!(record.head().persistent, persistent, "{input}");
        assert_eq!(record.output, if persistent { ANSWER } else { LAST_ANSWER }, "{input}");
        let next = record_within(&Limits::default(), &[input.as_bytes(), SMUGGLED].concat());
        assert_eq!(next.heads().len(), if persistent { 2 } else { 1 }, "{input}");
    }
}

#[test]
fn expectation_counts_where_there_is_a_body_to_wait_with() {
    let cases = [
        ("1.1", "Content-Length: 1", "100-continue", true),
        ("1.1", "Content-Length: 1", "100-Continue", true),
        ("1.1", "Content-Length: 1", "100-continue, foo", true),
        ("1.1", "Content-Length: 1", "100-continue\r\nExpect: foo", true),
        ("1.1", "Content-Length: 1", "foo\r\nExpect: 100-continue", true),
        ("1.1", "Transfer-Encoding: chunked", "100-continue", true),
        ("1.1", "Content-Length: 1", "foo", false),
        ("1.1", "Content-Length: 1", "", false),
        ("1.1", "Content-Length: 0", "100-continue", false),
        ("1.1", "X: y", "100-continue", false),
        ("1.0", "Content-Length: 1", "100-continue", false),
    ];
    for (version, framing, value, expected) in cases {
        let input =
            format!("POST / HTTP/{version}\r\nHost: a\r\n{framing}\r\nExpect: {value}\r\n\r\n");
        assert_eq!(record(input.as_bytes()).head().expects_continue, expected, "{input}");
    }
}

#[test]
fn upgrade_needs_its_connection_option_and_http_1_1() {
    let cases = [
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket", Some("websocket")),
        ("1.1", "Upgrade: h2c\r\nConnection: HTTP2-Settings, upgrade", Some("h2c")),
        ("1.1", "Upgrade: websocket", None),
        ("1.1", "Connection: upgrade", None),
        ("1.0", "Connection: Upgrade\r\nUpgrade: websocket", None),
    ];
    for (version, lines, upgrade) in cases {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n");
        let upgrade = upgrade.map(|upgrade| upgrade.as_bytes().to_vec());
        assert_eq!(accepted(input.as_bytes()).head().upgrade, upgrade, "{input}");
    }
}

#[test]
fn refuses_websocket_upgrades_with_a_body() {
    let upgrades: &[&[u8]] = &[
        b"Upgrade: websocket",
        b"Upgrade: WebSocket",
        b"Upgrade: h2c, websocket",
        b"Upgrade: websocket\r\nUpgrade: h2c",
        b"Upgrade: h2c\r\nUpgrade: websocket",
    ];
    for upgrade in upgrades {
        for framing in [&b"Content-Length: 5"[..], b"Transfer-Encoding: chunked"] {
            assert_refused(&post(&[b"Connection: upgrade", upgrade, framing]), 400);
        }
        accepted(&post(&[b"Connection: upgrade", upgrade, b"Content-Length: 0"]));
        accepted(&[&post(&[upgrade, b"Content-Length: 1"]), &b"x"[..]].concat());
    }
    accepted(
        &[&post(&[b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 1"]), &b"x"[..]]
            .concat(),
    );
}

// --- Pieces -------------------------------------------------------------------------------------

#[test]
fn requests_in_a_row_are_understood_in_any_pieces() {
    let input = [
        &b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"[..],
        b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n",
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n",
        b"DELETE /4 HTTP/1.0\r\n\r\n",
        SMUGGLED,
    ]
    .concat();
    let whole = record(&input);
    let paths: Vec<_> = whole.heads().iter().map(|head| head.path.clone()).collect();
    assert_eq!(paths, [b"/1", b"/2", b"/3", b"/4"]);
    assert_eq!(whole.body(), b"abcdef");
    assert_eq!(whole.output, [ANSWER, ANSWER, ANSWER, LAST_ANSWER].concat());
    assert_eq!(whole.events.last(), Some(&Event::Closed { linger: false }));
    for size in 2..input.len() {
        assert_eq!(run(&Limits::default(), input.chunks(size)), whole, "in pieces of {size}");
    }
}
