//! What ASGI's extensions become in HTTP/1: detached bodies, trailers and early hints.

mod support;

use pronghorn_proto::error::ApplicationError::{
    self, AfterComplete, BodyTooLong, BodyTooShort, ExpectedStart, ExpectedTrailers,
    InvalidHeaderName, InvalidHeaderValue, InvalidTrailer,
};
use pronghorn_proto::event::Outbound;
use pronghorn_proto::http1::Next;
use support::{Driver, bytes_of};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const TRAILERS: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nTE: deflate, Trailers\r\n\r\n";
const OLD_TRAILERS: &[u8] = b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n";

type Headers = &'static [(&'static str, &'static str)];
type Outcome = Result<(), ApplicationError>;

fn detached(driver: &mut Driver, length: u64, more: bool) -> Outcome {
    driver.submit(&Outbound::Detached { length, more })
}

fn trailers(driver: &mut Driver, headers: Headers, more: bool) -> Outcome {
    driver.submit(&Outbound::Trailers { headers: &bytes_of(headers), more })
}

fn hint(driver: &mut Driver, links: &[&str]) -> Outcome {
    let links: Vec<_> = links.iter().map(|link| link.as_bytes()).collect();
    driver.submit(&Outbound::EarlyHint { links: &links })
}

/// What has been written, without the lines that are always the same.
fn output(driver: &mut Driver) -> String {
    let text = String::from_utf8(driver.take_output()).expect("text");
    text.replace("HTTP/1.1 200 OK\r\nserver: test\r\n", "200 ").replace('\0', "~")
}

#[test]
fn detached_bytes_are_framed_like_others() {
    let cases: &[(&[u8], Headers, &str)] = &[
        (GET, &[], "200 content-length: 3\r\n\r\n~~~"),
        (GET, &[("content-length", "3")], "200 content-length: 3\r\n\r\n~~~"),
        (HEAD, &[("content-length", "3")], "200 content-length: 3\r\n\r\n"),
        (OLD, &[], "200 connection: close\r\ncontent-length: 3\r\n\r\n~~~"),
    ];
    for (request, headers, expected) in cases {
        let mut driver = Driver::after(request);
        driver.start(200, headers).expect("a start");
        detached(&mut driver, 3, false).expect("a body");
        assert_eq!(output(&mut driver), *expected);
        assert_eq!(detached(&mut driver, 3, false), Err(AfterComplete));
    }
}

#[test]
fn detached_bytes_mix_with_others() {
    let mut driver = Driver::after(GET);
    driver.start(200, &[]).expect("a start");
    driver.piece(b"ab").expect("a piece");
    detached(&mut driver, 0, true).expect("an empty file");
    detached(&mut driver, 18, true).expect("a file");
    driver.end(b"c").expect("the end");
    let expected = "200 transfer-encoding: chunked\r\n\r\n\
        2\r\nab\r\n12\r\n~~~~~~~~~~~~~~~~~~\r\n1\r\nc\r\n0\r\n\r\n";
    assert_eq!(output(&mut driver), expected);
    assert_eq!(driver.next(), Next::Request);
}

#[test]
fn detached_bytes_keep_to_the_declared_length() {
    for (length, more, outcome) in
        [(4, false, BodyTooLong), (4, true, BodyTooLong), (2, false, BodyTooShort)]
    {
        let mut driver = Driver::after(GET);
        driver.start(200, &[("content-length", "3")]).expect("a start");
        assert_eq!(detached(&mut driver, length, more), Err(outcome));
        assert_eq!(output(&mut driver), "200 content-length: 3\r\n\r\n");
    }
    let mut driver = Driver::after(GET);
    assert_eq!(detached(&mut driver, 1, false), Err(ExpectedStart));
}

#[test]
fn trailers_follow_a_chunked_body_for_those_who_ask() {
    let chunked = "200 transfer-encoding: chunked\r\n\r\n1\r\na\r\n";
    let cases: &[(&[u8], Headers, String)] = &[
        (TRAILERS, &[], format!("{chunked}0\r\nx-a: 1\r\nx-b: 2\r\n\r\n")),
        (GET, &[], format!("{chunked}0\r\n\r\n")),
        (TRAILERS, &[("content-length", "1")], "200 content-length: 1\r\n\r\na".into()),
        (OLD_TRAILERS, &[], "200 connection: close\r\n\r\na".into()),
        (HEAD, &[], "200 \r\n".into()),
    ];
    for (request, headers, expected) in cases {
        let mut driver = Driver::after(request);
        driver.start(200, headers).expect("a start");
        driver.piece(b"a").expect("all of the body");
        trailers(&mut driver, &[("X-A", "1")], true).expect("trailers");
        assert_eq!(driver.piece(b"b"), Err(ExpectedTrailers));
        assert_eq!(driver.next(), Next::Response);
        trailers(&mut driver, &[("x-b", "2")], false).expect("trailers");
        assert_eq!(output(&mut driver), *expected, "{}", request.escape_ascii());
        assert_eq!(trailers(&mut driver, &[], false), Err(AfterComplete));
        assert!(matches!(driver.next(), Next::Request | Next::Close { .. }));
    }
}

#[test]
fn trailers_end_a_body_that_is_as_long_as_declared() {
    let mut driver = Driver::after(TRAILERS);
    driver.start(200, &[("content-length", "2")]).expect("a start");
    driver.piece(b"a").expect("a piece");
    assert_eq!(trailers(&mut driver, &[("x-a", "1")], false), Err(BodyTooShort));
}

#[test]
fn trailers_hold_nothing_that_comes_too_late() {
    let cases: &[(Headers, ApplicationError)] = &[
        (&[("Content-Length", "1")], InvalidTrailer),
        (&[("x-a", "1"), ("transfer-encoding", "chunked")], InvalidTrailer),
        (&[("host", "b")], InvalidTrailer),
        (&[("set-cookie", "a=b")], InvalidTrailer),
        (&[("x-a", "1\r\nx-b: 2")], InvalidHeaderValue),
        (&[("x a", "1")], InvalidHeaderName),
        (&[("", "1")], InvalidHeaderName),
    ];
    for (headers, error) in cases {
        let mut driver = Driver::after(TRAILERS);
        driver.start(200, &[]).expect("a start");
        driver.piece(b"a").expect("a piece");
        driver.take_output();
        assert_eq!(trailers(&mut driver, headers, false), Err(*error));
        assert_eq!(output(&mut driver), "0\r\n", "nothing that ends the response");
    }
}

#[test]
fn early_hint_comes_before_the_head() {
    let hinted = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\n\r\n";
    let mut driver = Driver::after(GET);
    hint(&mut driver, &["</a>; rel=preload", "</b>"]).expect("a hint");
    assert_eq!(output(&mut driver), hinted);
    // As the specification has it: after the start, of which nothing has been sent yet.
    driver.start(200, &[]).expect("a start");
    hint(&mut driver, &["</a>; rel=preload", "</b>"]).expect("a hint");
    hint(&mut driver, &[]).expect("another hint");
    driver.end(b"a").expect("a body");
    let response = "HTTP/1.1 103 Early Hints\r\n\r\n200 content-length: 1\r\n\r\na";
    assert_eq!(output(&mut driver), format!("{hinted}{response}"));
    assert_eq!(driver.next(), Next::Request);
}

#[test]
fn early_hint_that_comes_too_late_is_dropped() {
    let mut driver = Driver::after(GET);
    driver.start(200, &[]).expect("a start");
    driver.flush();
    driver.take_output();
    hint(&mut driver, &["</a>"]).expect("no error");
    assert_eq!(output(&mut driver), "");
}

#[test]
fn early_hint_is_nothing_for_http_10() {
    let mut driver = Driver::after(OLD);
    hint(&mut driver, &["</a>"]).expect("no error");
    assert_eq!(output(&mut driver), "");
}

#[test]
fn early_hint_cannot_smuggle_lines() {
    for started in [false, true] {
        let mut driver = Driver::after(GET);
        if started {
            driver.start(200, &[]).expect("a start");
        }
        let before = driver.record.output.clone();
        assert_eq!(hint(&mut driver, &["</a>", "</b>\r\nx: y"]), Err(InvalidHeaderValue));
        assert_eq!(driver.record.output, before);
    }
}

#[test]
fn refusal_after_a_hint_takes_back_the_head_alone() {
    let mut driver = Driver::after(GET);
    driver.start(200, &[]).expect("a start");
    hint(&mut driver, &["</a>"]).expect("a hint");
    driver.reject(408);
    let text = output(&mut driver);
    let rest = text.strip_prefix("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    assert!(rest.is_some_and(|rest| rest.starts_with("HTTP/1.1 408 ")), "{text}");
}
