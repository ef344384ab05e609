//! What a stream has to send and `h2` has no room for.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

use crate::deadline::SlowReader;
use crate::event::Payload;
use crate::limits::Limits;

/// To copy so much costs less than what it takes for a payload to have two owners. What is copied is
/// put together with what is copied behind it: a piece of one byte costs its owner hundreds.
const COPIED_BYTES_MAX: usize = 1024;

/// What waits for room.
#[derive(Debug, Default)]
pub struct Queue {
    pieces: VecDeque<Piece>,
    /// Small pieces that follow all others.
    tail: Vec<u8>,
    bytes: u64,
    pub end: End,
    slow_reader: Option<SlowReader>,
}

#[derive(Debug)]
pub enum Piece {
    Bytes(Bytes),
    /// So many bytes that the caller has elsewhere.
    Detached(u64),
}

/// What follows the pieces that wait.
#[derive(Debug, Default)]
pub enum End {
    /// More of them.
    #[default]
    More,
    /// Fields, of which there may be more.
    Trailing(HeaderMap),
    /// Nothing.
    Last,
    /// These fields and nothing else.
    Trailers(HeaderMap),
}

impl Queue {
    pub fn push(&mut self, data: &Payload<'_>) {
        if data.bytes.len() <= COPIED_BYTES_MAX {
            if self.tail.is_empty() {
                // Often it is the only one.
                self.tail.reserve_exact(data.bytes.len());
            }
            self.tail.extend_from_slice(data.bytes);
        } else {
            self.end_tail();
            self.pieces.push_back(Piece::Bytes(data.to_bytes()));
        }
        self.count(data.bytes.len());
    }

    pub fn push_detached(&mut self, length: u64) {
        self.end_tail();
        self.pieces.push_back(Piece::Detached(length));
        self.count(usize::try_from(length).unwrap_or(usize::MAX));
    }

    /// Makes a piece of the small ones.
    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Piece::Bytes(std::mem::take(&mut self.tail).into()));
        }
    }

    /// What was pushed last is small, and may get company.
    pub fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is to go next. Small pieces go together.
    pub fn front(&mut self) -> Option<&mut Piece> {
        if self.pieces.is_empty() {
            self.end_tail();
        }
        self.pieces.front_mut()
    }

    /// What came first has gone.
    pub fn pop(&mut self) {
        self.pieces.pop_front();
    }

    /// So many bytes have gone.
    pub fn note_sent(&mut self, bytes: usize) {
        self.bytes -= bytes as u64;
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(reader) = &mut self.slow_reader {
            reader.count(bytes);
        }
    }

    /// Starts or ends the clock of a peer that takes too little.
    pub fn watch_reader(&mut self, now: Instant, limits: &Limits) {
        if self.is_empty() {
            self.slow_reader = None;
        } else {
            self.slow_reader.get_or_insert_with(|| SlowReader::new(now, limits, self.bytes));
        }
    }

    /// Until when the peer has time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.slow_reader.map(|reader| reader.until())
    }

    /// Whether the peer has taken too little for too long; else it gets another window.
    pub fn is_too_slow_a_reader(&mut self, now: Instant, limits: &Limits) -> bool {
        let Some(reader) = self.slow_reader.filter(|reader| reader.until() <= now) else {
            return false;
        };
        self.slow_reader = reader.renew(now, limits, self.bytes);
        self.slow_reader.is_none()
    }
}
