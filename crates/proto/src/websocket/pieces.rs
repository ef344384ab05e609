//! The content of a message that does not come whole in one frame.
//!
//! It is kept in pieces, of which none is moved when more comes: all of them together never take more
//! than a message may have, and nobody can make the server reserve what has not come. A text is
//! checked as it grows (RFC 6455, 8.1).

use crate::error::Failure;

/// The smallest piece, for what inflates to little.
const PIECE_BYTES_MIN: usize = 1024;

/// No more than this is reserved for what is only announced.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// A piece of a long message has this part of what is there, so that there are never many.
const LONG_PIECE_DIVISOR: usize = 8;

pub const INVALID_UTF8: Failure = Failure::invalid_data("invalid UTF-8");

/// The two types of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    Binary,
}

/// What has come of a message.
#[derive(Debug)]
pub struct Pieces {
    kind: MessageKind,
    bytes_max: usize,
    full: Vec<Vec<u8>>,
    full_bytes: usize,
    last: Vec<u8>,
    /// As far as `last` is known to be UTF-8 if it is to be; at most three bytes are behind it.
    checked: usize,
}

impl Pieces {
    pub fn new(kind: MessageKind, bytes_max: usize) -> Self {
        Self { kind, bytes_max, full: Vec::new(), full_bytes: 0, last: Vec::new(), checked: 0 }
    }

    pub fn len(&self) -> usize {
        self.full_bytes + self.last.len()
    }

    /// A piece with room for at least a byte, and for `expected` if that is not too much. There is no
    /// more room than for one byte above the limit, which tells that it is exceeded.
    ///
    /// # Errors
    /// What is there is no UTF-8.
    pub fn room(&mut self, expected: usize) -> Result<&mut Vec<u8>, Failure> {
        if self.is_full() {
            self.check()?;
            let begun = self.last.split_off(self.checked_bytes());
            let left = self.bytes_max.saturating_add(1).saturating_sub(self.len() + begun.len());
            let wanted = expected
                .max(self.len())
                .clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
                .max(self.len() / LONG_PIECE_DIVISOR);
            let mut next = Vec::new();
            next.reserve_exact(begun.len() + wanted.min(left).max(1));
            next.extend_from_slice(&begun);
            let full = std::mem::replace(&mut self.last, next);
            self.checked = 0;
            self.full_bytes += full.len();
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        Ok(&mut self.last)
    }

    /// Whether `room` would have to make some.
    pub fn is_full(&self) -> bool {
        self.last.len() == self.last.capacity()
    }

    /// Whether there is more than there may be.
    pub fn is_too_big(&self) -> bool {
        self.len() > self.bytes_max
    }

    /// Checks what has come as soon as it is there.
    ///
    /// # Errors
    /// It is no UTF-8, or cannot become any.
    pub fn check(&mut self) -> Result<(), Failure> {
        if self.kind == MessageKind::Text {
            self.checked += match simdutf8::compat::from_utf8(&self.last[self.checked..]) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(INVALID_UTF8),
            };
        }
        Ok(())
    }

    /// How much of the last piece is not the beginning of a character.
    fn checked_bytes(&self) -> usize {
        match self.kind {
            MessageKind::Text => self.checked,
            MessageKind::Binary => self.last.len(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.full.iter().chain([&self.last]).map(Vec::as_slice)
    }

    /// Nothing more comes: gives the message, in `whole`.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn finish(mut self, whole: &mut Vec<u8>) -> Result<MessageKind, Failure> {
        self.check()?;
        if self.checked_bytes() < self.last.len() {
            return Err(INVALID_UTF8);
        }
        if self.full.is_empty() {
            *whole = self.last;
        } else {
            whole.clear();
            whole.reserve_exact(self.full_bytes + self.last.len());
            for piece in self.full.into_iter().chain([self.last]) {
                whole.extend_from_slice(&piece);
            }
        }
        Ok(self.kind)
    }
}
