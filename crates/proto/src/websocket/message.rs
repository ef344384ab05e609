//! A message under way, and what every `WebSocket` of a server shares for theirs.
//!
//! A message that comes whole in one frame never has an assembly: it is unmasked into a buffer that
//! all share. An idle WebSocket has no buffer of its own.

use crate::error::Failure;
use crate::websocket::deflate::{Deflate, DeflateLimits, Inflater, Pool};
use crate::websocket::frame::FrameHeader;
use crate::websocket::mask::unmask_into;
use crate::websocket::pieces::{INVALID_UTF8, MessageKind, Pieces};

/// So much of a compressed payload is unmasked at once.
const UNMASKED_BYTES_MAX: usize = 4096;

/// A shared buffer that has become larger than this is given up after the message.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// What every `WebSocket` of a server shares.
#[derive(Debug)]
pub struct Shared {
    /// The message (or the reason for closing) that has just become whole.
    pub(super) whole: Vec<u8>,
    /// A compressed message to be sent, or a part of one that comes, unmasked.
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
    pieces: Pieces,
    /// For a compressed one.
    inflater: Option<Inflater>,
}

impl Assembly {
    pub fn new(kind: MessageKind, bytes_max: usize, inflater: Option<Inflater>) -> Self {
        Self { pieces: Pieces::new(kind, bytes_max), inflater }
    }

    /// Whether a frame with so much payload cannot fit any more.
    pub fn exceeds(&self, payload_bytes: u64, bytes_max: usize) -> bool {
        let left = bytes_max.saturating_sub(self.pieces.len());
        self.inflater.is_none() && payload_bytes > left as u64
    }

    /// Takes the next piece of a frame.
    pub fn push(
        &mut self,
        mut piece: &[u8],
        payload: &mut Payload,
        deflate: Option<&Deflate>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if let (Some(inflater), Some(deflate)) = (&mut self.inflater, deflate) {
            for part in piece.chunks(UNMASKED_BYTES_MAX) {
                scratch.clear();
                payload.unmask_into(part, scratch);
                inflater.inflate(scratch, deflate, &mut self.pieces)?;
            }
            return Ok(());
        }
        while !piece.is_empty() {
            let out = self.pieces.room(payload.count(usize::MAX))?;
            let count = piece.len().min(out.capacity() - out.len());
            let (part, rest) = piece.split_at(count);
            payload.unmask_into(part, out);
            piece = rest;
        }
        self.pieces.check()
    }

    /// The last frame is complete: gives the message, in `whole`.
    pub fn finish(
        mut self,
        deflate: Option<&mut Deflate>,
        pool: &mut Pool,
        whole: &mut Vec<u8>,
    ) -> Result<MessageKind, Failure> {
        match (self.inflater.take(), deflate) {
            (Some(mut inflater), Some(deflate)) => {
                inflater.finish(deflate, &mut self.pieces)?;
                let kind = self.pieces.finish(whole)?;
                deflate.inflated(whole, inflater, pool);
                Ok(kind)
            }
            _ => self.pieces.finish(whole),
        }
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
