//! What a message takes while it comes, counted by the allocator.

use std::time::Instant;

use flate2::{Compress, Compression, FlushCompress};
use peak_alloc::PeakAlloc;
use pronghorn_proto::event::Input;
use pronghorn_proto::limits::WebSocketLimits;
use pronghorn_proto::websocket::deflate::{Agreement, DeflateLimits};
use pronghorn_proto::websocket::{Event, Shared, WebSocket};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What a message may take beside its content.
const BESIDE_BYTES_MAX: usize = 64 << 10;

/// What a read brings.
const READ_BYTES: usize = 64 << 10;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Frames that are masked with zeros, which leaves them as they are.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    [&[first, 0xff], &length[..], &[0; 4], payload].concat()
}

/// A message in one frame, or in frames of so many bytes of payload.
fn message(opcode: u8, is_compressed: bool, payload: &[u8], frame_bytes: usize) -> Vec<u8> {
    let count = payload.len().div_ceil(frame_bytes);
    let frames = payload.chunks(frame_bytes).enumerate().map(|(index, part)| {
        let first = if index > 0 { 0 } else { opcode | u8::from(is_compressed) << 6 };
        frame(first | u8::from(index + 1 == count) << 7, part)
    });
    frames.collect::<Vec<_>>().concat()
}

/// 1 GiB of one letter in 1 MiB.
fn bomb() -> Vec<u8> {
    let letters = vec![b'a'; 1 << 20];
    let mut compress = Compress::new_with_window_bits(Compression::best(), false, 12);
    let mut block = Vec::with_capacity(1 << 20);
    compress.compress_vec(&letters, &mut block, FlushCompress::Full).expect("letters");
    assert!(block.len() < 1500, "{}", block.len());
    block.repeat(1024)
}

/// Feeds all of it as reads bring it. Gives how it ends, and the most that was allocated meanwhile.
fn receive(bytes: &[u8], message_bytes_max: usize) -> (Option<usize>, Option<u16>, usize) {
    let limits = WebSocketLimits { message_bytes_max, ..WebSocketLimits::default() };
    let deflate = DeflateLimits::default();
    let agreement = Agreement::answer([].into_iter(), &deflate).expect("an offer");
    let now = Instant::now();
    let mut shared = Shared::new(Some(&deflate));
    let mut socket = WebSocket::new(now, &limits, Some(&agreement), &mut shared);
    let mut output = Vec::with_capacity(256);
    let (mut length, mut code) = (None, None);
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    for piece in bytes.chunks(READ_BYTES) {
        let mut input = Input::new(piece);
        while !input.rest().is_empty() {
            match socket.receive(now, &limits, &mut input, &mut shared, &mut output) {
                Some(Event::Message { payload, .. }) => length = Some(payload.len()),
                Some(Event::Closed { code: closed, .. }) => code = Some(closed),
                // Headers are short enough here for reads never to cut them where it matters.
                None if input.rest().len() < 14 => break,
                None => {}
            }
        }
        assert!(input.rest().is_empty(), "a header was cut");
    }
    (length, code, ALLOCATOR.peak_usage() - before)
}

/// Is refused, and takes little more than it may have until then.
fn refuses(opcode: u8, bomb: Option<&[u8]>, frame_bytes: usize, limit: usize) {
    let plain = vec![b'a'; if bomb.is_none() { limit + (1 << 20) } else { 0 }];
    let bytes = message(opcode, bomb.is_some(), bomb.unwrap_or(&plain), frame_bytes);
    let (length, code, taken) = receive(&bytes, limit);
    let case = format!("{opcode} of {limit} in {frame_bytes}, a bomb: {}", bomb.is_some());
    assert_eq!((length, code), (None, Some(1009)), "{case}");
    assert!(taken <= limit + BESIDE_BYTES_MAX, "{case}: {taken}");
}

// One test: the allocator counts for all threads.
#[test]
fn message_that_is_too_big_takes_no_more_than_it_may_have_and_64_kib() {
    let bomb = bomb();
    for limit in [0, 1, 1000, 64 << 10, 1 << 20] {
        for frame_bytes in [usize::MAX, READ_BYTES - 14, 1010, 114] {
            for opcode in [TEXT, BINARY] {
                refuses(opcode, Some(&bomb), frame_bytes, limit);
                refuses(opcode, None, frame_bytes, limit);
            }
        }
    }
    for limit in [16 << 20, (50 << 20) + 12_345] {
        refuses(BINARY, Some(&bomb), usize::MAX, limit);
        refuses(TEXT, Some(&bomb), 1010, limit);
    }
    refuses(TEXT, None, READ_BYTES - 14, 16 << 20);
}
