//! Reads a request's body (RFC 9112, 6 and 7): counted or chunked, with trailers checked and dropped.

use crate::error::Reject;
use crate::event::{Inbound, Input};
use crate::head::Framing;
use crate::http1::syntax::{self, CRLF_BYTES, Section};
use crate::limits::Limits;

/// A body under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyReader {
    Length { remaining: u64 },
    Chunked { state: Chunk, received: Received },
}

/// What a chunked body has had so far of what is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    extension_bytes: usize,
    /// Those announced and still to come included.
    data_bytes: u64,
}

/// What comes next in a chunked body. `scanned` bytes of an incomplete line have been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size { scanned: usize },
    Data { remaining: u64 },
    DataEnd,
    Trailer { bytes: usize, scanned: usize },
}

impl BodyReader {
    /// `None` where the request has no body.
    pub fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::None => None,
            Framing::Length(remaining) => Some(Self::Length { remaining }),
            Framing::Chunked => {
                let state = Chunk::Size { scanned: 0 };
                Some(Self::Chunked { state, received: Received::default() })
            }
        }
    }

    /// Whether the rest costs less than a new connection.
    pub fn is_short(&self, limits: &Limits) -> bool {
        self.remaining().is_some_and(|bytes| bytes <= limits.drain_bytes_max)
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length { remaining } => Some(*remaining),
            Self::Chunked { .. } => None,
        }
    }

    /// The next piece of the body, its end, or `None` when more bytes are needed. Bytes that were
    /// not taken then come again, with more behind them.
    pub fn receive<'i>(
        &mut self,
        input: &mut Input<'i>,
        limits: &Limits,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        match self {
            Self::Length { remaining: 0 } => Ok(Some(Inbound::End)),
            Self::Length { remaining } => Ok(data(remaining, input)),
            Self::Chunked { state, received } => chunked(state, received, input, limits),
        }
    }
}

fn data<'i>(remaining: &mut u64, input: &mut Input<'i>) -> Option<Inbound<'i>> {
    let piece = input.take(usize::try_from(*remaining).unwrap_or(usize::MAX));
    *remaining -= piece.len() as u64;
    (!piece.is_empty()).then_some(Inbound::Body(piece))
}

fn chunked<'i>(
    state: &mut Chunk,
    received: &mut Received,
    input: &mut Input<'i>,
    limits: &Limits,
) -> Result<Option<Inbound<'i>>, Reject> {
    loop {
        match state {
            Chunk::Size { scanned } => {
                let bytes_max = limits.chunk_line_bytes_max.saturating_add(CRLF_BYTES);
                let too_long = Reject::bad_request("chunk line too long");
                let mut section = Section::new(input.rest(), 0, bytes_max, too_long);
                let Some(line) = section.line(scanned)? else { return Ok(None) };
                let (size, extension) = chunk_line(line)?;
                received.extension_bytes += extension.len();
                if received.extension_bytes > limits.chunk_extension_bytes_max {
                    return Err(Reject::bad_request("chunk extensions too long"));
                }
                received.data_bytes = received.data_bytes.saturating_add(size);
                if received.data_bytes > limits.body_bytes_max {
                    return Err(Reject::CONTENT_TOO_LARGE);
                }
                input.take(line.len() + CRLF_BYTES);
                *state = match size {
                    0 => Chunk::Trailer { bytes: 0, scanned: 0 },
                    remaining => Chunk::Data { remaining },
                };
            }
            Chunk::Data { remaining } => {
                let piece = data(remaining, input);
                if *remaining == 0 {
                    *state = Chunk::DataEnd;
                }
                return Ok(piece);
            }
            Chunk::DataEnd => match input.rest() {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => {
                    input.take(CRLF_BYTES);
                    *state = Chunk::Size { scanned: 0 };
                }
                _ => return Err(Reject::bad_request("chunk data not followed by CRLF")),
            },
            Chunk::Trailer { bytes, scanned } => {
                let bytes_max = limits.trailer_bytes_max.saturating_sub(*bytes);
                let too_long = Reject::with_status(431, "trailer section too long");
                let mut section = Section::new(input.rest(), 0, bytes_max, too_long);
                let Some(line) = section.line(scanned)? else { return Ok(None) };
                if line.is_empty() {
                    input.take(CRLF_BYTES);
                    return Ok(Some(Inbound::End));
                }
                syntax::field_line(line)?;
                *bytes += input.take(line.len() + CRLF_BYTES).len();
            }
        }
    }
}

/// Splits `1*HEXDIG [ ";" extension ]` (RFC 9112, 7.1). The white space that the RFC would have a
/// lenient reader skip is refused, as nobody honest sends it.
fn chunk_line(line: &[u8]) -> Result<(u64, &[u8]), Reject> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extension) = line.split_at(digits);
    if digits.is_empty() || !matches!(extension, [] | [b';', ..]) {
        return Err(Reject::bad_request("malformed chunk size"));
    }
    // 15 digits stay below 2^63.
    if digits.len() > 15 {
        return Err(Reject::bad_request("chunk size too large"));
    }
    let size = digits.iter().fold(0, |size, &digit| {
        size << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default())
    });
    Ok((size, extension))
}
