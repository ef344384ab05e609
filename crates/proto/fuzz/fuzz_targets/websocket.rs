//! Any bytes, in any pieces: no panic, nothing above the limit, valid texts, one end at the most, and
//! the same whether they come whole or in pieces. Each message is sent back. The first bytes say how.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pronghorn_proto::event::Input;
use pronghorn_proto::limits::WebSocketLimits;
use pronghorn_proto::websocket::deflate::{Agreement, DeflateLimits};
use pronghorn_proto::websocket::{Event, MessageKind, Shared, WebSocket};

const MESSAGE_BYTES_MAX: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
enum Happened {
    Message(bool, Vec<u8>),
    Closed(u16, String),
}

fuzz_target!(|data: &[u8]| {
    let Some((&[how, step], bytes)) = data.split_first_chunk() else { return };
    let agreement = agreement(how);
    let whole = run(bytes, bytes.len().max(1), agreement.as_ref());
    let pieces = run(bytes, usize::from(step).max(1), agreement.as_ref());
    assert_eq!(whole, pieces);
    let ends = whole.0.iter().filter(|happened| matches!(happened, Happened::Closed(..)));
    assert!(ends.count() <= 1);
});

/// None, or one of any kind.
fn agreement(how: u8) -> Option<Agreement> {
    let offer: [(&[u8], Option<&[u8]>); 3] = [
        (b"server_no_context_takeover", None),
        (b"client_no_context_takeover", None),
        (b"client_max_window_bits", Some(b"9")),
    ];
    let chosen = offer.into_iter().enumerate().filter(|(bit, _)| how >> bit & 1 == 1);
    let offered = chosen.map(|(_, parameter)| parameter);
    Agreement::answer(offered, &DeflateLimits::default()).filter(|_| how & 8 != 0)
}

fn run(bytes: &[u8], step: usize, agreement: Option<&Agreement>) -> (Vec<Happened>, Vec<u8>) {
    let limits =
        WebSocketLimits { message_bytes_max: MESSAGE_BYTES_MAX, ..WebSocketLimits::default() };
    let now = Instant::now();
    let mut shared =
        Shared::new(Some(&DeflateLimits { codecs_max: 1, ..DeflateLimits::default() }));
    let mut socket = WebSocket::new(now, &limits, agreement, &mut shared);
    let (mut happened, mut output, mut pending) = (Vec::new(), Vec::new(), Vec::new());
    for piece in bytes.chunks(step) {
        pending.extend_from_slice(piece);
        let mut input = Input::new(&pending);
        loop {
            let before = input.consumed();
            match socket.receive(now, &limits, &mut input, &mut shared, &mut output) {
                None if input.consumed() == before || input.rest().is_empty() => break,
                None => {}
                Some(Event::Message { kind, payload }) => {
                    assert!(payload.len() <= MESSAGE_BYTES_MAX);
                    let is_text = kind == MessageKind::Text;
                    assert!(!is_text || str::from_utf8(payload).is_ok());
                    let payload = payload.to_vec();
                    let _ = socket.send(kind, payload[..].into(), &mut shared, &mut output);
                    happened.push(Happened::Message(is_text, payload));
                }
                Some(Event::Closed { code, reason }) => {
                    happened.push(Happened::Closed(code, reason.to_owned()));
                }
            }
        }
        let understood = input.consumed();
        pending.drain(..understood);
        // What is not understood is a header, or a control frame, at the most.
        assert!(pending.len() < 14 + 125);
    }
    let _ = socket.handle_timeout(now + Duration::from_secs(60), &limits, false, &mut output);
    (happened, output)
}
