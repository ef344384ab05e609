//! What a connection has to send: bytes, and parts of files between them.

use std::collections::VecDeque;

use pronghorn_proto::event::Transmit;

use crate::file::{FilePart, Truncated};
use crate::settings::{
    DIRECT_WRITE_BYTES_MIN, FILE_BYTES_PER_TURN, FILE_READ_BYTES, HIGH_WATER_BYTES,
};
use crate::transport::Transport;

/// Bytes and files to send, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Parts of files, each before the byte at its position.
    files: VecDeque<(usize, FilePart)>,
}

impl Outbox {
    /// Bytes that wait, those of files included.
    pub fn unsent(&self) -> usize {
        let files = self.files.iter().fold(0, |sum: u64, (_, part)| sum + part.remaining());
        (self.bytes.len() - self.sent).saturating_add(usize::try_from(files).unwrap_or(usize::MAX))
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent && self.files.is_empty()
    }

    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// The bytes that wait, up to a file.
    pub fn waiting(&self) -> &[u8] {
        let end = self.files.front().map_or(self.bytes.len(), |(position, _)| *position);
        &self.bytes[self.sent..end]
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes off what comes behind so many bytes, in front of any file.
    pub fn split_off(&mut self, at: usize) -> Vec<u8> {
        debug_assert!(self.files.is_empty());
        self.bytes.split_off((self.sent + at).min(self.bytes.len()))
    }

    /// So many of the bytes that wait have gone.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        self.forget_sent();
    }

    /// Gives the kernel what it takes, of files only so much in one turn, and tells how much.
    pub fn flush(&mut self, transport: &mut Transport) -> Result<usize, Truncated> {
        let mut total = 0;
        let mut budget = FILE_BYTES_PER_TURN;
        loop {
            let waiting = self.waiting();
            let sent = transport.send(waiting, &[], !self.files.is_empty());
            let is_partial = sent < waiting.len();
            self.sent += sent;
            total += sent;
            let Some((_, part)) = self.files.front_mut().filter(|_| !is_partial) else { break };
            let sent = transport.send_file(part, budget)?;
            total = total.saturating_add(usize::try_from(sent).unwrap_or(usize::MAX));
            budget -= sent.min(budget);
            if part.remaining() > 0 {
                break;
            }
            self.files.pop_front();
        }
        self.forget_sent();
        Ok(total)
    }

    /// Reads a piece of the next file, at most `budget`, to where it belongs among the bytes, for
    /// those who cannot send it from where it is. Tells how much.
    pub fn read_file(&mut self, budget: u64) -> Result<u64, Truncated> {
        let Some((position, part)) = self.files.front_mut() else { return Ok(0) };
        let count = part.remaining().min(budget).min(FILE_READ_BYTES);
        let mut piece = vec![0; usize::try_from(count).unwrap_or_default()];
        let count = part.read(&mut piece)?;
        let position = *position;
        if part.remaining() == 0 {
            self.files.pop_front();
        }
        self.bytes.splice(position..position, piece.drain(..count));
        for (position, _) in &mut self.files {
            *position += count;
        }
        Ok(count as u64)
    }

    fn forget_sent(&mut self) {
        if self.sent == self.bytes.len() && self.files.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > HIGH_WATER_BYTES.max(self.bytes.len() / 2) {
            // Moved at most as often as the bytes have been halved, however many there are.
            self.bytes.drain(..self.sent);
            for (position, _) in &mut self.files {
                *position -= self.sent;
            }
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

/// Where a protocol writes: an outbox, and a way past it for large payloads.
pub struct Sink<'c> {
    outbox: &'c mut Outbox,
    past: Past<'c>,
    /// What the next detached bytes are.
    file: Option<FilePart>,
}

enum Past<'c> {
    /// To the socket, with what waits in front.
    Socket(&'c mut Transport),
    /// To be sealed by the caller, straight from where it is: behind so many bytes of the outbox.
    Caller { offered: &'c [u8], at: Option<usize> },
    /// There is none.
    Closed,
}

impl<'c> Sink<'c> {
    /// Large payloads go to `transport`.
    pub fn direct(outbox: &'c mut Outbox, transport: &'c mut Transport) -> Self {
        Self { outbox, past: Past::Socket(transport), file: None }
    }

    /// Large payloads are copied, but for `offered` if that is one: `left_out` tells.
    pub fn indirect(outbox: &'c mut Outbox, offered: &'c [u8]) -> Self {
        let past = if offered.len() >= DIRECT_WRITE_BYTES_MIN {
            Past::Caller { offered, at: None }
        } else {
            Past::Closed
        };
        Self { outbox, past, file: None }
    }

    /// The same, where `Outbound::Detached` stands for `file`.
    pub fn with_file(self, file: FilePart) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Where in the outbox the offered payload belongs, if it was left out.
    pub fn left_out(&self) -> Option<usize> {
        match self.past {
            Past::Caller { at, .. } => at,
            Past::Socket(_) | Past::Closed => None,
        }
    }
}

impl Transmit for Sink<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.outbox.bytes
    }

    fn payload(&mut self, data: &[u8]) {
        let Self { outbox, past, .. } = self;
        let mut rest = data;
        let may_pass = data.len() >= DIRECT_WRITE_BYTES_MIN && outbox.files.is_empty();
        match past {
            Past::Socket(transport) if may_pass => {
                let waiting = outbox.waiting().len();
                let sent = transport.send(outbox.waiting(), data, false);
                let of_waiting = sent.min(waiting);
                rest = &data[sent - of_waiting..];
                outbox.advance(of_waiting);
            }
            Past::Caller { offered, at: at @ None } if may_pass && std::ptr::eq(*offered, data) => {
                *at = Some(outbox.waiting().len());
                return;
            }
            _ => {}
        }
        outbox.push(rest);
    }

    fn detached(&mut self, length: u64) {
        if let Some(file) = self.file.take().filter(|_| length > 0) {
            debug_assert_eq!(file.remaining(), length);
            self.outbox.files.push_back((self.outbox.bytes.len(), file));
        }
    }
}
