//! What an HTTP/2 connection does when its peer does too little or too much: clocks and budgets.

mod support;

use pronghorn_proto::error::Reject;
use pronghorn_proto::http2::Expired;
use pronghorn_proto::limits::Http2Limits;
use pronghorn_proto::limits::Limits;

use support::http2::{
    ACK, CANCEL, CONTINUATION, DATA, Driver, END_STREAM, ENHANCE_YOUR_CALM, Event,
    FLOW_CONTROL_ERROR, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, data, frame, get, head, hello, last_data, post, reset, window_update,
};

// --- bodies that nobody reads -------------------------------------------------------------------

fn answered_early() -> Driver {
    let mut driver = Driver::after(&[post(1, &[]), data(1, b"some")].concat());
    driver.answer(1, b"no");
    driver.take_frames();
    driver
}

#[test]
fn body_that_nobody_reads_is_stopped_after_a_while() {
    let mut driver = answered_early();
    driver.wait(0.9).expired();
    assert_eq!(driver.take_frames(), []);
    driver.wait(0.2).expired();
    let frames = driver.frames_of(1);
    assert_eq!((frames.len(), frames[0].kind, frames[0].code()), (1, RST_STREAM, NO_ERROR));
}

#[test]
fn body_that_ends_by_itself_is_not_stopped() {
    let mut driver = answered_early();
    driver.send(&last_data(1, b"rest")).wait(2.0).expired();
    assert_eq!(driver.frames_of(1), []);
}

#[test]
fn window_of_an_answered_stream_must_not_become_too_large() {
    let mut driver = answered_early();
    driver.send(&window_update(1, i32::MAX as u32));
    assert_eq!(driver.frames_of(1), []);
    driver.send(&window_update(1, 1));
    let frames = driver.frames_of(1);
    assert_eq!((frames.len(), frames[0].code()), (1, FLOW_CONTROL_ERROR));
}

#[test]
fn bodies_that_nobody_reads_leave_room_for_others() {
    let http2 = Http2Limits { connection_window_bytes: 100_000, ..Http2Limits::default() };
    let mut driver = Driver::within(&Limits { http2, ..Limits::default() }, &post(1, &[]));
    driver.answer(1, b"no");
    driver.take_frames();
    for _ in 0..3 {
        driver.send(&data(1, &[b'x'; 16_384]));
    }
    assert_eq!(driver.take_frames(), []);
    driver.send(&data(1, &[b'x'; 1000]));
    let frames = driver.take_frames();
    assert!(frames.iter().any(|frame| frame.kind == RST_STREAM && frame.stream == 1));
    assert!(frames.iter().any(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0));
}

// --- clocks -------------------------------------------------------------------------------------

fn goaway(driver: &mut Driver) -> Option<u32> {
    let last = driver.take_frames().into_iter().rfind(|frame| frame.kind == GOAWAY);
    last.map(|frame| frame.code())
}

#[test]
fn idle_connection_ends_after_keep_alive() {
    let mut driver = Driver::after(&get(1));
    driver.answer(1, b"hello");
    driver.take_frames();
    driver.wait(4.9).expired();
    assert_eq!(goaway(&mut driver), None);
    driver.wait(0.2).expired();
    assert_eq!(goaway(&mut driver), Some(NO_ERROR));
    assert!(driver.connection.is_closed());
}

#[test]
fn pings_do_not_keep_an_idle_connection() {
    let mut driver = Driver::after(&get(1));
    driver.answer(1, b"hello");
    for _ in 0..6 {
        driver.wait(1.0).send(&frame(PING, 0, 0, b"12345678"));
    }
    driver.expired();
    assert_eq!(goaway(&mut driver), Some(NO_ERROR));
}

#[test]
fn answers_that_wait_for_the_kernel_outlive_keep_alive() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1 << 20)).send(&window_update(0, 1 << 20)).send(&get(1));
    driver.take_frames();
    driver.output_bytes_max = 1000;
    driver.answer(1, &b"x".repeat(100_000));
    assert!(driver.connection.is_idle() && driver.connection.has_more());
    driver.wait(60.0).expired();
    let mut output = std::mem::take(&mut driver.output);
    while driver.connection.has_more() {
        driver.wait(60.0).expired();
        output.append(&mut driver.output);
    }
    let sent = support::http2::frames(&output);
    assert_eq!(goaway(&mut driver), None);
    let bytes = sent.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len());
    assert_eq!(bytes.sum::<usize>(), 100_000);
    driver.wait(60.0).expired();
    assert_eq!(goaway(&mut driver), Some(NO_ERROR));
}

#[test]
fn head_that_does_not_end_is_given_up() {
    let begun = frame(HEADERS, END_STREAM, 3, &head("GET", "/", &[]));
    let mut driver = Driver::after(&[get(1), begun].concat());
    for byte in frame(CONTINUATION, 0, 3, b"") {
        driver.wait(1.0).send(&[byte]).expired();
    }
    assert_eq!(goaway(&mut driver), None);
    driver.wait(1.1).expired();
    assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn preface_that_does_not_come_is_given_up() {
    let mut driver = Driver::new(&Limits::default());
    driver.wait(9.9).expired();
    assert!(!driver.connection.is_closed());
    driver.wait(0.2).expired();
    assert!(driver.connection.is_closed());
}

#[test]
fn body_that_does_not_come_is_refused_unless_the_application_lags() {
    let mut driver = Driver::after(&[post(1, &[]), data(1, b"some")].concat());
    driver.wait(29.0);
    assert_eq!(driver.expired(), []);
    driver.wait(2.0);
    let expired = driver.expired();
    assert!(
        matches!(expired[..], [Expired::Request(1, Reject { status: 408, .. })]),
        "{expired:?}"
    );

    let mut driver = Driver::new(&Limits::default());
    driver.takes_bodies = false;
    driver.send(&hello(65_535)).send(&post(1, &[])).send(&data(1, b"some"));
    driver.wait(31.0);
    assert_eq!(driver.expired(), []);
}

#[test]
fn windows_that_stay_closed_end_their_stream_and_then_the_connection() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(0)).send(&get(1)).send(&get(3));
    driver.answer(1, b"hello");
    driver.answer(3, b"hello");
    driver.wait(59.0);
    assert_eq!(driver.expired(), []);
    driver.wait(2.0);
    assert_eq!(driver.expired(), [Expired::Answer(1), Expired::Answer(3)]);
    assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn one_stalled_stream_does_not_end_the_others() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(5)).send(&get(1));
    driver.answer(1, b"too much");
    for number in 0..7 {
        driver.wait(10.0).send(&get(3 + 2 * number));
        driver.answer(3 + 2 * number, b"hello");
        let expired = driver.expired();
        assert_eq!(expired, if number == 5 { vec![Expired::Answer(1)] } else { vec![] });
    }
    assert_eq!(goaway(&mut driver), None);
}

#[test]
fn draining_lets_requests_end() {
    let mut driver = Driver::after(&get(1));
    driver.take_frames();
    driver.connection.drain(driver.now, std::time::Duration::from_secs(1));
    driver.transmit();
    assert_eq!(goaway(&mut driver), Some(NO_ERROR));
    driver.send(&get(3));
    driver.answer(1, b"hello");
    driver.answer(3, b"hello");
    // The ping that `h2` sends along tells it when its peer knows.
    let ping = frame(PING, ACK, 0, &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54]);
    driver.send(&ping);
    let frames = driver.take_frames();
    let ended = frames.iter().filter(|frame| frame.kind == DATA && frame.flags == END_STREAM);
    assert_eq!(ended.count(), 2);
    assert!(driver.connection.is_closed());
}

// --- budgets ------------------------------------------------------------------------------------

#[test]
fn frames_that_carry_nothing_are_paid_for_from_a_budget() {
    let kinds: [fn(u32) -> Vec<u8>; 5] = [
        |_| frame(PING, 0, 0, b"12345678"),
        |_| frame(SETTINGS, 0, 0, b""),
        |number| frame(PRIORITY, 0, 2 * number + 1, b"\0\0\0\0\x10"),
        |_| frame(0xfa, 0, 0, b"x"),
        |_| window_update(0, 1),
    ];
    for kind in kinds {
        let mut driver = Driver::after(b"");
        // The client's first SETTINGS has cost one.
        (0..999).for_each(|number| _ = driver.send(&kind(number)));
        assert_eq!(goaway(&mut driver), None);
        // A second gives something back.
        driver.wait(1.0);
        (0..100).for_each(|number| _ = driver.send(&kind(1000 + number)));
        assert_eq!(goaway(&mut driver), None);
        driver.send(&kind(2000));
        assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
        assert!(driver.connection.is_closed());
    }
}

#[test]
fn bodies_of_nothing_end_the_connection() {
    for nothing in [data(1, b""), frame(DATA, PADDED, 1, b"\x03\0\0\0")] {
        let mut driver = Driver::after(&post(1, &[]));
        driver.send(&nothing.repeat(50));
        assert_eq!(goaway(&mut driver), None);
        driver.send(&nothing.repeat(1000));
        assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
        let has_body = driver.events[&1].iter().any(|event| matches!(event, Event::Body(_)));
        assert!(!has_body, "the application hears nothing of it");
    }
}

#[test]
fn streams_that_are_taken_back_cost_more() {
    let mut driver = Driver::after(b"");
    let attack = |number: u32| [get(2 * number + 1), reset(2 * number + 1, CANCEL)].concat();
    (0..199).for_each(|number| _ = driver.send(&attack(number)));
    assert_eq!(goaway(&mut driver), None);
    (199..202).for_each(|number| _ = driver.send(&attack(number)));
    assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn honest_work_pays_for_them() {
    let mut driver = Driver::after(b"");
    for number in 0..5000 {
        let stream = 2 * number + 1;
        driver.send(&get(stream)).send(&frame(PING, 0, 0, b"12345678"));
        driver.answer(stream, b"hello");
        driver.output.clear();
    }
    assert_eq!(goaway(&mut driver), None);
}

#[test]
fn long_answer_pays_for_its_windows_as_they_open() {
    const PIECE: u32 = 8 * 1024;
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(65_535)).send(&get(1));
    driver.answer(1, &vec![b'x'; 8 << 20]);
    while driver.connection.unsent(1) > 0 {
        driver.send(&window_update(1, PIECE)).send(&window_update(0, PIECE));
        assert_eq!(goaway(&mut driver), None);
    }
    assert!(driver.connection.is_idle());
    assert!(!driver.connection.is_closed());
}

#[test]
fn answer_that_waits_pays_for_nothing() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(0)).send(&get(1));
    driver.answer(1, &vec![b'x'; 8 << 20]);
    // One byte at a time costs more than it is worth.
    for _ in 0..2000 {
        driver.send(&window_update(1, 1));
    }
    assert_eq!(goaway(&mut driver), Some(ENHANCE_YOUR_CALM));
}
