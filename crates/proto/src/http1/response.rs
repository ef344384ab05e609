//! Writes a response's head and frames its body (RFC 9112, 4, 6 and 7).
//!
//! The head stays open until the first body message or a flush, because only then is it known
//! whether the length can be told. Header lines are lower case and in the application's order.

use crate::error::{ApplicationError, Reject};
use crate::event::{Payload, Transmit, Tunnel};
use crate::http1::status::{reason_phrase, status_line};
use crate::http1::syntax;

/// What the application's header fields said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    pub content_length: Option<u64>,
    /// A `connection` field with `close` has been written.
    pub closes: bool,
}

/// How the body of an answered request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyWriter {
    /// HEAD: whatever the application sends is dropped.
    Dropped,
    /// 204 and 304 (RFC 9110, 15.3.5 and 15.4.5): it may send nothing.
    Forbidden,
    Length {
        remaining: u64,
    },
    Chunked,
    UntilClose,
}

/// Writes status line, default lines and the application's fields; leaves the head open.
pub fn open_head(
    status: u16,
    defaults: &[u8],
    headers: &[(&[u8], &[u8])],
    out: &mut Vec<u8>,
) -> Result<Declared, ApplicationError> {
    if !(200..=999).contains(&status) {
        return Err(ApplicationError::InvalidStatus);
    }
    let start = out.len();
    status_line(status, out);
    out.extend_from_slice(defaults);
    let mut declared = Declared::default();
    for (name, value) in headers {
        if let Err(error) = header_line(status, name, value, &mut declared, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(declared)
}

/// Writes the whole head that switches protocols (RFC 9110, 15.2.2).
pub fn switch_protocols(
    tunnel: &Tunnel<'_>,
    defaults: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ApplicationError> {
    let start = out.len();
    status_line(101, out);
    for (name, value) in tunnel.first {
        own_line(name, value, out);
    }
    out.extend_from_slice(defaults);
    for (name, value) in tunnel.headers {
        if let Err(error) = write_field_line(name, value, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    if let Some((name, value)) = tunnel.last {
        own_line(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// A line that is well-formed by itself, in the letters that it comes in.
fn own_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Ends the head with the fields that frame the body.
pub fn close_head(framing: BodyWriter, length_declared: bool, closes: bool, out: &mut Vec<u8>) {
    if closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    match framing {
        BodyWriter::Length { remaining } if !length_declared => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(remaining).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        BodyWriter::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// What a refused request is answered with.
pub fn refusal_text(reject: Reject) -> &'static str {
    reject.text.unwrap_or(match reject.status {
        400 => "Invalid HTTP request received.",
        status => reason_phrase(status),
    })
}

/// Writes the whole answer to a refused request, as Uvicorn words it. HEAD gets no body.
pub fn refusal(reject: Reject, defaults: &[u8], head_request: bool, out: &mut Vec<u8>) {
    let body = refusal_text(reject);
    status_line(reject.status, out);
    out.extend_from_slice(defaults);
    out.extend_from_slice(b"content-type: text/plain; charset=utf-8\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
    if !head_request {
        out.extend_from_slice(body.as_bytes());
    }
}

/// A piece of a body: bytes, or so many of them that are elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    Bytes(Payload<'a>),
    Detached(u64),
}

impl Piece<'_> {
    pub fn len(self) -> u64 {
        match self {
            Self::Bytes(data) => data.bytes.len() as u64,
            Self::Detached(length) => length,
        }
    }

    fn write(self, out: &mut impl Transmit) {
        match self {
            Self::Bytes(data) => out.payload(data),
            Self::Detached(length) => out.detached(length),
        }
    }
}

impl BodyWriter {
    /// Whether a piece of so many bytes is to be sent.
    ///
    /// # Errors
    /// The application breaks its own declaration.
    pub fn admit(&mut self, bytes: u64, more: bool) -> Result<bool, ApplicationError> {
        match self {
            Self::Forbidden if bytes > 0 => Err(ApplicationError::BodyTooLong),
            Self::Dropped | Self::Forbidden => Ok(false),
            Self::Length { remaining } => {
                let rest = remaining.checked_sub(bytes);
                let rest = rest.ok_or(ApplicationError::BodyTooLong)?;
                if !more && rest > 0 {
                    return Err(ApplicationError::BodyTooShort);
                }
                *remaining = rest;
                Ok(true)
            }
            Self::Chunked | Self::UntilClose => Ok(true),
        }
    }

    /// Frames one piece. Nothing is written when the application breaks its own declaration.
    pub fn write(
        &mut self,
        piece: Piece<'_>,
        more: bool,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        let length = piece.len();
        if !self.admit(length, more)? {
            return Ok(());
        }
        match self {
            Self::Dropped | Self::Forbidden => {}
            Self::Length { .. } | Self::UntilClose => piece.write(out),
            Self::Chunked => {
                if length > 0 {
                    chunk_size(length, out.buffer());
                    piece.write(out);
                    out.buffer().extend_from_slice(b"\r\n");
                }
                if !more {
                    out.buffer().extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
        Ok(())
    }
}

/// Writes an interim response (RFC 8297, 2). Nothing is written on an error.
pub fn early_hint(links: &[&[u8]], out: &mut Vec<u8>) -> Result<(), ApplicationError> {
    let start = out.len();
    out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
    for link in links {
        if let Err(error) = write_field_line(b"link", link, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes lines of a trailer section. Nothing is written on an error.
pub fn trailer_lines(
    headers: &[(&[u8], &[u8])],
    out: &mut Vec<u8>,
) -> Result<(), ApplicationError> {
    let start = out.len();
    for (name, value) in headers {
        let line = out.len();
        let mut outcome = write_field_line(name, value, out);
        if outcome.is_ok() && is_misplaced_trailer(&out[line..line + name.len()]) {
            outcome = Err(ApplicationError::InvalidTrailer);
        }
        if let Err(error) = outcome {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

/// Whether a field must be known before the body (RFC 9110, 6.5.1).
pub fn is_misplaced_trailer(lower_name: &[u8]) -> bool {
    matches!(
        lower_name,
        b"authorization"
            | b"cache-control"
            | b"connection"
            | b"content-encoding"
            | b"content-length"
            | b"content-range"
            | b"content-type"
            | b"host"
            | b"keep-alive"
            | b"location"
            | b"proxy-authenticate"
            | b"set-cookie"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
            | b"www-authenticate"
    )
}

fn chunk_size(size: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let mut start = digits.len();
    let mut rest = size;
    while rest > 0 {
        start -= 1;
        digits[start] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes one line, its name in lower case.
pub fn write_field_line(
    name: &[u8],
    value: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ApplicationError> {
    if !syntax::is_field_value(value) {
        return Err(ApplicationError::InvalidHeaderValue);
    }
    if syntax::is_lower_token(name) {
        out.extend_from_slice(name);
    } else if syntax::is_token(name) {
        out.extend(name.iter().map(|&byte| syntax::TOKEN_LOWER[usize::from(byte)]));
    } else {
        return Err(ApplicationError::InvalidHeaderName);
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn header_line(
    status: u16,
    name: &[u8],
    value: &[u8],
    declared: &mut Declared,
    out: &mut Vec<u8>,
) -> Result<(), ApplicationError> {
    let start = out.len();
    write_field_line(name, value, out)?;
    let lower = &out[start..start + name.len()];
    let keep = if lower == b"content-length" {
        content_length(status, value, declared)?
    } else if lower == b"transfer-encoding" {
        if !syntax::trim(value).eq_ignore_ascii_case(b"chunked") {
            return Err(ApplicationError::InvalidHeaderValue);
        }
        // Ours to write: it depends on what the client understands.
        false
    } else if lower == b"connection" {
        let mut members = syntax::list_members(value);
        declared.closes |= members.any(|member| member.eq_ignore_ascii_case(b"close"));
        // Whether the connection is kept is ours to say.
        !syntax::trim(value).eq_ignore_ascii_case(b"keep-alive")
    } else {
        true
    };
    if !keep {
        out.truncate(start);
    }
    Ok(())
}

/// Notes a declared length; says whether the field is to be written.
pub fn content_length(
    status: u16,
    value: &[u8],
    declared: &mut Declared,
) -> Result<bool, ApplicationError> {
    let length = syntax::decimal(syntax::trim(value));
    let length = length.ok_or(ApplicationError::InvalidContentLength)?;
    match declared.content_length.replace(length) {
        // RFC 9110, 8.6: not in a 204.
        None => Ok(status != 204),
        Some(earlier) if earlier == length => Ok(false),
        Some(_) => Err(ApplicationError::InvalidContentLength),
    }
}
