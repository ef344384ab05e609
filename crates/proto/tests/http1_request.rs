//! Heads of requests: what is understood, and what is refused because it could be read in two ways.
//!
//! Every input comes whole, byte by byte and cut at every point, which must make no difference.

mod support;

use pronghorn_proto::head::{Framing, Version};
use pronghorn_proto::limits::Limits;
use support::{
    ANSWER, Event, LAST_ANSWER, SMUGGLED, accepted, accepted_within, assert_refused,
    assert_refused_within, get, post, record, record_within, run,
};

const TOKEN: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn request_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: a\r\n\r\n"].concat()
}

// --- Request line ------------------------------------------------------------------------------

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
    assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
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

// --- Target ------------------------------------------------------------------------------------

#[test]
fn every_byte_of_a_target_is_visible_ascii() {
    for byte in 0..=255 {
        // Around the width in which targets are looked at.
        for (before, after) in [(0, 1), (1, 0), (4, 0), (5, 0), (6, 0), (0, 9), (9, 20), (20, 9)] {
            for start in ["/", "/?"] {
                let target = format!("{start}{}", "a".repeat(before)).into_bytes();
                let target = [&*target, &[byte], &b"b".repeat(after)].concat();
                let input = request_line(&[b"GET ", &*target, b" HTTP/1.1"].concat());
                if (0x21..=0x7e).contains(&byte) {
                    accepted(&input);
                } else {
                    assert_refused(&input, 400);
                }
            }
        }
    }
}

#[test]
fn splits_targets_into_path_and_query() {
    let cases = [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/??", "/", "?"),
        ("//a//b", "//a//b", ""),
        ("/a;b=c", "/a;b=c", ""),
        ("/%2e%2e/", "/%2e%2e/", ""),
        // A fragment has no place in a request: it is in neither.
        ("/a#b", "/a", ""),
        ("/a?b#c", "/a", "b"),
        ("/a#b?c", "/a", ""),
        ("/#", "/", ""),
        ("http://a", "", ""),
        ("http://a/", "/", ""),
        ("HTTP://A/b?c", "/b", "c"),
        ("https://a?b/c", "", "b/c"),
        ("http://a#b", "", ""),
        ("http://a/http://b/", "/http://b/", ""),
    ];
    for (target, path, query) in cases {
        let record = record(&request_line(format!("GET {target} HTTP/1.1").as_bytes()));
        let head = record.head();
        assert_eq!((&*head.path, &*head.query), (path.as_bytes(), query.as_bytes()), "{target}");
    }
}

#[test]
fn refuses_targets_of_no_known_form() {
    for target in [
        "a",
        "a/b",
        "?a",
        "#a",
        "*",
        "*a",
        "\\",
        "a:80",
        "http:",
        "http:/",
        "http://",
        "http:///",
        "http:///a",
        "http://?a",
        "http://#a",
        "ftp://a/",
        "://a/",
        "http//a/",
        "httpx://a/",
    ] {
        assert_refused(&request_line(format!("GET {target} HTTP/1.1").as_bytes()), 400);
    }
}

#[test]
fn asterisk_is_for_options() {
    let record = accepted(&request_line(b"OPTIONS * HTTP/1.1"));
    assert_eq!(record.head().path, b"*");
    assert_refused(&request_line(b"POST * HTTP/1.1"), 400);
    assert_refused(&request_line(b"OPTIONS ** HTTP/1.1"), 400);
}

#[test]
fn connect_is_not_implemented() {
    for target in ["a:80", "/", "*", "http://a/", "[::1]:443"] {
        assert_refused(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), 501);
    }
}

// --- Host --------------------------------------------------------------------------------------

#[test]
fn host_is_required_by_http_1_1_alone() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", 400);
    assert_refused(b"GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", 400);
    accepted(b"GET / HTTP/1.0\r\n\r\n");
    accepted(b"GET http://a/ HTTP/1.0\r\n\r\n");
}

#[test]
fn refuses_two_hosts() {
    for fields in
        ["Host: a\r\nHost: a\r\n", "Host: a\r\nX: y\r\nHOST: b\r\n", "Host:\r\nHost: a\r\n"]
    {
        assert_refused(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), 400);
        assert_refused(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes(), 400);
    }
}

#[test]
fn accepts_names_and_addresses_as_host() {
    for host in [
        "",
        "a",
        "a.example",
        "a.example.",
        "a_b.example",
        "A-b:1",
        "127.0.0.1:80",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "a%2eb",
        "[::1]",
        "[::1]:8000",
        "[::ffff:1.2.3.4]",
        "[1:2:3:4:5:6:7:8]",
    ] {
        accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
}

#[test]
fn refuses_hosts_that_are_no_authority() {
    let hosts: &[&[u8]] = &[
        b"a/b",
        b"a/",
        b"/",
        b"a?b",
        b"a#b",
        b"user@a",
        b"user:password@a",
        b"@a",
        b"a b",
        b"a\tb",
        b"a, b",
        b"a\\b",
        b"\"a\"",
        b"<a>",
        b"{a}",
        b"a|b",
        b"a^b",
        b"a`b",
        b"a%zz",
        b"a%",
        b"a%2",
        b"a:b",
        b"a:80:80",
        b"a:-1",
        b"a:+80",
        b"a:8 0",
        b"a: 80",
        b"a:80/",
        b":80",
        b"::1",
        b"[::1",
        b"::1]",
        b"[::1]]",
        b"[::1]a",
        b"[::1]:a",
        b"[a",
        b"[]",
        b"[]:80",
        b"http://a",
        b"a\x80b",
        b"\xc3\xa9.example",
        b"a\0b",
        b"a\x7fb",
        // What Python's `urlsplit` and its `port` raise on.
        b"a:65536",
        b"a:99999",
        b"a:18446744073709551696",
        b"[.]",
        b"[:]",
        b"[1.2.3.4]",
        b"[::g]",
        b"[::1%25eth0]",
        b"[v1.a]",
        b"[:::1]",
        b"[1:2:3:4:5:6:7:8:9]",
    ];
    for host in hosts {
        assert_refused(&get(&[b"Host: ", *host, b"\r\n"].concat()), 400);
    }
}

#[test]
fn authority_of_an_absolute_form_is_the_host() {
    for (authority, host) in
        [("a", "a"), ("A.b", "a.B"), ("[::1]:80", "[::1]:80"), ("a:80", "a:80")]
    {
        let input = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        accepted(input.as_bytes());
    }
    for authority in [
        "b",
        "a.b",
        "b.a",
        "a:81",
        "a:80:80",
        "a@b",
        "user@a",
        "user:password@a",
        "a\\@b",
        "[::1]",
        "[a]",
        "a%2eb",
        "a,b",
        "a:",
        ":a",
        "a:80@a",
    ] {
        let input = format!("GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_refused(input.as_bytes(), 400);
    }
    assert_refused(b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", 400);
    assert_refused(b"GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", 400);
}

// --- Lines and fields --------------------------------------------------------------------------

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
    for name in ["my_own", "x_forward", "y_forwarded_for", "x-real-ip", "X-Forwarded-Host"] {
        let record = accepted(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n").as_bytes());
        assert_eq!((record.head().fields.len(), record.head().forwarded), (2, false), "{name}");
    }
    for name in ["X-Forwarded-For", "x-forwarded-proto"] {
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

// --- What a head asks for ----------------------------------------------------------------------

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

// --- Limits ------------------------------------------------------------------------------------

fn narrow() -> Limits {
    Limits { request_line_bytes_max: 40, header_bytes_max: 60, headers_max: 4, ..Limits::default() }
}

#[test]
fn request_line_has_a_longest_length() {
    let line = |bytes: usize| [b"GET /", &*b"a".repeat(bytes - 14), b" HTTP/1.1"].concat();
    for (limits, max) in [(narrow(), 40), (Limits::default(), 64 * 1024)] {
        assert_eq!(line(max).len(), max);
        accepted_within(&limits, &request_line(&line(max)));
        assert_refused_within(&limits, &request_line(&line(max + 1)), 414);
        assert_refused_within(&limits, &request_line(&line(max + 2)), 414);
        assert_refused_within(&limits, &request_line(&line(max * 2)), 414);
        // Without an end, and without even a space.
        assert_refused_within(&limits, &b"G".repeat(max + 2), 414);
        // With a fault that comes too late to be seen.
        assert_refused_within(&limits, &[&line(max + 3)[..], b"\x01"].concat(), 414);
    }
}

#[test]
fn empty_lines_count_towards_the_request_line() {
    let request = request_line(b"GET / HTTP/1.1");
    accepted_within(&narrow(), &[&b"\r\n".repeat(13)[..], &request].concat());
    assert_refused_within(&narrow(), &[&b"\r\n".repeat(14)[..], &request].concat(), 414);
    assert_refused_within(&narrow(), &b"\r\n".repeat(1000), 414);
    assert_refused(&b"\r\n".repeat(33_000), 414);
    // They do not make a head that is long, but not too long, longer.
    let long = [b"\r\nGET /", &*b"a".repeat(60_000), b" HTTP/1.1\r\nHost: a\r\nX: "].concat();
    accepted(&[&long[..], &b"b".repeat(65_000), b"\r\n\r\n"].concat());
}

#[test]
fn header_block_has_a_longest_length() {
    for (limits, max) in [(narrow(), 60), (Limits::default(), 64 * 1024)] {
        // `Host: a`, `X: ...` and the empty line, each with its CRLF.
        let head = |bytes: usize| {
            let value = b"b".repeat(bytes - b"Host: a\r\nX: \r\n\r\n".len());
            get(&[b"Host: a\r\nX: ", &*value, b"\r\n"].concat())
        };
        assert_eq!(head(max).len(), max + b"GET / HTTP/1.1\r\n".len());
        accepted_within(&limits, &head(max));
        assert_refused_within(&limits, &head(max + 1), 431);
        assert_refused_within(&limits, &head(max + 2), 431);
        assert_refused_within(&limits, &head(max * 2), 431);
        let open = &head(max * 2)[..max + 20];
        assert_refused_within(&limits, open, 431);
        let name = [b"GET / HTTP/1.1\r\n", &*b"b".repeat(max)].concat();
        assert_refused_within(&limits, &name, 431);
    }
}

#[test]
fn fields_have_a_largest_number() {
    let head = |fields: usize| get(&[b"Host: a\r\n", &*b"A:\r\n".repeat(fields - 1)].concat());
    for (limits, max) in [(narrow(), 4), (Limits::default(), 100)] {
        assert_eq!(accepted_within(&limits, &head(max)).head().fields.len(), max);
        assert_refused_within(&limits, &head(max + 1), 431);
        assert_refused_within(&limits, &head(max + 2), 431);
    }
    // Those that are dropped count as well.
    let aliases = get(&[b"Host: a\r\n", &*b"x_real_ip:\r\n".repeat(4)].concat());
    assert_refused_within(&narrow(), &aliases, 431);
}

#[test]
fn longest_head_is_the_longest_of_its_parts() {
    let line = [b"GET /", &*b"a".repeat(26), b" HTTP/1.1\r\n"].concat();
    let fields = [b"Host: a\r\nX: ", &*b"b".repeat(44), b"\r\n\r\n"].concat();
    let head = [line, fields].concat();
    assert_eq!(head.len(), narrow().head_bytes_max());
    accepted_within(&narrow(), &head);
}

#[test]
fn limits_without_an_end_are_none() {
    let limits = Limits {
        request_line_bytes_max: usize::MAX,
        header_bytes_max: usize::MAX,
        headers_max: usize::MAX,
        chunk_line_bytes_max: usize::MAX,
        chunk_extension_bytes_max: usize::MAX,
        trailer_bytes_max: usize::MAX,
        drain_bytes_max: u64::MAX,
        ..Limits::default()
    };
    let body = b"1;a\r\nx\r\n0\r\nX: y\r\n\r\n";
    let input = [&post(&[b"Transfer-Encoding: chunked"])[..], body].concat();
    assert_eq!(accepted_within(&limits, &input).body(), b"x");
}

#[test]
fn limits_of_zero_admit_nothing() {
    for limits in [
        Limits { request_line_bytes_max: 0, ..Limits::default() },
        Limits { header_bytes_max: 0, ..Limits::default() },
        Limits { headers_max: 0, ..Limits::default() },
    ] {
        assert!(record_within(&limits, &get(b"Host: a\r\n")).refusal().is_some());
    }
}

// --- Pieces ------------------------------------------------------------------------------------

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
