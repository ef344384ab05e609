//! Reads a request's body (RFC 9112, 6 and 7): counted or chunked, with trailers checked and dropped.

use crate::error::Reject;
use crate::event::{Inbound, Input};
use crate::head::Framing;
use crate::http1::syntax;
use crate::limits::Limits;

/// A body under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyReader {
    Length { remaining: u64 },
    Chunked { state: Chunk, extension_bytes: usize },
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size,
    Data { remaining: u64 },
    DataEnd,
    Trailer { bytes: usize },
}

impl BodyReader {
    /// `None` where the request has no body.
    pub fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::None => None,
            Framing::Length(remaining) => Some(Self::Length { remaining }),
            Framing::Chunked => Some(Self::Chunked { state: Chunk::Size, extension_bytes: 0 }),
        }
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length { remaining } => Some(*remaining),
            Self::Chunked { .. } => None,
        }
    }

    /// The next piece of the body, its end, or `None` when more bytes are needed.
    pub fn receive<'i>(
        &mut self,
        input: &mut Input<'i>,
        limits: &Limits,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        match self {
            Self::Length { remaining: 0 } => Ok(Some(Inbound::End)),
            Self::Length { remaining } => Ok(data(remaining, input)),
            Self::Chunked { state, extension_bytes } => {
                chunked(state, extension_bytes, input, limits)
            }
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
    extension_bytes: &mut usize,
    input: &mut Input<'i>,
    limits: &Limits,
) -> Result<Option<Inbound<'i>>, Reject> {
    loop {
        match state {
            Chunk::Size => {
                let Some(line) = chunk_line(input.rest(), limits)? else { return Ok(None) };
                *extension_bytes += line.extension_bytes;
                if *extension_bytes > limits.chunk_extension_bytes_max {
                    return Err(Reject::bad_request("chunk extensions too long"));
                }
                input.take(line.bytes);
                *state = match line.size {
                    0 => Chunk::Trailer { bytes: 0 },
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
                    input.take(2);
                    *state = Chunk::Size;
                }
                _ => return Err(Reject::bad_request("chunk data not followed by CRLF")),
            },
            Chunk::Trailer { bytes } => {
                let rest = input.rest();
                let line = syntax::line(rest, 0)?;
                let length = line.map_or(rest.len(), |(_, next)| next);
                if *bytes + length > limits.trailer_bytes_max {
                    return Err(Reject::with_status(431, "trailer section too long"));
                }
                let Some((line, next)) = line else {
                    syntax::check_incomplete(rest)?;
                    return Ok(None);
                };
                input.take(next);
                *bytes += next;
                if line.is_empty() {
                    return Ok(Some(Inbound::End));
                }
                syntax::field_line(line)?;
            }
        }
    }
}

struct ChunkLine {
    size: u64,
    extension_bytes: usize,
    bytes: usize,
}

/// `1*HEXDIG [ ";" extension ] CRLF`, `None` while incomplete. Looks at every byte: one LF or CR
/// that this reader skips and another takes for the line's end is a smuggled request.
fn chunk_line(rest: &[u8], limits: &Limits) -> Result<Option<ChunkLine>, Reject> {
    let malformed = Reject::bad_request("malformed chunk size");
    let digits = rest.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(rest.len());
    // 15 digits stay below 2^63.
    if digits > 15 {
        return Err(Reject::bad_request("chunk size too large"));
    }
    let extension = &rest[digits..];
    match extension.first() {
        None => return Ok(None),
        Some(_) if digits == 0 => return Err(malformed),
        Some(b';' | b'\r') => {}
        Some(_) => return Err(malformed),
    }
    let Some(length) =
        extension.iter().position(|&byte| byte != b'\t' && (byte < 0x20 || byte == 0x7f))
    else {
        return too_long(rest, limits);
    };
    match &extension[length..] {
        [b'\r'] => return too_long(rest, limits),
        [b'\r', b'\n', ..] => {}
        _ => return Err(Reject::bad_request("control byte in chunk extension")),
    }
    if digits + length > limits.chunk_line_bytes_max {
        return Err(Reject::bad_request("chunk line too long"));
    }
    let size = rest[..digits].iter().fold(0_u64, |size, &digit| {
        size << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default())
    });
    Ok(Some(ChunkLine { size, extension_bytes: length, bytes: digits + length + 2 }))
}

fn too_long(rest: &[u8], limits: &Limits) -> Result<Option<ChunkLine>, Reject> {
    if rest.len() > limits.chunk_line_bytes_max {
        return Err(Reject::bad_request("chunk line too long"));
    }
    Ok(None)
}
