//! permessage-deflate (RFC 7692): what was agreed on, and codecs that many WebSockets share.
//!
//! A codec takes 50 to 200 KiB, and what one remembers between two messages is its window: the last
//! bytes that went through it. So a WebSocket keeps only its windows (4 KiB each, as agreed on by
//! default) and borrows a codec for the length of a message. The `Pool` lends it the one that it had
//! last, if no other needed that meanwhile; else one that is given the window first.

use std::collections::VecDeque;
use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::Failure;
use crate::websocket::pieces::Pieces;

/// Bits of the largest window that there is (RFC 7692, 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;

/// zlib makes no window of 256 bytes.
pub const WINDOW_BITS_MIN: u8 = 9;

/// What a message's last bytes are left out as (RFC 7692, 7.2.1).
const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateLimits {
    /// Bits of the largest window in either direction, 9 to 15.
    pub window_bits: u8,
    /// Messages may refer to those before them.
    pub context_takeover: bool,
    /// Codecs of each kind that wait for their next message.
    pub codecs_max: usize,
}

impl Default for DeflateLimits {
    fn default() -> Self {
        Self { window_bits: 12, context_takeover: true, codecs_max: 16 }
    }
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub server_context_takeover: bool,
    pub client_context_takeover: bool,
    pub server_window_bits: u8,
    /// `None` for a client that did not offer to limit it.
    pub client_window_bits: Option<u8>,
}

impl Agreement {
    /// Answers one offer's parameters (RFC 7692, 7.1); `None` declines it.
    pub fn answer<'o>(
        offer: impl Iterator<Item = (&'o [u8], Option<&'o [u8]>)>,
        limits: &DeflateLimits,
    ) -> Option<Self> {
        let mut agreement = Self {
            server_context_takeover: limits.context_takeover,
            client_context_takeover: limits.context_takeover,
            server_window_bits: limits.window_bits,
            client_window_bits: None,
        };
        let mut seen = [false; 4];
        for (name, value) in offer {
            let index = match (name, value) {
                (b"server_no_context_takeover", None) => {
                    agreement.server_context_takeover = false;
                    0
                }
                (b"client_no_context_takeover", None) => {
                    agreement.client_context_takeover = false;
                    1
                }
                (b"server_max_window_bits", Some(value)) => {
                    let bits = window_bits(value).filter(|&bits| bits >= WINDOW_BITS_MIN)?;
                    agreement.server_window_bits = bits.min(limits.window_bits);
                    2
                }
                (b"client_max_window_bits", value) => {
                    let bits = value.map_or(Some(WINDOW_BITS_MAX), window_bits)?;
                    agreement.client_window_bits = Some(bits.min(limits.window_bits));
                    3
                }
                _ => return None,
            };
            if std::mem::replace(&mut seen[index], true) {
                return None;
            }
        }
        Some(agreement)
    }
}

/// The extension as the response names it.
impl fmt::Display for Agreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("permessage-deflate")?;
        if !self.server_context_takeover {
            formatter.write_str("; server_no_context_takeover")?;
        }
        if !self.client_context_takeover {
            formatter.write_str("; client_no_context_takeover")?;
        }
        if self.server_window_bits < WINDOW_BITS_MAX {
            write!(formatter, "; server_max_window_bits={}", self.server_window_bits)?;
        }
        match self.client_window_bits {
            Some(bits) => write!(formatter, "; client_max_window_bits={bits}"),
            None => Ok(()),
        }
    }
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The last bytes that went one way; none if messages do not refer to those before them.
#[derive(Debug)]
struct Window {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Window {
    fn new(bits: u8, context_takeover: bool) -> Self {
        Self { bytes: Vec::new(), bytes_max: if context_takeover { 1 << bits } else { 0 } }
    }

    fn push(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(self.bytes_max)..];
        let kept = self.bytes.len().min(self.bytes_max - data.len());
        self.bytes.drain(..self.bytes.len() - kept);
        self.bytes.reserve_exact(data.len());
        self.bytes.extend_from_slice(data);
    }
}

/// One WebSocket's side of it.
#[derive(Debug)]
pub struct Deflate {
    /// By which the pool knows the codecs that this one had last.
    owner: u64,
    server_window_bits: u8,
    sent: Window,
    received: Window,
}

impl Deflate {
    #[must_use]
    pub fn new(agreement: &Agreement, pool: &mut Pool) -> Self {
        pool.owners += 1;
        let client_window_bits = agreement.client_window_bits.unwrap_or(WINDOW_BITS_MAX);
        Self {
            owner: pool.owners,
            server_window_bits: agreement.server_window_bits,
            sent: Window::new(agreement.server_window_bits, agreement.server_context_takeover),
            received: Window::new(client_window_bits, agreement.client_context_takeover),
        }
    }

    /// Appends what stands for the message `data` to `out`.
    pub fn compress(&mut self, data: &[u8], pool: &mut Pool, out: &mut Vec<u8>) {
        let mut compressor = pool.compressor(self);
        out.reserve(data.len() + data.len() / 256 + 64);
        let before = compressor.total_in();
        loop {
            let consumed = usize::try_from(compressor.total_in() - before).unwrap_or(data.len());
            let rest = data.get(consumed..).unwrap_or_default();
            // With room to spare it has taken all, and written all that it has.
            let status = compressor.compress_vec(rest, out, FlushCompress::Sync);
            if status.is_err() || out.len() < out.capacity() {
                break;
            }
            out.reserve(data.len() / 8 + 64);
        }
        debug_assert!(out.ends_with(TAIL));
        out.truncate(out.len() - TAIL.len());
        self.sent.push(data);
        pool.compressors.keep(self.owner, (self.server_window_bits, compressor));
    }

    /// A codec for the message that begins.
    pub fn inflater(&self, pool: &mut Pool) -> Inflater {
        Inflater(pool.decompressor(self))
    }

    /// The message has been inflated to `data`.
    pub fn inflated(&mut self, data: &[u8], inflater: Inflater, pool: &mut Pool) {
        self.received.push(data);
        pool.decompressors.keep(self.owner, inflater.0);
    }
}

/// Inflates one message.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Inflater {
    /// Appends what `compressed` stands for to `out`, which holds all of the message so far.
    ///
    /// # Errors
    /// It is too long, or no such data.
    pub fn inflate(
        &mut self,
        compressed: &[u8],
        deflate: &Deflate,
        out: &mut Pieces,
    ) -> Result<(), Failure> {
        let result = self.inflate_unchecked(compressed, deflate, out);
        // A text that is no UTF-8 is so before it ends otherwise, however its bytes have come.
        out.check()?;
        result
    }

    fn inflate_unchecked(
        &mut self,
        mut compressed: &[u8],
        deflate: &Deflate,
        out: &mut Pieces,
    ) -> Result<(), Failure> {
        loop {
            let room = out.room(0)?;
            let before = self.0.total_in();
            let status = self
                .0
                .decompress_vec(compressed, room, FlushDecompress::None)
                .map_err(|_| Failure::protocol_error("decompression failed"))?;
            if out.is_too_big() {
                return Err(Failure::too_big());
            }
            let consumed = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            compressed = compressed.get(consumed..).unwrap_or_default();
            match status {
                // A block with BFINAL ends the codec's stream and not the message (7.2.3.4).
                Status::StreamEnd => self.begin_again(deflate, out)?,
                Status::BufError if consumed == 0 && !out.is_full() => return Ok(()),
                Status::Ok | Status::BufError => {}
            }
            if compressed.is_empty() && !out.is_full() {
                return Ok(());
            }
        }
    }

    /// The message has no more bytes.
    ///
    /// # Errors
    /// As `inflate`.
    pub fn finish(&mut self, deflate: &Deflate, out: &mut Pieces) -> Result<(), Failure> {
        self.inflate(TAIL, deflate, out)
    }

    fn begin_again(&mut self, deflate: &Deflate, inflated: &Pieces) -> Result<(), Failure> {
        let mut window = Window::new(WINDOW_BITS_MAX, true);
        window.push(&deflate.received.bytes);
        for piece in inflated.iter() {
            window.push(piece);
        }
        restore(&mut self.0, &window.bytes)
    }
}

fn restore(decompress: &mut Decompress, window: &[u8]) -> Result<(), Failure> {
    decompress.reset(false);
    if !window.is_empty() {
        decompress
            .set_dictionary(window)
            .map_err(|_| Failure::protocol_error("decompression failed"))?;
    }
    Ok(())
}

/// Codecs between two messages, for every `WebSocket` of a server.
#[derive(Debug)]
pub struct Pool {
    owners: u64,
    compressors: Spares<(u8, Compress)>,
    decompressors: Spares<Decompress>,
}

impl Pool {
    #[must_use]
    pub fn new(codecs_max: usize) -> Self {
        Self {
            owners: 0,
            compressors: Spares::new(codecs_max),
            decompressors: Spares::new(codecs_max),
        }
    }

    fn compressor(&mut self, deflate: &Deflate) -> Compress {
        let bits = deflate.server_window_bits;
        let mut compressor = match self.compressors.take(deflate.owner, |(own, _)| *own == bits) {
            Some((true, (_, compressor))) if deflate.sent.bytes_max > 0 => return compressor,
            Some((_, (_, mut compressor))) => {
                compressor.reset();
                compressor
            }
            None => Compress::new_with_window_bits(Compression::default(), false, bits),
        };
        if !deflate.sent.bytes.is_empty() {
            // Without its window it would only compress less.
            let _ = compressor.set_dictionary(&deflate.sent.bytes);
        }
        compressor
    }

    fn decompressor(&mut self, deflate: &Deflate) -> Decompress {
        let mut decompressor = match self.decompressors.take(deflate.owner, |_| true) {
            Some((true, decompressor)) if deflate.received.bytes_max > 0 => return decompressor,
            Some((_, decompressor)) => decompressor,
            None => Decompress::new_with_window_bits(false, WINDOW_BITS_MAX),
        };
        if restore(&mut decompressor, &deflate.received.bytes).is_err() {
            // Messages that refer to the window will fail with it missing.
            decompressor.reset(false);
        }
        decompressor
    }
}

/// What was given back, the longest unused first.
#[derive(Debug)]
struct Spares<T> {
    spares: VecDeque<(u64, T)>,
    count_max: usize,
}

impl<T> Spares<T> {
    fn new(count_max: usize) -> Self {
        Self { spares: VecDeque::new(), count_max }
    }

    /// What `owner` gave back, or else another that will do once there are enough. Tells which.
    fn take(&mut self, owner: u64, will_do: impl Fn(&T) -> bool) -> Option<(bool, T)> {
        let own = self.spares.iter().position(|(other, _)| *other == owner);
        if let Some(index) = own {
            return self.spares.remove(index).map(|(_, spare)| (true, spare));
        }
        if self.spares.len() < self.count_max {
            return None;
        }
        let other = self.spares.iter().position(|(_, spare)| will_do(spare))?;
        self.spares.remove(other).map(|(_, spare)| (false, spare))
    }

    fn keep(&mut self, owner: u64, spare: T) {
        if self.spares.len() >= self.count_max {
            self.spares.pop_front();
        }
        if self.count_max > 0 {
            self.spares.push_back((owner, spare));
        }
    }
}
