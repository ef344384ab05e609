//! Body bytes that have come and that the application has not taken.
//!
//! What comes in one piece, as most bodies do, is copied once; further pieces are joined.

use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::settings::READ_BYTES;

#[derive(Debug, Default)]
pub enum Inbox {
    #[default]
    Empty,
    /// `bytes`.
    Piece(Object, usize),
    Joined(Vec<u8>),
}

impl Inbox {
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Piece(_, length) => *length,
            Self::Joined(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, data: &[u8]) -> Result<(), Raised> {
        *self = match std::mem::take(self) {
            Self::Empty => Self::Piece(text::bytes(data)?, data.len()),
            Self::Piece(piece, _) => {
                let piece = text::as_bytes(&piece).unwrap_or_default();
                // Room for what one read brings, so that its pieces are moved once.
                let mut bytes = Vec::with_capacity(READ_BYTES.max(piece.len() + data.len()));
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(data);
                Self::Joined(bytes)
            }
            Self::Joined(mut bytes) => {
                bytes.extend_from_slice(data);
                Self::Joined(bytes)
            }
        };
        Ok(())
    }

    /// Everything as `bytes`, `None` when there is nothing.
    pub fn take(&mut self) -> Result<Option<Object>, Raised> {
        match std::mem::take(self) {
            Self::Empty => Ok(None),
            Self::Piece(piece, _) => Ok(Some(piece)),
            Self::Joined(bytes) => text::bytes(&bytes).map(Some),
        }
    }
}
