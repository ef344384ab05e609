//! The connection's states: what is allowed in each, and where each transition leads.

mod support;

use pronghorn_proto::error::ApplicationError::{AfterComplete, ExpectedBody, ExpectedStart};
use pronghorn_proto::event::{Input, Outbound};
use pronghorn_proto::http1::Next;
use pronghorn_proto::limits::Limits;
use support::{Driver, Event, SMUGGLED, post};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const OLD_POST: &[u8] = b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n";
const CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nserver: test\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\nconnection: close\r\n\r\n\
    Invalid HTTP request received.";

fn with_length(bytes: u64) -> Vec<u8> {
    post(&[format!("Content-Length: {bytes}").as_bytes()])
}

fn expecting(bytes: u64) -> Vec<u8> {
    post(&[format!("Content-Length: {bytes}").as_bytes(), b"Expect: 100-continue"])
}

fn chunked() -> Vec<u8> {
    post(&[b"Transfer-Encoding: chunked"])
}

/// A connection whose request has been answered.
fn answered(request: &[u8]) -> Driver {
    let mut driver = Driver::after(request);
    driver.start(200, &[]).unwrap();
    driver.end(b"ok").unwrap();
    driver
}

fn says_close(output: &[u8]) -> bool {
    output.windows(17).any(|window| window == b"connection: close")
}

// --- Order of messages -------------------------------------------------------------------------

#[test]
fn messages_have_an_order() {
    let mut driver = Driver::unanswered(&Limits::default());
    // There is no request yet.
    assert_eq!(driver.start(200, &[]), Err(AfterComplete));
    assert_eq!(driver.end(b""), Err(AfterComplete));
    driver.send(&GET[..20]);
    assert_eq!(driver.start(200, &[]), Err(AfterComplete));
    driver.send(&GET[20..]);

    assert!(driver.connection.is_unanswered());
    assert_eq!(driver.piece(b"a"), Err(ExpectedStart));
    assert_eq!(driver.end(b"a"), Err(ExpectedStart));
    assert_eq!(driver.take_output(), b"");
    driver.start(200, &[]).unwrap();
    assert!(!driver.connection.is_unanswered());
    assert_eq!(driver.start(200, &[]), Err(ExpectedBody));
    driver.piece(b"a").unwrap();
    let output = driver.take_output();
    assert!(output.ends_with(b"1\r\na\r\n"));
    assert_eq!(driver.start(200, &[]), Err(ExpectedBody));
    driver.end(b"").unwrap();
    assert_eq!(driver.take_output(), b"0\r\n\r\n");
    for _ in 0..2 {
        assert_eq!(driver.start(200, &[]), Err(AfterComplete));
        assert_eq!(driver.piece(b"a"), Err(AfterComplete));
        assert_eq!(driver.end(b"a"), Err(AfterComplete));
        // Neither now nor between two requests.
        driver.next();
    }
    assert_eq!(driver.take_output(), b"");
}

#[test]
fn head_waits_for_the_first_body_or_a_flush() {
    let mut driver = Driver::after(GET);
    driver.flush();
    assert_eq!(driver.take_output(), b"");
    driver.start(200, &[]).unwrap();
    assert!(!driver.record.output.ends_with(b"\r\n\r\n"));
    driver.flush();
    let flushed = driver.take_output();
    assert!(flushed.ends_with(b"transfer-encoding: chunked\r\n\r\n"));
    driver.flush();
    assert_eq!(driver.take_output(), b"");
    driver.end(b"a").unwrap();
    driver.flush();
    assert_eq!(driver.take_output(), b"1\r\na\r\n0\r\n\r\n");
}

#[test]
fn next_request_waits_for_the_response() {
    let mut driver = Driver::after(&[GET, GET].concat());
    assert_eq!(driver.record.heads().len(), 1);
    assert_eq!(driver.next(), Next::Response);
    assert_eq!(driver.pending, GET);
    driver.start(200, &[]).unwrap();
    assert_eq!(driver.next(), Next::Response);
    driver.piece(b"a").unwrap();
    assert_eq!(driver.next(), Next::Response);
    driver.send(b"");
    assert_eq!(driver.record.heads().len(), 1);
    driver.end(b"").unwrap();
    assert_eq!(driver.next(), Next::Request);
    driver.send(b"");
    assert_eq!(driver.record.heads().len(), 2);
    assert!(driver.connection.is_unanswered());
}

#[test]
fn request_is_forgotten_with_its_response() {
    let mut driver = Driver::new(&Limits::default());
    driver
        .send(b"HEAD / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx");
    driver.take_output();
    driver.send(GET);
    assert!(driver.take_output().ends_with(b"\r\n\r\nok"));
    driver.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    driver.take_output();
    driver.send(b"\0");
    assert_eq!(driver.take_output(), REFUSAL);
}

#[test]
fn connection_knows_where_it_is() {
    let mut driver = Driver::unanswered(&Limits::default());
    let is_between = |driver: &Driver| driver.connection.is_between_requests();
    let expects_body = |driver: &Driver| driver.connection.expects_body();
    assert!(is_between(&driver) && !expects_body(&driver));
    driver.send(&with_length(2)[..10]);
    assert!(is_between(&driver));
    driver.send(&with_length(2)[10..]);
    assert!(!is_between(&driver) && expects_body(&driver));
    driver.send(b"x");
    assert!(expects_body(&driver));
    driver.send(b"x");
    assert!(!is_between(&driver) && !expects_body(&driver));
    driver.start(200, &[]).unwrap();
    driver.end(b"").unwrap();
    assert!(!is_between(&driver));
    driver.next();
    assert!(is_between(&driver));
    driver.send(b"\0");
    assert!(!is_between(&driver) && !expects_body(&driver));
}

// --- How it goes on ----------------------------------------------------------------------------

#[test]
fn connection_goes_on_or_ends_after_a_response() {
    let drain = Limits::default().drain_bytes_max;
    // The request, what of its body has come, and how it goes on. Without a reason to linger, the
    // peer has said that it sends no more.
    let cases: &[(&[u8], &[u8], Next)] = &[
        (GET, b"", Next::Request),
        (OLD, b"", Next::Close { linger: false }),
        (CLOSE, b"", Next::Close { linger: false }),
        (&with_length(5), b"hello", Next::Request),
        (&with_length(5), b"", Next::Drain),
        (&with_length(5), b"hell", Next::Drain),
        (&with_length(drain), b"", Next::Drain),
        (&with_length(drain + 1), b"", Next::Close { linger: true }),
        (&with_length(drain + 1), b"x", Next::Drain),
        (&with_length(1 << 60), b"hello", Next::Close { linger: true }),
        (&chunked(), b"0\r\n\r\n", Next::Request),
        (&chunked(), b"", Next::Close { linger: true }),
        (&chunked(), b"0\r\n", Next::Close { linger: true }),
        (OLD_POST, b"hello", Next::Close { linger: false }),
        (OLD_POST, b"hell", Next::Close { linger: true }),
        // Whether the client sends its body now is anybody's guess.
        (&expecting(5), b"", Next::Close { linger: true }),
        (&expecting(5), b"h", Next::Drain),
        (&expecting(5), b"hello", Next::Request),
    ];
    for (head, body, expected) in cases {
        let shown = [*head, body].concat().escape_ascii().to_string();
        let mut driver = answered(&[*head, body].concat());
        assert_eq!(
            says_close(&driver.take_output()),
            matches!(expected, Next::Close { .. }),
            "{shown}"
        );
        assert_eq!(driver.next(), *expected, "{shown}");
        if let Next::Close { .. } = expected {
            driver.send(SMUGGLED);
            assert_eq!((driver.record.heads().len(), &*driver.pending), (1, &b""[..]), "{shown}");
        }
    }
}

#[test]
fn response_that_ends_the_connection_lingers_for_what_the_peer_may_be_sending() {
    for headers in [&[("connection", "close")][..], &[("Connection", "foo, CLOSE")]] {
        let mut driver = Driver::after(GET);
        driver.start(200, headers).unwrap();
        driver.end(b"").unwrap();
        assert_eq!(driver.next(), Next::Close { linger: true });
    }
    let mut driver = Driver::after(GET);
    driver.connection.end_after_response();
    driver.start(200, &[]).unwrap();
    driver.end(b"").unwrap();
    assert!(says_close(&driver.take_output()));
    assert_eq!(driver.next(), Next::Close { linger: true });
    // Unless the peer has ended it as well.
    let mut driver = Driver::unanswered(&Limits::default());
    driver.connection.end_after_response();
    driver.send(CLOSE);
    driver.start(200, &[("connection", "close")]).unwrap();
    driver.end(b"").unwrap();
    assert_eq!(driver.next(), Next::Close { linger: false });
}

#[test]
fn connection_may_be_ended_at_any_moment() {
    // After the head is closed, the response can no longer tell.
    let mut driver = Driver::after(GET);
    driver.start(200, &[]).unwrap();
    driver.flush();
    driver.connection.end_after_response();
    driver.end(b"").unwrap();
    assert!(!says_close(&driver.take_output()));
    assert_eq!(driver.next(), Next::Close { linger: true });
    // Between two requests: the next one is the last.
    let mut driver = answered(GET);
    driver.take_output();
    assert_eq!(driver.next(), Next::Request);
    driver.connection.end_after_response();
    driver.send(GET);
    driver.start(200, &[]).unwrap();
    driver.end(b"").unwrap();
    assert!(says_close(&driver.take_output()));
    assert_eq!(driver.next(), Next::Close { linger: true });
}

#[test]
fn rest_of_a_short_body_is_dropped_before_the_next_request() {
    let body = SMUGGLED;
    let head = with_length(body.len() as u64);
    for cut in 0..body.len() {
        let mut driver = answered(&[&head, &body[..cut]].concat());
        assert_eq!(driver.next(), Next::Drain);
        driver.send(&body[cut..]);
        assert_eq!((driver.record.body(), driver.record.ends()), (body.to_vec(), 1));
        assert_eq!(driver.next(), Next::Request);
        driver.send(GET);
        let paths: Vec<_> = driver.record.heads().iter().map(|head| head.path.clone()).collect();
        assert_eq!(paths, [b"/", b"/"]);
    }
}

#[test]
fn application_that_reads_keeps_the_connection() {
    let reads: [fn(&mut Driver); 2] =
        [|driver| assert!(!driver.wants_body()), |driver| driver.connection.body_taken()];
    for read in reads {
        for head in [with_length(1 << 20), chunked()] {
            let mut driver = Driver::after(&head);
            driver.send(b"4\r\nabc");
            read(&mut driver);
            driver.start(200, &[]).unwrap();
            driver.piece(b"").unwrap();
            assert!(!says_close(&driver.record.output));
            // It went on to answer without having read everything.
            driver.end(b"").unwrap();
            assert_eq!(driver.next(), Next::Close { linger: true });
        }
    }
}

#[test]
fn last_message_says_whether_what_was_not_read_ends_the_connection() {
    let drain = Limits::default().drain_bytes_max;
    let cases: &[(&[u8], &[u8], Next)] = &[
        (&with_length(5), b"h", Next::Drain),
        (&with_length(5), b"hello", Next::Request),
        (&with_length(drain + 1), b"x", Next::Drain),
        (&with_length(drain + 2), b"x", Next::Close { linger: true }),
        (&chunked(), b"1\r\nx\r\n", Next::Close { linger: true }),
        (&chunked(), b"1\r\nx\r\n0\r\n", Next::Close { linger: true }),
        (&chunked(), b"1\r\nx\r\n0\r\n\r\n", Next::Request),
    ];
    for (head, body, expected) in cases {
        let shown = [*head, body].concat().escape_ascii().to_string();
        let mut driver = Driver::after(&[*head, body].concat());
        driver.connection.body_taken();
        driver.start(200, &[]).unwrap();
        driver.end(b"ok").unwrap();
        let ends = matches!(expected, Next::Close { .. });
        assert_eq!(says_close(&driver.record.output), ends, "{shown}");
        assert_eq!(driver.next(), *expected, "{shown}");
    }
}

// --- Expectations ------------------------------------------------------------------------------

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn continue_is_sent_once_and_when_the_application_asks() {
    let mut driver = Driver::after(&expecting(5));
    assert_eq!(driver.take_output(), b"");
    assert!(driver.wants_body());
    assert_eq!(driver.take_output(), CONTINUE);
    assert!(!driver.wants_body());
    driver.send(b"hello");
    assert!(!driver.wants_body());
    driver.start(200, &[]).unwrap();
    driver.end(b"").unwrap();
    assert!(!says_close(&driver.record.output));
    assert_eq!(driver.next(), Next::Request);
}

#[test]
fn continue_is_not_sent_where_nobody_waits_for_it() {
    let old = b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".to_vec();
    let body_began = [&expecting(5)[..], b"h"].concat();
    let body_came = [&expecting(5)[..], b"hello"].concat();
    for request in [GET.to_vec(), with_length(5), old, expecting(0), body_began, body_came] {
        let mut driver = Driver::after(&request);
        assert!(!driver.wants_body(), "{}", request.escape_ascii());
        assert_eq!(driver.take_output(), b"");
    }
    let mut driver = Driver::unanswered(&Limits::default());
    assert!(!driver.wants_body());
}

#[test]
fn continue_never_follows_the_start_of_a_response() {
    let mut driver = Driver::after(&expecting(5));
    driver.start(200, &[]).unwrap();
    let head = driver.record.output.clone();
    assert!(!driver.wants_body());
    assert_eq!(driver.record.output, head);
    driver.flush();
    assert!(!driver.wants_body());
    driver.end(b"").unwrap();
    assert!(!driver.wants_body());
    assert!(says_close(&driver.record.output));
    assert!(!driver.record.output.windows(3).any(|window| window == b"100"));
    assert_eq!(driver.next(), Next::Close { linger: true });
}

#[test]
fn body_that_was_not_asked_for_is_not_taken_for_a_request() {
    let mut driver = answered(&expecting(SMUGGLED.len() as u64));
    driver.next();
    driver.send(SMUGGLED);
    assert_eq!(driver.record.heads().len(), 1);
    assert_eq!(driver.record.events.last(), Some(&Event::Closed { linger: true }));
}

// --- Refusals and aborts -----------------------------------------------------------------------

#[test]
fn refusal_is_a_whole_response() {
    let mut driver = Driver::unanswered(&Limits::default());
    assert!(!driver.reject(400));
    assert_eq!(driver.take_output(), REFUSAL);
    assert_eq!(driver.next(), Next::Close { linger: true });
    for (status, phrase) in [
        (408, "Request Timeout"),
        (414, "Request-URI Too Long"),
        (431, "Request Header Fields Too Large"),
        (501, "Not Implemented"),
        (505, "HTTP Version Not Supported"),
    ] {
        let mut driver = Driver::unanswered(&Limits::default());
        driver.reject(status);
        let output = String::from_utf8(driver.take_output()).unwrap();
        assert!(output.starts_with(&format!("HTTP/1.1 {status} {phrase}\r\n")));
        assert!(output.contains(&format!("content-length: {}\r\n", phrase.len())));
        assert!(output.ends_with(&format!("connection: close\r\n\r\n{phrase}")));
    }
}

#[test]
fn refusal_of_a_head_request_has_no_body() {
    let mut driver =
        Driver::after(b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    driver.send(b"x\r\n");
    let output = driver.take_output();
    assert!(output.starts_with(b"HTTP/1.1 400 ") && output.ends_with(b"\r\n\r\n"));
}

#[test]
fn refusal_takes_back_a_head_that_is_still_open() {
    let mut driver = Driver::after(&chunked());
    driver.record.output = b"earlier".to_vec();
    driver.start(200, &[("x", "y")]).unwrap();
    assert!(!driver.reject(400));
    assert_eq!(driver.take_output(), [b"earlier", REFUSAL].concat());
    assert_eq!(driver.next(), Next::Close { linger: true });
}

#[test]
fn refusal_writes_nothing_into_a_response() {
    for end in [false, true] {
        let mut driver = Driver::after(&chunked());
        driver.start(200, &[]).unwrap();
        driver.piece(b"part").unwrap();
        if end {
            driver.end(b"").unwrap();
        }
        let output = driver.take_output();
        assert_eq!(output.ends_with(b"0\r\n\r\n"), end);
        assert!(!driver.reject(400));
        assert_eq!(driver.take_output(), b"");
        assert_eq!(driver.end(b"more"), Err(AfterComplete));
        assert_eq!(driver.take_output(), b"");
        assert_eq!(driver.next(), Next::Close { linger: true });
    }
}

#[test]
fn refusal_is_written_once() {
    let mut driver = Driver::unanswered(&Limits::default());
    driver.reject(400);
    driver.take_output();
    driver.reject(408);
    assert!(!driver.abort());
    assert_eq!(driver.take_output(), b"");
    assert_eq!(driver.start(200, &[]), Err(AfterComplete));
}

#[test]
fn abort_leaves_no_response_that_looks_whole() {
    type Headers = &'static [(&'static str, &'static str)];
    let cases: &[(&[u8], Headers, &[u8], bool)] = &[
        (GET, &[], b"part", false),
        (GET, &[("content-length", "10")], b"part", false),
        // Its end is the connection's.
        (OLD, &[], b"part", true),
        (OLD, &[], b"", true),
        (OLD, &[("content-length", "10")], b"part", false),
    ];
    for (request, headers, piece, looks_complete) in cases {
        let aborts: [fn(&mut Driver) -> bool; 2] = [Driver::abort, |driver| driver.reject(408)];
        for abort in aborts {
            let mut driver = Driver::after(request);
            driver.start(200, headers).unwrap();
            driver.piece(piece).unwrap();
            let output = driver.record.output.clone();
            assert_eq!(abort(&mut driver), *looks_complete, "{}", request.escape_ascii());
            assert_eq!(driver.record.output, output);
            assert!(!abort(&mut driver), "it is over");
        }
    }
}

#[test]
fn abort_takes_back_a_head_that_is_still_open() {
    for request in [GET, OLD] {
        let mut driver = Driver::after(request);
        driver.record.output = b"earlier".to_vec();
        driver.start(200, &[]).unwrap();
        assert!(!driver.abort());
        assert_eq!(driver.record.output, b"earlier");
        assert_eq!(driver.next(), Next::Close { linger: true });
    }
}

#[test]
fn nothing_happens_on_a_connection_that_was_aborted() {
    let begun = [&chunked()[..], b"5\r\nhe"].concat();
    for input in [b"", &GET[..10], GET, &with_length(5), &begun] {
        let mut driver = Driver::after(input);
        let events = driver.record.events.clone();
        assert!(!driver.abort());
        driver.pending.clear();
        driver.send(b"llo\r\n0\r\n\r\n").send(SMUGGLED);
        assert_eq!(driver.record.events, events);
        assert!(driver.pending.is_empty());
        assert_eq!(driver.start(200, &[]), Err(AfterComplete));
        assert_eq!(driver.connection.poll_timeout(), None);
        assert_eq!(driver.next(), Next::Close { linger: true });
    }
}

#[test]
fn error_in_a_body_ends_the_reading() {
    let mut driver = Driver::after(&chunked());
    let mut input = Input::new(b"x\r\n");
    let result =
        driver.connection.receive(driver.now, &driver.limits, &mut input, &mut driver.head);
    assert!(result.is_err());
    // Even if the caller does not heed it.
    let mut input = Input::new(b"0\r\n\r\n");
    let result =
        driver.connection.receive(driver.now, &driver.limits, &mut input, &mut driver.head);
    assert_eq!((result, input.rest()), (Ok(None), &b""[..]));
    assert!(!driver.reject(400));
    assert_eq!(driver.take_output(), REFUSAL);
}

#[test]
fn response_to_a_refused_body_may_still_be_there_first() {
    let mut driver = Driver::after(&chunked());
    let outbound = [
        Outbound::Start { status: 200, headers: &[(b"content-length", b"2")] },
        Outbound::Body { data: b"ok".into(), more: false },
    ];
    for outbound in &outbound {
        driver.submit(outbound).unwrap();
    }
    let output = driver.take_output();
    assert!(output.ends_with(b"ok"));
    driver.send(b"x\r\n");
    assert_eq!(driver.take_output(), b"");
    assert_eq!(driver.record.events.last(), Some(&Event::Closed { linger: true }));
}
