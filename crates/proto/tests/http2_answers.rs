//! Answers over HTTP/2 and the windows that they pass, by their frames.

mod support;

use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;
use pronghorn_proto::limits::Http2Limits;
use pronghorn_proto::limits::Limits;

use support::http2::{
    ACK, CANCEL, DATA, Driver, END_HEADERS, END_STREAM, Event, FLOW_CONTROL_ERROR, Frame, HEADERS,
    INTERNAL_ERROR, PING, RST_STREAM, WINDOW_UPDATE, data, frame, get, head, hello, post, reset,
    window_update,
};

/// The first byte of the block of a head with this status (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;
const STATUS_204: u8 = 0x89;
const STATUS_400: u8 = 0x8c;

// --- what goes out ------------------------------------------------------------------------------

fn shapes(frames: &[Frame]) -> Vec<(u8, u8, usize)> {
    frames.iter().map(|frame| (frame.kind, frame.flags, frame.payload.len())).collect()
}

#[test]
fn whole_answer_is_a_head_and_a_body() {
    let mut driver = Driver::after(&get(1));
    driver.answer(1, b"hello");
    let frames = driver.frames_of(1);
    assert_eq!((frames[0].kind, frames[0].flags), (HEADERS, END_HEADERS));
    assert_eq!(frames[0].payload[0], STATUS_200);
    assert_eq!(frames[1].payload, b"hello");
    assert_eq!((frames[1].kind, frames[1].flags, frames.len()), (DATA, END_STREAM, 2));
}

#[test]
fn answers_without_a_body_end_with_their_heads() {
    let head_request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("HEAD", "/", &[]));
    let cases: [(Vec<u8>, u16, &[u8], u8); 4] = [
        (get(1), 200, b"", STATUS_200),
        (get(1), 204, b"", STATUS_204),
        (head_request.clone(), 200, b"hello", STATUS_200),
        (head_request, 204, b"", STATUS_204),
    ];
    for (request, status, body, first) in cases {
        let mut driver = Driver::after(&request);
        driver.start(1, status, &[]).expect("a head");
        driver.body(1, body, false).expect("a body");
        let frames = driver.frames_of(1);
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!((frames[0].flags, frames[0].payload[0]), (END_HEADERS | END_STREAM, first));
    }
}

#[test]
fn body_where_none_may_be_is_refused() {
    let mut driver = Driver::after(&get(1));
    driver.start(1, 204, &[]).expect("a head");
    assert!(driver.body(1, b"hello", false).is_err());
}

#[test]
fn answer_must_be_as_long_as_it_says() {
    for (body, more) in [(&b"four"[..], false), (b"sixsix", true), (b"sixsix", false)] {
        let mut driver = Driver::after(&get(1));
        driver.start(1, 200, &[("content-length", "5")]).expect("a head");
        assert!(driver.body(1, body, more).is_err(), "{}", body.escape_ascii());
        driver.connection.abort(1);
        driver.transmit();
        let last = driver.frames_of(1).pop().expect("a frame");
        assert_eq!((last.kind, last.code()), (RST_STREAM, INTERNAL_ERROR));
    }
}

#[test]
fn messages_out_of_order_are_errors() {
    let mut driver = Driver::after(&get(1));
    assert_eq!(driver.body(1, b"", false), Err(ApplicationError::ExpectedStart));
    driver.start(1, 200, &[]).expect("a head");
    assert_eq!(driver.start(1, 200, &[]), Err(ApplicationError::ExpectedBody));
    driver.body(1, b"hello", false).expect("a body");
    // The stream is forgotten by now.
    assert_eq!(driver.body(1, b"", false), Ok(()));
    assert_eq!(shapes(&driver.frames_of(1))[1..], [(DATA, END_STREAM, 5)]);
}

#[test]
fn trailers_follow_the_body() {
    let mut driver = Driver::after(&get(1));
    driver.start(1, 200, &[]).expect("a head");
    driver.body(1, b"hello", true).expect("a body");
    for more in [true, false] {
        let headers = [(&b"x"[..], &b"y"[..])];
        driver.submit(1, &Outbound::Trailers { headers: &headers, more }).expect("trailers");
    }
    let shapes = shapes(&driver.frames_of(1));
    assert_eq!(shapes[1], (DATA, 0, 5));
    assert_eq!((shapes[2].0, shapes[2].1), (HEADERS, END_HEADERS | END_STREAM));
}

#[test]
fn hints_precede_the_head() {
    let mut driver = Driver::after(&get(1));
    let links = [&b"</a>"[..]];
    driver.submit(1, &Outbound::EarlyHint { links: &links }).expect("a hint");
    driver.answer(1, b"");
    let frames = driver.frames_of(1);
    assert_eq!((frames[0].flags, frames[1].flags), (END_HEADERS, END_HEADERS | END_STREAM));
}

#[test]
fn client_that_waits_is_told_to_continue_once() {
    let mut driver = Driver::after(&post(1, &[("expect", "100-continue")]));
    assert!(driver.connection.wants_body(1));
    assert!(!driver.connection.wants_body(1));
    driver.transmit();
    let frames = driver.frames_of(1);
    assert_eq!((frames.len(), frames[0].kind, frames[0].flags), (1, HEADERS, END_HEADERS));
    let mut driver =
        Driver::after(&[post(1, &[("expect", "100-continue")]), data(1, b"a")].concat());
    assert!(!driver.connection.wants_body(1), "it does not wait");
}

#[test]
fn refusal_is_a_whole_answer() {
    let mut driver = Driver::after(&get(1));
    driver.reject(1, 400);
    driver.transmit();
    let frames = driver.frames_of(1);
    assert_eq!(frames[0].payload[0], STATUS_400);
    assert_eq!(frames[1].flags, END_STREAM);
}

#[test]
fn pings_and_settings_are_acknowledged() {
    let mut driver = Driver::after(&frame(PING, 0, 0, b"12345678"));
    let frames = driver.take_frames();
    let acknowledged: Vec<_> = frames.iter().filter(|frame| frame.flags == ACK).collect();
    assert_eq!(acknowledged.len(), 2, "{frames:?}");
    assert_eq!((acknowledged[1].kind, &*acknowledged[1].payload), (PING, &b"12345678"[..]));
}

// --- windows ------------------------------------------------------------------------------------

#[test]
fn answer_goes_out_as_the_windows_open() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(10)).send(&get(1));
    driver.answer(1, b"0123456789abcdefghij");
    let sent = |driver: &mut Driver| {
        let frames = driver.frames_of(1);
        let data = frames.into_iter().filter(|frame| frame.kind == DATA);
        data.flat_map(|frame| frame.payload).collect::<Vec<_>>()
    };
    assert_eq!(sent(&mut driver), b"0123456789");
    assert_eq!(driver.connection.unsent(1), 10);
    driver.send(&window_update(1, 3));
    assert_eq!(sent(&mut driver), b"abc");
    driver.send(&window_update(1, 100));
    assert_eq!(sent(&mut driver), b"defghij");
    assert_eq!(driver.connection.unsent(1), 0);
    assert!(driver.connection.is_idle());
}

#[test]
fn connection_window_is_shared() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1 << 20)).send(&get(1)).send(&get(3));
    driver.answer(1, &b"a".repeat(60_000));
    driver.answer(3, &b"b".repeat(60_000));
    let bytes = |driver: &mut Driver| {
        let frames = driver.take_frames().into_iter().filter(|frame| frame.kind == DATA);
        frames.map(|frame| frame.payload.len()).sum::<usize>()
    };
    assert_eq!(bytes(&mut driver), 65_535);
    driver.send(&window_update(0, 100_000));
    assert_eq!(bytes(&mut driver), 120_000 - 65_535);
    assert!(driver.connection.is_idle());
}

#[test]
fn window_opens_as_the_application_takes() {
    let http2 = Http2Limits { stream_window_bytes: 65_535, ..Http2Limits::default() };
    let mut driver = Driver::new(&Limits { http2, ..Limits::default() });
    driver.takes_bodies = false;
    driver.send(&hello(65_535)).send(&post(1, &[]));
    for _ in 0..3 {
        driver.send(&data(1, &[b'x'; 16_384]));
    }
    let updates = |driver: &mut Driver| {
        let frames = driver.take_frames().into_iter();
        let updates = frames.filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 1);
        updates
            .map(|frame| u32::from_be_bytes(frame.payload.try_into().expect("four")))
            .sum::<u32>()
    };
    assert_eq!(updates(&mut driver), 0);
    driver.connection.body_taken(1, 3 * 16_384);
    driver.transmit();
    assert_eq!(updates(&mut driver), 3 * 16_384);
    // More than has come opens nothing.
    driver.connection.body_taken(1, 1000);
    driver.transmit();
    assert_eq!(updates(&mut driver), 0);
}

#[test]
fn client_that_ignores_the_window_is_told_so() {
    let http2 = Http2Limits { stream_window_bytes: 65_535, ..Http2Limits::default() };
    let mut driver = Driver::new(&Limits { http2, ..Limits::default() });
    driver.takes_bodies = false;
    driver.send(&hello(65_535)).send(&post(1, &[]));
    for _ in 0..4 {
        driver.send(&data(1, &[b'x'; 16_384]));
    }
    let outcome = driver.outcome();
    assert!(
        outcome.resets.get(&1) == Some(&FLOW_CONTROL_ERROR)
            || outcome.goaway == Some(FLOW_CONTROL_ERROR)
    );
}

#[test]
fn everything_is_written_once_there_is_room() {
    // More than `h2` keeps of an answer, in all sizes of pieces and of what is taken at once.
    for piece in [1000, 65_536, 200_000] {
        for bytes_max in [1, 16_384, 131_072, 1 << 30] {
            let mut driver = Driver::new(&Limits::default());
            driver.send(&hello(1 << 30)).send(&window_update(0, 1 << 30)).send(&get(1));
            driver.take_frames();
            driver.start(1, 200, &[]).expect("a start");
            let data = vec![b'a'; piece];
            for number in 0..9 {
                let body = Outbound::Body { data: data[..].into(), more: number < 8 };
                driver.connection.submit(1, b"", &body).expect("a piece");
            }
            let mut written = Vec::new();
            loop {
                let mut out = Vec::new();
                driver.connection.poll_transmit(driver.now, &driver.limits, &mut out, bytes_max);
                written.append(&mut out);
                if !driver.connection.has_more() {
                    break;
                }
            }
            let frames = support::http2::frames(&written);
            let bodies = frames.iter().filter(|frame| frame.kind == DATA);
            assert_eq!(bodies.map(|frame| frame.payload.len()).sum::<usize>(), 9 * piece);
            assert_eq!(frames.last().map(|frame| frame.flags), Some(END_STREAM));
        }
    }
}

#[test]
fn small_pieces_go_out_together() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1000)).send(&get(1));
    driver.take_frames();
    driver.start(1, 200, &[]).expect("a start");
    let bytes: Vec<u8> = (0..=255).cycle().take(2000).collect();
    let submit = |driver: &mut Driver, data: &[u8]| {
        let body = Outbound::Body { data: data.into(), more: true };
        driver.connection.submit(1, b"", &body).expect("a piece");
    };
    // Before the window is full, and when it is.
    for half in bytes.chunks(1000) {
        for &byte in half {
            submit(&mut driver, &[byte]);
        }
        driver.transmit();
    }
    submit(&mut driver, &[b'L'; 2000]);
    submit(&mut driver, b"last");
    driver.body(1, b"", false).expect("the end");
    driver.send(&window_update(1, 1 << 20));
    let frames = driver.frames_of(1);
    let bodies: Vec<_> = frames.iter().filter(|frame| frame.kind == DATA).collect();
    let lengths: Vec<_> = bodies.iter().map(|frame| frame.payload.len()).collect();
    assert_eq!(lengths, [1000, 1000, 2000, 4]);
    let payload: Vec<u8> = bodies.iter().flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!(payload, [&bytes[..], &[b'L'; 2000], b"last"].concat());
    assert_eq!(bodies.last().map(|frame| frame.flags), Some(END_STREAM));
}

// --- streams that are taken back ----------------------------------------------------------------

#[test]
fn peer_that_is_gone_is_told_of_though_its_reset_was_understood_late() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1 << 20)).send(&window_update(0, 1 << 20)).send(&[get(1), get(3)].concat());
    driver.start(3, 200, &[]).expect("a head");
    driver.body(3, b"one", true).expect("a body");
    // Acknowledgements have no room, so that the reset behind the pings is not understood.
    driver.output_bytes_max = 0;
    driver.answer(1, &b"a".repeat(100_000));
    driver.feed(&frame(PING, 0, 0, b"12345678").repeat(1500 / 2));
    assert_eq!(driver.connection.take_buffer(), None);
    driver.feed(&reset(3, CANCEL));
    driver.output_bytes_max = usize::MAX;
    driver.transmit();
    driver.body(3, b"", false).expect("nobody is there");
    driver.understand();
    assert_eq!(driver.events[&3].last(), Some(&Event::Reset));
}

#[test]
fn idle_connection_keeps_no_buffer() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1 << 20)).send(&window_update(0, 1 << 20)).send(&get(1));
    driver.output_bytes_max = 0;
    driver.answer(1, &b"a".repeat(100_000));
    driver.feed(&frame(PING, 0, 0, b"12345678").repeat(1500 / 2));
    assert_eq!(driver.connection.take_buffer(), None);
    driver.output_bytes_max = usize::MAX;
    driver.understand();
    assert_eq!(driver.connection.take_buffer().unwrap_or_default(), [].into());
}

#[test]
fn buffer_comes_back_once_all_in_it_has_been_understood() {
    let mut driver = Driver::new(&Limits::default());
    driver.send(&hello(1 << 20));
    let head = get(1);
    let mut buffer = [&head[..], b"not received"].concat().into_boxed_slice();
    let address = buffer.as_ptr();
    driver.connection.receive(driver.now, &mut buffer, head.len());
    assert_ne!(buffer.as_ptr(), address);
    assert_eq!(driver.connection.take_buffer(), None);
    driver.understand();
    let returned = driver.connection.take_buffer().expect("the request has been understood");
    assert_eq!((returned.as_ptr(), returned.len()), (address, head.len() + 12));
}
