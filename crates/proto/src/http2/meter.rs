//! Reads the frame headers that go by, for two things that `h2` does not tell: which streams frames
//! were for, and how many frames came that cost much and carry nothing.
//!
//! Such frames are paid for from a budget that time and honest work fill again. A peer that has used
//! it up is told `ENHANCE_YOUR_CALM` (RFC 9113, 10.5).

use std::time::{Duration, Instant};

const HEADER_BYTES: usize = 9;
// Frame types (RFC 9113, 6) and flags.
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// What padding takes at the most, its length included (RFC 9113, 6.1).
const PADDING_BYTES_MAX: usize = 256;

/// Larger than this no window may become (RFC 9113, 6.9.1).
pub const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// What a connection starts with and never exceeds.
const BUDGET_MAX: u32 = 1000;

/// What a second gives back: a client that pings for every round trip, or reprioritises a page.
const BUDGET_PER_SECOND: u32 = 100;

/// Payload bytes, in either direction, that give one unit back.
const BYTES_PER_UNIT: usize = 1024;

/// What a stream costs that the peer takes back: an application may have been started for it.
const RESET_COST: u32 = 5;

/// What a request that is answered gives back.
const ANSWER_WORTH: u32 = RESET_COST;

/// See the module.
#[derive(Debug)]
pub struct Meter {
    /// Of the client's preface (RFC 9113, 3.4), still to come.
    preface_bytes: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Of the present frame's payload, still to come.
    payload_bytes: usize,
    /// The last bytes of it, as a number.
    payload_end: u32,
    stream_max: u32,
    /// A header block has begun and not ended.
    is_in_headers: bool,
    head_since: Option<Instant>,
    budget: u32,
    refilled: Instant,
    earned_bytes: usize,
}

/// What of answers had room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub bytes: usize,
    /// So many of the pieces that an application sent are gone with them.
    pub pieces: usize,
}

/// What a frame was, once it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Something for a stream that has been open before.
    Stream(u32),
    /// The peer takes a stream back.
    Reset(u32),
    /// It may be sent so many bytes more.
    Window(u32, u32),
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

impl Meter {
    pub fn new(now: Instant) -> Self {
        Self {
            preface_bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(),
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            payload_bytes: 0,
            payload_end: 0,
            stream_max: 0,
            is_in_headers: false,
            head_since: None,
            budget: BUDGET_MAX,
            refilled: now,
            earned_bytes: 0,
        }
    }

    /// Since when something has been coming that is no body: a header block, a frame, the preface.
    pub fn head_since(&mut self, now: Instant) -> Option<Instant> {
        let is_data = self.header_bytes == HEADER_BYTES && self.header[3] == DATA;
        let is_in_head = self.is_in_headers || self.header_bytes > 0 && !is_data;
        self.head_since = is_in_head.then(|| self.head_since.unwrap_or(now));
        self.head_since
    }

    /// A request has been answered.
    pub fn answered(&mut self) {
        self.earn(ANSWER_WORTH);
    }

    /// Windows had room for some of an answer. Some clients return each piece's window by itself,
    /// twice. What waits for room earns nothing yet: it would be lost beyond what the budget holds,
    /// and the windows that it takes are still to be paid for.
    pub fn sent(&mut self, sent: Sent) {
        self.earn(u32::try_from(2 * sent.pieces).unwrap_or(BUDGET_MAX));
        self.moved(sent.bytes);
    }

    fn moved(&mut self, bytes: usize) {
        self.earned_bytes += bytes;
        self.earn(u32::try_from(self.earned_bytes / BYTES_PER_UNIT).unwrap_or(BUDGET_MAX));
        self.earned_bytes %= BYTES_PER_UNIT;
    }

    fn earn(&mut self, units: u32) {
        self.budget = self.budget.saturating_add(units).min(BUDGET_MAX);
    }

    /// Reads what has come and calls `frame` for each that is whole and of interest.
    pub fn read(
        &mut self,
        now: Instant,
        mut bytes: &[u8],
        mut frame: impl FnMut(Frame),
    ) -> Result<(), Flood> {
        self.refill(now);
        bytes = &bytes[skip(&mut self.preface_bytes, bytes)..];
        while !bytes.is_empty() {
            if self.header_bytes < HEADER_BYTES {
                let count = bytes.len().min(HEADER_BYTES - self.header_bytes);
                let (part, rest) = bytes.split_at(count);
                self.header[self.header_bytes..self.header_bytes + count].copy_from_slice(part);
                self.header_bytes += count;
                bytes = rest;
                if self.header_bytes < HEADER_BYTES {
                    return Ok(());
                }
                let [high, middle, low, ..] = self.header;
                self.payload_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.charge()?;
            }
            let (payload, rest) = bytes.split_at(skip(&mut self.payload_bytes, bytes));
            bytes = rest;
            if self.header[3] == WINDOW_UPDATE {
                let shift = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
                self.payload_end = payload.iter().fold(self.payload_end, shift);
            }
            if self.payload_bytes == 0 {
                self.header_bytes = 0;
                if !self.is_in_headers {
                    self.head_since = None;
                }
                self.ended().into_iter().for_each(&mut frame);
            }
        }
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        if passed >= Duration::from_secs(1) {
            let seconds = u32::try_from(passed.as_secs()).unwrap_or(BUDGET_MAX);
            self.earn(seconds.saturating_mul(BUDGET_PER_SECOND));
            self.refilled = now;
        }
    }

    /// Pays for the frame whose header is there.
    fn charge(&mut self) -> Result<(), Flood> {
        let [.., kind, flags, _, _, _, _] = self.header;
        let cost = match kind {
            DATA => {
                let padding = if flags & PADDED == 0 { 0 } else { PADDING_BYTES_MAX };
                let carried = self.payload_bytes.saturating_sub(padding);
                self.moved(carried);
                // What it carries pays for it, even if that is only the end.
                u32::from(carried == 0 && flags & END_STREAM == 0)
            }
            // HEADERS: `h2` bounds streams and header lists.
            HEADERS => 0,
            RST_STREAM => RESET_COST,
            // PRIORITY, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, and what is not known.
            _ => 1,
        };
        self.budget = self.budget.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }

    /// Notes the frame that is whole now.
    fn ended(&mut self) -> Option<Frame> {
        let [.., kind, flags, first, second, third, fourth] = self.header;
        let number = u32::from_be_bytes([first & 0x7f, second, third, fourth]);
        let is_new = number > self.stream_max;
        match kind {
            HEADERS => {
                self.is_in_headers = flags & END_HEADERS == 0;
                self.stream_max = self.stream_max.max(number);
                (!is_new).then_some(Frame::Stream(number))
            }
            CONTINUATION => {
                self.is_in_headers = flags & END_HEADERS == 0;
                Some(Frame::Stream(number))
            }
            RST_STREAM => Some(Frame::Reset(number)),
            // The highest bit is reserved (RFC 9113, 6.9).
            WINDOW_UPDATE if number > 0 => {
                Some(Frame::Window(number, self.payload_end & WINDOW_BYTES_MAX))
            }
            _ => (number > 0).then_some(Frame::Stream(number)),
        }
    }
}

/// Takes what is there of `missing` bytes, and tells how much that was.
fn skip(missing: &mut usize, bytes: &[u8]) -> usize {
    let count = bytes.len().min(*missing);
    *missing -= count;
    count
}
