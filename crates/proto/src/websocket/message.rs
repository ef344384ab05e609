//! A message under way, and what every `WebSocket` of a server shares for theirs.
//!
//! A message that comes whole in one frame never has an assembly: it is unmasked into a buffer that
//! all share. An idle WebSocket has no buffer of its own.

use crate::error::Failure;
use crate::websocket::deflate::{Deflate, DeflateLimits, Inflater, Pool};
use crate::websocket::frame::FrameHeader;
use crate::websocket::mask::unmask_into;

/// A shared buffer that has become larger than this is given up after the message.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// The two types of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    Binary,
}

/// What every `WebSocket` of a server shares.
#[derive(Debug)]
pub struct Shared {
    /// The message (or the reason for closing) that has just become whole.
    pub(super) whole: Vec<u8>,
    /// A compressed piece, unmasked or to be sent.
    pub(super) compressed: Vec<u8>,
    pub(super) pool: Pool,
}

impl Shared {
    #[must_use]
    pub fn new(deflate: Option<&DeflateLimits>) -> Self {
        Self {
            whole: Vec::new(),
            compressed: Vec::new(),
            pool: Pool::new(deflate.map_or(0, |limits| limits.codecs_max)),
        }
    }

    /// Takes the buffers back into use.
    pub(super) fn begin(&mut self) {
        for buffer in [&mut self.whole, &mut self.compressed] {
            buffer.clear();
            if buffer.capacity() > SPARE_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

/// A frame's payload, of which more is to come.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pub fin: bool,
    mask: [u8; 4],
    position: u64,
    remaining: u64,
}

impl Payload {
    pub fn of(header: &FrameHeader) -> Self {
        Self { fin: header.fin, mask: header.mask, position: 0, remaining: header.payload_bytes }
    }

    pub fn is_complete(&self) -> bool {
        self.remaining == 0
    }

    /// How much of it there may be in `available` bytes.
    pub fn count(&self, available: usize) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available)
    }

    /// The next piece has come and is of no use.
    pub fn skip(&mut self, piece: &[u8]) {
        self.position += piece.len() as u64;
        self.remaining -= piece.len() as u64;
    }

    fn unmask_into(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        unmask_into(piece, self.mask, self.position, out);
        self.skip(piece);
    }
}

/// A message of which more is to come.
#[derive(Debug)]
pub struct Assembly {
    kind: MessageKind,
    bytes: Vec<u8>,
    /// As far as a text is known to be UTF-8; at most three bytes of a character are behind it.
    checked: usize,
    /// For a compressed one.
    inflater: Option<Inflater>,
}

impl Assembly {
    pub fn new(kind: MessageKind, inflater: Option<Inflater>) -> Self {
        Self { kind, bytes: Vec::new(), checked: 0, inflater }
    }

    /// Whether a frame with so much payload cannot fit any more.
    pub fn exceeds(&self, payload_bytes: u64, bytes_max: usize) -> bool {
        self.inflater.is_none() && payload_bytes > bytes_max.saturating_sub(self.bytes.len()) as u64
    }

    /// Takes the next piece of a frame.
    pub fn push(
        &mut self,
        piece: &[u8],
        payload: &mut Payload,
        deflate: Option<&Deflate>,
        bytes_max: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match (&mut self.inflater, deflate) {
            (Some(inflater), Some(deflate)) => {
                scratch.clear();
                payload.unmask_into(piece, scratch);
                inflater.inflate(scratch, deflate, bytes_max, &mut self.bytes)?;
            }
            _ => payload.unmask_into(piece, &mut self.bytes),
        }
        self.check()
    }

    /// The last frame is complete: gives the message, in `whole`.
    pub fn finish(
        mut self,
        deflate: Option<&mut Deflate>,
        bytes_max: usize,
        pool: &mut Pool,
        whole: &mut Vec<u8>,
    ) -> Result<MessageKind, Failure> {
        if let (Some(mut inflater), Some(deflate)) = (self.inflater.take(), deflate) {
            inflater.finish(deflate, bytes_max, &mut self.bytes)?;
            self.check()?;
            deflate.inflated(&self.bytes, inflater, pool);
        }
        if self.kind == MessageKind::Text && self.checked < self.bytes.len() {
            return Err(INVALID_UTF8);
        }
        *whole = self.bytes;
        Ok(self.kind)
    }

    /// Checks what has come as soon as it is there (RFC 6455, 8.1).
    fn check(&mut self) -> Result<(), Failure> {
        if self.kind == MessageKind::Binary {
            return Ok(());
        }
        match simdutf8::compat::from_utf8(&self.bytes[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(INVALID_UTF8),
        }
        Ok(())
    }
}

/// A message that comes in one piece: unmasked and checked.
pub fn whole_message(
    kind: MessageKind,
    piece: &[u8],
    mut payload: Payload,
    whole: &mut Vec<u8>,
) -> Result<MessageKind, Failure> {
    payload.unmask_into(piece, whole);
    if kind == MessageKind::Text && simdutf8::basic::from_utf8(whole).is_err() {
        return Err(INVALID_UTF8);
    }
    Ok(kind)
}

pub const INVALID_UTF8: Failure = Failure::invalid_data("invalid UTF-8");
