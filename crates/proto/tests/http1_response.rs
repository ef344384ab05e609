//! What goes out for an application's messages: heads, framing, and nothing a client could misread.

mod support;

use std::time::{Duration, UNIX_EPOCH};

use pronghorn_proto::error::ApplicationError::{
    self, BodyTooLong, BodyTooShort, InvalidContentLength, InvalidHeaderName, InvalidHeaderValue,
    InvalidStatus,
};
use pronghorn_proto::event::{Outbound, Payload, Transmit};
use pronghorn_proto::http1::{DefaultHeaders, Next, reason_phrase, write_field_line};
use support::Driver;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const OLD_HEAD: &[u8] = b"HEAD / HTTP/1.0\r\n\r\n";
const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

type Request = &'static [u8];
type Headers = &'static [(&'static str, &'static str)];

/// What a client gets for a response, without the lines that are always the same.
fn answer(
    request: &[u8],
    status: u16,
    headers: &[(&str, &str)],
    pieces: &[&str],
) -> Result<String, ApplicationError> {
    let mut driver = Driver::after(request);
    driver.start(status, headers)?;
    let (last, others) = pieces.split_last().expect("a piece");
    for piece in others {
        driver.piece(piece.as_bytes())?;
    }
    driver.end(last.as_bytes())?;
    let output = String::from_utf8(driver.take_output()).expect("text");
    let start = format!("HTTP/1.1 {status} {}\r\nserver: test\r\n", reason_phrase(status));
    Ok(output.strip_prefix(&start).expect("the usual start").to_owned())
}

#[test]
fn frames_the_body_in_one_way() {
    let cases: &[(Request, u16, Headers, &[&str], &str)] = &[
        // A single piece has a length.
        (GET, 200, &[], &["hello"], "content-length: 5\r\n\r\nhello"),
        (GET, 200, &[], &[""], "content-length: 0\r\n\r\n"),
        (OLD, 200, &[], &["hello"], "connection: close\r\ncontent-length: 5\r\n\r\nhello"),
        (CLOSE, 200, &[], &["hello"], "connection: close\r\ncontent-length: 5\r\n\r\nhello"),
        // Several pieces are chunks, or end with the connection.
        (
            GET,
            200,
            &[],
            &["ab", "", "c", ""],
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        ),
        (GET, 200, &[], &["", ""], "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        (OLD, 200, &[], &["ab", "", "c"], "connection: close\r\n\r\nabc"),
        // A declared length is kept.
        (GET, 200, &[("Content-Length", "3")], &["a", "bc", ""], "content-length: 3\r\n\r\nabc"),
        (GET, 200, &[("content-length", "03")], &["abc"], "content-length: 03\r\n\r\nabc"),
        (
            GET,
            200,
            &[("content-length", "3"), ("Content-Length", " 3\t")],
            &["abc"],
            "content-length: 3\r\n\r\nabc",
        ),
        // Chunking is ours to declare.
        (GET, 200, &[("Transfer-Encoding", "Chunked")], &["abc"], "content-length: 3\r\n\r\nabc"),
        (
            GET,
            200,
            &[("transfer-encoding", "chunked"), ("transfer-encoding", " chunked ")],
            &["a", ""],
            "transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            &["a"],
            "content-length: 1\r\n\r\na",
        ),
        // HEAD has the head of GET, as far as that is known, and no body.
        (HEAD, 200, &[], &["hello"], "\r\n"),
        (HEAD, 200, &[], &["a", "b"], "\r\n"),
        (HEAD, 200, &[("content-length", "5")], &["hello"], "content-length: 5\r\n\r\n"),
        (HEAD, 200, &[("content-length", "5")], &[""], "content-length: 5\r\n\r\n"),
        (HEAD, 200, &[("content-length", "5")], &["longer than that"], "content-length: 5\r\n\r\n"),
        (OLD_HEAD, 200, &[], &["a", "b"], "connection: close\r\n\r\n"),
        // 204 and 304 have none either (RFC 9110, 8.6: and a 204 no length).
        (GET, 204, &[], &[""], "\r\n"),
        (GET, 204, &[("content-length", "0")], &[""], "\r\n"),
        (
            GET,
            304,
            &[("content-length", "5"), ("etag", "e")],
            &["", ""],
            "content-length: 5\r\netag: e\r\n\r\n",
        ),
        (OLD, 204, &[], &[""], "connection: close\r\n\r\n"),
        // The connection is ours to keep and the application's to end.
        (GET, 200, &[("connection", "Keep-Alive")], &["a"], "content-length: 1\r\n\r\na"),
        (
            GET,
            200,
            &[("Connection", "foo, Close")],
            &["a"],
            "connection: foo, Close\r\ncontent-length: 1\r\n\r\na",
        ),
        (
            OLD,
            200,
            &[("connection", "close")],
            &["a"],
            "connection: close\r\ncontent-length: 1\r\n\r\na",
        ),
    ];
    for (request, status, headers, pieces, expected) in cases {
        let found = answer(request, *status, headers, pieces);
        assert_eq!(found.as_deref(), Ok(*expected), "{} {headers:?}", request.escape_ascii());
    }
}

#[test]
fn refuses_lengths_and_codings_that_could_be_misread() {
    let headers: &[(Headers, ApplicationError)] = &[
        (&[("content-length", "5"), ("content-length", "6")], InvalidContentLength),
        (&[("content-length", "")], InvalidContentLength),
        (&[("content-length", "+5")], InvalidContentLength),
        (&[("content-length", "-5")], InvalidContentLength),
        (&[("content-length", "5_0")], InvalidContentLength),
        (&[("content-length", "0x5")], InvalidContentLength),
        (&[("content-length", "5, 5")], InvalidContentLength),
        (&[("content-length", "\u{b2}")], InvalidContentLength),
        (&[("content-length", "9223372036854775808")], InvalidContentLength),
        (&[("transfer-encoding", "gzip, chunked")], InvalidHeaderValue),
        (&[("transfer-encoding", "identity")], InvalidHeaderValue),
        (&[("transfer-encoding", "")], InvalidHeaderValue),
    ];
    for (headers, error) in headers {
        assert_eq!(answer(GET, 200, headers, &["hello"]), Err(*error), "{headers:?}");
    }
}

#[test]
fn body_is_as_long_as_declared() {
    let length = &[("content-length", "5")];
    let cases: &[(&[&str], ApplicationError)] = &[
        (&["abcdef"], BodyTooLong),
        (&["abc", "def"], BodyTooLong),
        (&["abcde", "f"], BodyTooLong),
        (&["abcde", "", "f", ""], BodyTooLong),
        (&[""], BodyTooShort),
        (&["abcd"], BodyTooShort),
        (&["ab", "cd"], BodyTooShort),
        (&["abcd", ""], BodyTooShort),
    ];
    for (pieces, error) in cases {
        assert_eq!(answer(GET, 200, length, pieces), Err(*error), "{pieces:?}");
    }
    for status in [204, 304] {
        assert_eq!(answer(GET, status, &[], &["a"]), Err(BodyTooLong));
        assert_eq!(answer(GET, status, &[], &["", "a"]), Err(BodyTooLong));
        assert_eq!(answer(GET, status, length, &["abcde"]), Err(BodyTooLong));
    }
}

#[test]
fn nothing_of_a_refused_piece_is_written_or_counted() {
    let mut driver = Driver::after(GET);
    driver.start(200, &[("content-length", "10")]).unwrap();
    driver.piece(b"abc").unwrap();
    driver.take_output();
    assert_eq!(driver.end(b"defg"), Err(BodyTooShort));
    assert_eq!(driver.piece(b"defghijk"), Err(BodyTooLong));
    assert_eq!(driver.end(b"defghijk"), Err(BodyTooLong));
    assert_eq!(driver.take_output(), b"");
    driver.end(b"defghij").unwrap();
    assert_eq!(driver.take_output(), b"defghij");
    assert_eq!(driver.next(), Next::Request);
}

#[test]
fn status_is_a_final_one() {
    for status in [0, 1, 99, 100, 101, 199, 1000, u16::MAX] {
        let mut driver = Driver::after(GET);
        assert_eq!(driver.start(status, &[]), Err(InvalidStatus), "{status}");
        assert_eq!(driver.take_output(), b"");
    }
    for status in 200..=999 {
        let mut driver = Driver::after(GET);
        driver.start(status, &[]).unwrap();
        driver.end(b"").unwrap();
        let line = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        assert!(driver.take_output().starts_with(line.as_bytes()), "{status}");
    }
    assert_eq!((reason_phrase(200), reason_phrase(299)), ("OK", ""));
}

#[test]
fn every_byte_of_a_header_name_is_of_a_token() {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for byte in 0..=255 {
        for name in [vec![byte], vec![b'X', byte], vec![byte, b'X'], vec![b'X', byte, b'Y']] {
            let mut out = b"before".to_vec();
            let result = write_field_line(&name, b"value", &mut out);
            if name.iter().all(|&byte| token(byte)) {
                let line = [b"before", &*name.to_ascii_lowercase(), b": value\r\n"].concat();
                assert_eq!((result, out), (Ok(()), line));
            } else {
                assert_eq!((result, &*out), (Err(InvalidHeaderName), &b"before"[..]), "{byte}");
            }
        }
    }
    assert_eq!(write_field_line(b"", b"value", &mut Vec::new()), Err(InvalidHeaderName));
}

#[test]
fn every_byte_of_a_header_value_is_no_control_byte() {
    for byte in 0..=255_u8 {
        // Around the widths in which values are looked at.
        for (before, after) in
            [(0, 0), (1, 0), (0, 1), (6, 1), (7, 0), (8, 0), (0, 9), (7, 8), (30, 3)]
        {
            let value = [&*b"a".repeat(before), &[byte], &*b"b".repeat(after)].concat();
            let mut out = b"before".to_vec();
            let result = write_field_line(b"x", &value, &mut out);
            if byte == b'\t' || (byte >= 0x20 && byte != 0x7f) {
                assert_eq!((result, out), (Ok(()), [b"beforex: ", &*value, b"\r\n"].concat()));
            } else {
                assert_eq!((result, &*out), (Err(InvalidHeaderValue), &b"before"[..]), "{byte}");
            }
        }
    }
}

#[test]
fn refused_head_leaves_nothing_behind() {
    for headers in [
        [("x", "fine"), ("x", "a\r\nx-evil: b")],
        [("content-length", "1"), ("", "empty")],
        [("connection", "close"), ("transfer-encoding", "gzip")],
    ] {
        let mut driver = Driver::after(GET);
        driver.record.output = b"earlier".to_vec();
        assert!(driver.start(200, &headers).is_err());
        assert_eq!(driver.record.output, b"earlier");
        assert!(driver.connection.is_unanswered());
        // And another one may be tried.
        driver.start(500, &[]).unwrap();
        driver.end(b"").unwrap();
        let expected = b"earlierHTTP/1.1 500 Internal Server Error\r\nserver: test\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(driver.record.output, expected);
        assert_eq!(driver.next(), Next::Request);
    }
}

#[test]
fn keeps_header_lines_in_order_and_lowers_their_names() {
    let headers =
        [("X-B", "1"), ("Set-Cookie", "a=b"), ("x-a", " 2\t"), ("set-cookie", "c=\u{e9}")];
    let expected = "x-b: 1\r\nset-cookie: a=b\r\nx-a:  2\t\r\nset-cookie: c=\u{e9}\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(answer(GET, 200, &headers, &[""]).as_deref(), Ok(expected));
}

/// Where the pieces of a body go past the buffer.
#[derive(Default)]
struct Bypass {
    buffer: Vec<u8>,
    payloads: Vec<Vec<u8>>,
}

impl Transmit for Bypass {
    fn detached(&mut self, length: u64) {
        panic!("{length} bytes from elsewhere");
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn payload(&mut self, data: Payload<'_>) {
        self.buffer.push(b'_');
        self.payloads.push(data.bytes.to_vec());
    }
}

#[test]
fn body_bytes_may_bypass_the_buffer() {
    let mut driver = Driver::after(GET);
    let mut out = Bypass::default();
    for outbound in [
        Outbound::Start { status: 200, headers: &[] },
        Outbound::Body { data: b"hello".into(), more: true },
        Outbound::Body { data: b" world".into(), more: false },
    ] {
        driver.connection.submit(&driver.limits, b"", &outbound, &mut out).unwrap();
    }
    let framing =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n_\r\n6\r\n_\r\n0\r\n\r\n";
    assert_eq!(out.buffer, framing);
    assert_eq!(out.payloads, [&b"hello"[..], b" world"]);
}

#[test]
fn chunk_sizes_are_hexadecimal() {
    for size in [1, 9, 10, 15, 16, 255, 256, 4095, 65_535, 65_536, 1_000_000] {
        let mut driver = Driver::after(GET);
        driver.start(200, &[]).unwrap();
        driver.flush();
        driver.take_output();
        driver.piece(&vec![b'x'; size]).unwrap();
        let expected = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
        assert!(driver.take_output() == expected, "{size}");
    }
}

// --- The lines that every response carries -----------------------------------------------------

#[test]
fn date_comes_first_and_follows_the_clock() {
    let mut defaults = DefaultHeaders::new(b"server: test\r\n".to_vec(), true);
    let cases = [
        (0.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (0.9, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777.0, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (784_111_777.999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (784_111_778.0, "Sun, 06 Nov 1994 08:49:38 GMT"),
        // Back again.
        (784_111_777.0, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (253_402_300_799.0, "Fri, 31 Dec 9999 23:59:59 GMT"),
        // Beyond what the format can say.
        (253_402_300_800.0, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (-1.0, "Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    for (seconds, date) in cases {
        let span = Duration::from_secs_f64(f64::abs(seconds));
        defaults.refresh(if seconds < 0.0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span });
        let expected = format!("date: {date}\r\nserver: test\r\n");
        assert_eq!(defaults.lines(), expected.as_bytes(), "{seconds}");
    }
}

#[test]
fn date_may_be_left_out() {
    let mut defaults = DefaultHeaders::new(b"server: test\r\n".to_vec(), false);
    defaults.refresh(UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(defaults.lines(), b"server: test\r\n");
}
