//! What an HTTP/2 connection writes, and when there is no more of it.

use std::time::Instant;

use pronghorn_proto::event::{Inbound, Outbound};
use pronghorn_proto::head::RequestHead;
use pronghorn_proto::http2::Connection;
use pronghorn_proto::limits::Limits;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Bytes of DATA frames, and whether the stream has ended.
fn body(mut written: &[u8]) -> (usize, bool) {
    let (mut count, mut has_ended) = (0, false);
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = written {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == DATA {
            count += length;
            has_ended |= flags & END_STREAM != 0;
        }
        written = &rest[length..];
    }
    (count, has_ended)
}

/// A connection whose peer has asked for `/` on stream 1 and opened its windows wide.
fn asked(now: Instant, limits: &Limits) -> Connection {
    let mut connection = Connection::new(now, limits);
    // INITIAL_WINDOW_SIZE.
    let window = [&[0, 4], &(1_u32 << 30).to_be_bytes()[..]].concat();
    let get = [&[0x82, 0x86, 0x84, 0x41, 1], &b"a"[..]].concat();
    let bytes = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &window),
        frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &get),
    ];
    connection.receive(now, &bytes.concat());
    let (mut head, mut source) = (RequestHead::default(), Vec::new());
    let event = connection.poll_event(now, limits, true, &mut head, &mut source);
    assert!(matches!(event, Some((1, Ok(Inbound::Head(_))))));
    connection
}

#[test]
fn everything_is_written_once_there_is_room() {
    let (now, limits) = (Instant::now(), Limits::default());
    // More than `h2` keeps of an answer, in all sizes of pieces and of what is taken at once.
    for piece in [1000, 65_536, 200_000] {
        for bytes_max in [1, 16_384, 131_072, 1 << 30] {
            let mut connection = asked(now, &limits);
            let start = Outbound::Start { status: 200, headers: &[] };
            connection.submit(1, b"", &start).expect("a start");
            let data = vec![b'a'; piece];
            for number in 0..9 {
                let body = Outbound::Body { data: &data, more: number < 8 };
                connection.submit(1, b"", &body).expect("a piece");
            }
            let mut written = Vec::new();
            loop {
                let mut out = Vec::new();
                connection.poll_transmit(now, &limits, &mut out, bytes_max);
                written.extend(out);
                if !connection.has_more() {
                    break;
                }
            }
            assert_eq!(body(&written), (9 * piece, true), "{piece} bytes, {bytes_max} at once");
        }
    }
}
