//! What a connection has to send: bytes of its own, and between them large ones that others have,
//! and parts of files.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use pronghorn_proto::event::{Payload, Transmit};

use crate::ffi::ring::Parts;
use crate::file::{FilePart, Truncated};
use crate::settings::{
    COPIED_PAYLOAD_BYTES_MAX, FILE_BYTES_PER_TURN, FILE_READ_BYTES, HIGH_WATER_BYTES,
    SENT_PIECES_MAX,
};
use crate::transport::Transport;

/// Room for so many parts is kept for those to come.
const PARTS_KEPT: usize = 4;

/// Bytes and files to send, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// What is elsewhere, each behind so many bytes of its own that wait between it and the part
    /// before it. Nothing here is counted by walking the parts: there may be thousands.
    parts: VecDeque<(usize, Part)>,
    /// Where the bytes begin that follow the last part.
    tail: usize,
    /// What is in all parts.
    elsewhere: u128,
}

#[derive(Debug)]
enum Part {
    Bytes(Bytes),
    File(FilePart),
}

impl Outbox {
    /// Bytes that wait, those of files included.
    pub fn unsent(&self) -> usize {
        let own = self.bytes.len() - self.sent;
        own.saturating_add(usize::try_from(self.elsewhere).unwrap_or(usize::MAX))
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent && self.parts.is_empty()
    }

    /// The bytes of its own that wait, up to what is elsewhere.
    fn waiting(&self) -> &[u8] {
        let end = self.parts.front().map_or(self.bytes.len(), |(own, _)| self.sent + own);
        &self.bytes[self.sent..end]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes that somebody keeps.
    pub fn push_kept(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.elsewhere += bytes.len() as u128;
            self.push_part(Part::Bytes(bytes));
        }
    }

    fn push_file(&mut self, file: FilePart) {
        self.elsewhere += u128::from(file.remaining());
        self.push_part(Part::File(file));
    }

    fn push_part(&mut self, part: Part) {
        let before = if self.parts.is_empty() { self.sent } else { self.tail };
        self.tail = self.bytes.len();
        self.parts.push_back((self.tail - before, part));
    }

    /// So many of the bytes that wait have gone, none of them a file's.
    pub fn advance(&mut self, mut count: usize) {
        loop {
            let own = self.waiting().len().min(count);
            self.sent += own;
            count -= own;
            let Some((before, part)) = self.parts.front_mut() else { break };
            *before -= own;
            let Part::Bytes(bytes) = part else { break };
            if count == 0 {
                break;
            }
            let kept = bytes.len().min(count);
            bytes.advance(kept);
            count -= kept;
            self.elsewhere -= kept as u128;
            if bytes.is_empty() {
                self.parts.pop_front();
            }
        }
        self.forget_sent();
    }

    /// Gives the kernel what it takes, of files only so much in one turn, and tells how much.
    pub fn flush(&mut self, transport: &mut Transport) -> Result<usize, Truncated> {
        let mut total = 0_usize;
        let mut budget = FILE_BYTES_PER_TURN;
        while !self.is_empty() {
            if self.waiting().is_empty()
                && let Some((_, Part::File(part))) = self.parts.front_mut()
            {
                let before = part.remaining();
                let outcome = transport.send_file(part, budget);
                self.elsewhere -= u128::from(before - part.remaining());
                let sent = outcome?;
                total = total.saturating_add(usize::try_from(sent).unwrap_or(usize::MAX));
                budget -= sent.min(budget);
                if part.remaining() > 0 {
                    break;
                }
                self.parts.pop_front();
                self.forget_sent();
            } else {
                let (sent, is_partial) = self.flush_bytes(transport);
                total = total.saturating_add(sent);
                if is_partial {
                    break;
                }
            }
        }
        Ok(total)
    }

    /// Gives the kernel what it takes of the next pieces, up to a file. Tells how much, and whether
    /// that was not all of them.
    fn flush_bytes(&mut self, transport: &mut Transport) -> (usize, bool) {
        let (mut slices, follows) = self.pieces();
        let all = slices.iter().map(|slice| slice.len()).sum();
        let sent = transport.send_all(&mut slices, follows);
        drop(slices);
        self.advance(sent);
        (sent, sent < all)
    }

    /// The next pieces that one call can send, up to a file, and whether something follows them.
    pub fn pieces(&self) -> (Parts<'_>, bool) {
        let mut slices = Parts::new();
        let mut position = self.sent;
        let mut follows = self.parts.len() > SENT_PIECES_MAX;
        for (own, part) in self.parts.iter().take(SENT_PIECES_MAX) {
            slices.push(IoSlice::new(&self.bytes[position..position + own]));
            position += own;
            match part {
                Part::Bytes(bytes) => slices.push(IoSlice::new(bytes)),
                Part::File(_) => {
                    follows = true;
                    break;
                }
            }
        }
        if !follows {
            slices.push(IoSlice::new(&self.bytes[position..]));
        }
        (slices, follows)
    }

    /// Reads what of files is among the next `bytes_min` bytes, and more, as far as the budget goes.
    pub fn read_files(&mut self, bytes_min: usize, budget: &mut u64) -> Result<(), Truncated> {
        let (mut index, mut ahead) = (0, 0);
        while let Some((own, part)) = self.parts.get_mut(index) {
            ahead += *own;
            if ahead >= bytes_min {
                break;
            }
            match part {
                Part::Bytes(bytes) => ahead += bytes.len(),
                Part::File(_) if *budget == 0 => break,
                Part::File(file) => {
                    let count = file.remaining().min(*budget).min(FILE_READ_BYTES);
                    let piece = file.read_piece(usize::try_from(count).unwrap_or(usize::MAX))?;
                    ahead += piece.len();
                    *budget -= (piece.len() as u64).min(*budget);
                    let read = Part::Bytes(piece.into());
                    if file.remaining() == 0 {
                        *part = read;
                    } else {
                        let own = std::mem::take(own);
                        self.parts.insert(index, (own, read));
                    }
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// The next bytes, as many as are in one piece.
    pub fn first(&self) -> &[u8] {
        match self.parts.front() {
            Some((0, Part::Bytes(bytes))) => bytes,
            _ => self.waiting(),
        }
    }

    /// Copies the next bytes, up to a file, to where they are in one piece: so many that it is full,
    /// or a multiple of `unit` if at least one more of these comes without being copied.
    pub fn join(&self, unit: usize, piece: &mut Vec<u8>) {
        let mut position = self.sent;
        for (own, part) in &self.parts {
            fill(piece, &self.bytes[position..position + own]);
            position += own;
            let Part::Bytes(bytes) = part else { return };
            let missing = piece.len().next_multiple_of(unit) - piece.len();
            if bytes.len() >= missing + unit {
                return fill(piece, &bytes[..missing]);
            }
            fill(piece, bytes);
        }
        fill(piece, &self.bytes[position..]);
    }

    fn forget_sent(&mut self) {
        if self.sent == self.bytes.len() && self.parts.is_empty() {
            self.bytes.clear();
            self.parts.shrink_to(PARTS_KEPT);
            self.sent = 0;
        } else if self.sent > HIGH_WATER_BYTES.max(self.bytes.len() / 2) {
            // Moved at most as often as the bytes have been halved, however many there are.
            self.bytes.drain(..self.sent);
            self.tail = self.tail.saturating_sub(self.sent);
            self.sent = 0;
        }
    }

    /// Where bytes go that follow all others.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The buffer, if nothing is in it.
    pub fn take_spare(&mut self) -> Option<Vec<u8>> {
        let is_spare = self.is_empty() && self.bytes.capacity() > 0;
        is_spare.then(|| {
            self.sent = 0;
            std::mem::take(&mut self.bytes)
        })
    }

    /// Gives it a buffer to write to, if it has none.
    pub fn lend(&mut self, spare: impl FnOnce() -> Option<Vec<u8>>) {
        if self.bytes.capacity() == 0
            && let Some(buffer) = spare()
        {
            self.bytes = buffer;
        }
    }
}

/// Adds as much as there is room for without growing.
fn fill(piece: &mut Vec<u8>, bytes: &[u8]) {
    let room = piece.capacity() - piece.len();
    piece.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Where a protocol writes.
pub struct Sink<'c> {
    outbox: &'c mut Outbox,
    /// What the next detached bytes are.
    file: Option<FilePart>,
}

impl<'c> Sink<'c> {
    pub fn new(outbox: &'c mut Outbox) -> Self {
        Self { outbox, file: None }
    }

    /// The same, where `Outbound::Detached` stands for `file`.
    pub fn with_file(self, file: FilePart) -> Self {
        Self { file: Some(file), ..self }
    }
}

impl Transmit for Sink<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.outbox.bytes
    }

    fn payload(&mut self, data: Payload<'_>) {
        let is_large = data.bytes.len() > COPIED_PAYLOAD_BYTES_MAX;
        match is_large.then(|| data.keep()).flatten() {
            Some(bytes) => self.outbox.push_kept(bytes),
            None => self.outbox.push(data.bytes),
        }
    }

    fn detached(&mut self, length: u64) {
        if let Some(file) = self.file.take().filter(|_| length > 0) {
            debug_assert_eq!(file.remaining(), length);
            self.outbox.push_file(file);
        }
    }
}
