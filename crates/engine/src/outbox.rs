//! What a connection has to send: bytes, and parts of files between them.

use std::collections::VecDeque;

use pronghorn_proto::event::Transmit;

use crate::file::{FilePart, Truncated};
use crate::settings::{DIRECT_WRITE_BYTES_MIN, FILE_BYTES_PER_TURN, HIGH_WATER_BYTES};
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

    /// Gives the kernel what it takes, of files only so much in one turn, and tells how much.
    pub fn flush(&mut self, transport: &mut Transport) -> Result<usize, Truncated> {
        let mut total = 0;
        let mut budget = FILE_BYTES_PER_TURN;
        loop {
            let end = self.files.front().map_or(self.bytes.len(), |(position, _)| *position);
            let waiting = &self.bytes[self.sent..end];
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

    fn forget_sent(&mut self) {
        if self.sent == self.bytes.len() && self.files.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > HIGH_WATER_BYTES {
            self.bytes.drain(..self.sent);
            for (position, _) in &mut self.files {
                *position -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// The buffer, if nothing is in it.
    pub fn take_spare(&mut self) -> Option<Vec<u8>> {
        let is_spare = self.unsent() == 0 && self.bytes.capacity() > 0;
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

/// An outbox together with the socket that large payloads may go to directly.
pub struct Sink<'c> {
    outbox: &'c mut Outbox,
    transport: &'c mut Transport,
    /// What the next detached bytes are.
    file: Option<FilePart>,
}

impl<'c> Sink<'c> {
    pub fn new(outbox: &'c mut Outbox, transport: &'c mut Transport) -> Self {
        Self { outbox, transport, file: None }
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

    fn payload(&mut self, data: &[u8]) {
        let Self { outbox, transport, .. } = self;
        let mut rest = data;
        if data.len() >= DIRECT_WRITE_BYTES_MIN && outbox.files.is_empty() {
            let waiting = &outbox.bytes[outbox.sent..];
            let sent = transport.send(waiting, data, false);
            let of_waiting = sent.min(waiting.len());
            rest = &data[sent - of_waiting..];
            outbox.sent += of_waiting;
            outbox.forget_sent();
        }
        outbox.bytes.extend_from_slice(rest);
    }

    fn detached(&mut self, length: u64) {
        if let Some(file) = self.file.take().filter(|_| length > 0) {
            debug_assert_eq!(file.remaining(), length);
            self.outbox.files.push_back((self.outbox.bytes.len(), file));
        }
    }
}
