//! The clocks of a connection: which one runs when, what sets it back, and what its end means.

mod support;

use std::time::{Duration, Instant};

use pronghorn_proto::deadline::{Deadline, Expired, SlowReader};
use pronghorn_proto::http1::Next;
use pronghorn_proto::limits::Limits;
use support::{Driver, post};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SLOW_HEAD: Expired = Expired::RequestTimeout("request header too slow");
const SLOW_BODY: Expired = Expired::RequestTimeout("request body too slow");

const HEAD_S: f64 = 10.0;
const BODY_S: f64 = 30.0;
const KEEP_ALIVE_S: f64 = 5.0;

fn limits() -> Limits {
    Limits {
        request_header_timeout: Duration::from_secs_f64(HEAD_S),
        request_body_timeout: Duration::from_secs_f64(BODY_S),
        request_body_window_bytes_min: 1024,
        keep_alive_timeout: Duration::from_secs_f64(KEEP_ALIVE_S),
        ..Limits::default()
    }
}

/// Seconds that are left, `None` without a clock.
fn left(driver: &Driver) -> Option<f64> {
    let until = driver.connection.poll_timeout()?;
    Some(until.saturating_duration_since(driver.now).as_secs_f64())
}

fn expire(driver: &mut Driver, waiting: bool) -> Expired {
    driver.connection.handle_timeout(driver.now, &driver.limits, waiting)
}

/// Lets the clock run out, which it does not a moment before.
#[track_caller]
fn run_out(driver: &mut Driver) -> Expired {
    let seconds = left(driver).expect("a clock");
    assert_eq!(expire(driver, false), Expired::NotYet);
    driver.wait(seconds - 0.001);
    assert_eq!(expire(driver, false), Expired::NotYet);
    assert!(left(driver).is_some_and(|left| left < 0.002), "the same clock");
    driver.wait(0.001);
    expire(driver, false)
}

fn connected() -> Driver {
    Driver::unanswered(&limits())
}

fn idle() -> Driver {
    let mut driver = Driver::new(&limits());
    driver.send(GET);
    driver
}

#[test]
fn silent_connection_is_closed_without_a_word() {
    let mut driver = connected();
    assert_eq!(left(&driver), Some(HEAD_S));
    assert_eq!(run_out(&mut driver), Expired::Close);
}

#[test]
fn idle_connection_is_closed_without_a_word() {
    let mut driver = idle();
    assert_eq!(left(&driver), Some(KEEP_ALIVE_S));
    assert_eq!(run_out(&mut driver), Expired::Close);
}

#[test]
fn first_byte_of_a_later_head_starts_the_clock_of_heads() {
    let mut driver = idle();
    driver.wait(KEEP_ALIVE_S - 1.0).send(b"G");
    assert_eq!(left(&driver), Some(HEAD_S));
    assert_eq!(run_out(&mut driver), SLOW_HEAD);
}

#[test]
fn first_head_is_due_since_the_connection_was_accepted() {
    let mut driver = connected();
    driver.wait(4.0).send(b"GET /");
    assert_eq!(left(&driver), Some(HEAD_S - 4.0));
    assert_eq!(run_out(&mut driver), SLOW_HEAD);
}

#[test]
fn single_bytes_do_not_set_the_clock_of_heads_back() {
    for mut driver in [connected(), idle()] {
        driver.send(&GET[..1]);
        for (count, byte) in (1_u8..).zip(&GET[1..GET.len() - 1]) {
            driver.wait(0.1).send(&[*byte]);
            let expected = HEAD_S - 0.1 * f64::from(count);
            assert!(left(&driver).is_some_and(|left| (left - expected).abs() < 0.001));
        }
        assert_eq!(run_out(&mut driver), SLOW_HEAD);
    }
}

#[test]
fn empty_lines_do_not_begin_a_head() {
    let mut driver = idle();
    for _ in 0..4 {
        driver.wait(1.0).send(b"\r\n");
    }
    assert_eq!(left(&driver), Some(KEEP_ALIVE_S - 4.0));
    assert_eq!(run_out(&mut driver), Expired::Close);
    let mut driver = connected();
    driver.send(b"\r\n\r\n");
    assert_eq!(run_out(&mut driver), Expired::Close);
    let mut driver = idle();
    driver.send(b"\r\n\r\nG");
    assert_eq!(run_out(&mut driver), SLOW_HEAD);
}

#[test]
fn no_clock_runs_while_the_application_works() {
    for request in [GET.to_vec(), [&post(&[b"Content-Length: 2"])[..], b"ab"].concat()] {
        let mut driver = connected();
        driver.send(&request);
        assert_eq!(left(&driver), None);
        driver.wait(1e6).send(b"G");
        assert_eq!((left(&driver), expire(&mut driver, false)), (None, Expired::NotYet));
        driver.start(200, &[]).unwrap();
        driver.end(b"").unwrap();
        assert_eq!(left(&driver), None);
        assert_eq!(driver.next(), Next::Request);
        assert_eq!(left(&driver), Some(KEEP_ALIVE_S));
        // What came in the meantime is the beginning of a head.
        driver.send(b"");
        assert_eq!(left(&driver), Some(HEAD_S));
    }
}

#[test]
fn body_has_a_window_in_which_it_must_move() {
    let mut driver = connected();
    driver.send(&post(&[b"Content-Length: 100000"]));
    for _ in 0..10 {
        assert_eq!(left(&driver), Some(BODY_S));
        driver.wait(1.0).send(&[0; 1000]);
        assert_eq!(left(&driver), Some(BODY_S - 1.0));
        driver.send(&[0; 24]);
        assert_eq!(run_out(&mut driver), Expired::NotYet);
    }
    driver.send(&[0; 1023]);
    assert_eq!(run_out(&mut driver), SLOW_BODY);
}

#[test]
fn single_bytes_do_not_set_the_clock_of_bodies_back() {
    let counted = post(&[b"Content-Length: 100000"]);
    let chunk = [&post(&[b"Transfer-Encoding: chunked"])[..], b"1000\r\n"].concat();
    for input in [counted, chunk] {
        let mut driver = connected();
        driver.send(&input);
        for _ in 0..29 {
            driver.wait(1.0).send(b"0");
        }
        assert!(left(&driver).is_some_and(|left| left <= 1.0));
        assert_eq!(run_out(&mut driver), SLOW_BODY);
    }
}

#[test]
fn chunk_lines_and_trailers_are_part_of_a_body_that_moves() {
    let mut driver = connected();
    driver.send(&post(&[b"Transfer-Encoding: chunked"]));
    driver.send(&b"1\r\nx\r\n".repeat(171));
    assert_eq!(run_out(&mut driver), Expired::NotYet);
    driver.send(&b"1\r\nx\r\n".repeat(170));
    assert_eq!(run_out(&mut driver), SLOW_BODY);
}

#[test]
fn application_that_lags_is_not_the_peers_fault() {
    let mut driver = connected();
    driver.send(&post(&[b"Content-Length: 100000"]));
    for _ in 0..3 {
        driver.wait(BODY_S);
        assert_eq!(expire(&mut driver, true), Expired::NotYet);
        assert_eq!(left(&driver), Some(BODY_S));
    }
    assert_eq!(run_out(&mut driver), SLOW_BODY);
}

#[test]
fn client_that_waits_for_continue_is_not_late() {
    let head = post(&[b"Content-Length: 100000", b"Expect: 100-continue"]);
    let mut driver = connected();
    driver.send(&head);
    for _ in 0..3 {
        assert_eq!(run_out(&mut driver), Expired::NotYet);
    }
    // When it is told at the end of a window, it has all of the next one.
    driver.wait(BODY_S - 1.0);
    assert!(driver.wants_body());
    assert_eq!(run_out(&mut driver), Expired::NotYet);
    assert_eq!(left(&driver), Some(BODY_S));
    assert_eq!(run_out(&mut driver), SLOW_BODY);
    // The same when it has waited long enough.
    let mut driver = connected();
    driver.send(&head).wait(BODY_S - 1.0).send(b"x");
    assert_eq!(run_out(&mut driver), Expired::NotYet);
    assert_eq!(run_out(&mut driver), SLOW_BODY);
    // Nor does it end a response that has begun.
    let mut driver = connected();
    driver.send(&head);
    driver.start(200, &[]).unwrap();
    driver.flush();
    for _ in 0..3 {
        assert_eq!(run_out(&mut driver), Expired::NotYet);
    }
}

#[test]
fn rest_of_a_body_that_is_dropped_is_due_as_well() {
    let mut driver = connected();
    driver.send(&post(&[b"Content-Length: 10"]));
    driver.start(200, &[]).unwrap();
    driver.end(b"").unwrap();
    assert_eq!(driver.next(), Next::Drain);
    assert_eq!(run_out(&mut driver), SLOW_BODY);
    driver.take_output();
    driver.reject(408);
    assert_eq!(driver.take_output(), b"");
    assert_eq!(left(&driver), None);
}

#[test]
fn no_clock_runs_once_it_is_over() {
    let ends: [fn(&mut Driver); 4] = [
        |driver| assert!(!driver.reject(408)),
        |driver| assert!(!driver.abort()),
        |driver| assert!(driver.send(b"\0").record.refusal().is_some()),
        |driver| {
            driver.connection.end_after_response();
            driver.send(GET);
            driver.start(200, &[]).unwrap();
            driver.end(b"").unwrap();
            assert_eq!(driver.next(), Next::Close { linger: true });
        },
    ];
    for end in ends {
        let mut driver = connected();
        end(&mut driver);
        assert_eq!((left(&driver), expire(&mut driver, false)), (None, Expired::NotYet));
    }
}

#[test]
fn timeouts_may_be_longer_than_the_clock_can_tell() {
    let limits = Limits {
        request_header_timeout: Duration::MAX,
        request_body_timeout: Duration::MAX,
        keep_alive_timeout: Duration::MAX,
        ..limits()
    };
    let mut driver = Driver::new(&limits);
    for request in [GET, b"GET", b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", b"x"] {
        assert!(left(&driver).is_some_and(|left| left > 1e9));
        assert_eq!(expire(&mut driver, false), Expired::NotYet);
        driver.send(request);
    }
    assert_eq!(driver.record.heads().len(), 2);
}

#[test]
fn only_a_body_counts_bytes() {
    let (now, limits) = (Instant::now(), limits());
    for mut deadline in [
        Deadline::None,
        Deadline::keep_alive(now, limits.keep_alive_timeout),
        Deadline::request_header(now, &limits),
    ] {
        let before = deadline;
        deadline.count(1);
        deadline.excuse();
        assert_eq!(deadline, before);
    }
    let mut deadline = Deadline::request_body(now, &limits);
    let until = deadline.until().unwrap();
    deadline.count(3);
    deadline.count(4);
    assert_eq!(deadline, Deadline::RequestBody { until, received: 7 });
    deadline.excuse();
    deadline.count(1);
    assert_eq!(deadline, Deadline::RequestBody { until, received: u64::MAX });
}

// --- Slow readers ------------------------------------------------------------------------------

#[test]
fn slow_reader_gets_another_window_for_taking_enough() {
    let limits = Limits {
        write_timeout: Duration::from_secs(60),
        write_window_bytes_min: 1000,
        ..Limits::default()
    };
    let now = Instant::now();
    let later = now + Duration::from_secs(60);
    // What the kernel held, what it was given, what it holds at the end, and whether that will do.
    let cases = [
        (0, 0, 0, false),
        (5000, 0, 5000, false),
        (5000, 0, 4001, false),
        (5000, 0, 4000, true),
        // The kernel took more for it, but the peer did not.
        (5000, 4000, 9000, false),
        (5000, 4000, 8000, true),
        (0, 1000, 0, true),
        // Where the kernel does not tell, what it took counts.
        (0, 999, 0, false),
        (10, 0, u64::MAX, false),
    ];
    for (queued_before, given, queued_after, is_enough) in cases {
        let mut reader = SlowReader::new(now, &limits, queued_before);
        assert_eq!(reader.until(), later);
        reader.count(given);
        let renewed = reader.renew(later, &limits, queued_after);
        assert_eq!(renewed.is_some(), is_enough, "{queued_before} {given} {queued_after}");
        if let Some(renewed) = renewed {
            assert_eq!(renewed, SlowReader::new(later, &limits, queued_after));
        }
    }
}
