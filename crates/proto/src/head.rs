//! A request's head as ranges of the bytes it was read from, so that reading one allocates nothing.
//!
//! One `RequestHead` is reused for all requests of a server.

use std::ops::Range;

/// A range of the head's bytes. Heads are bounded well below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        #[allow(clippy::cast_possible_truncation, reason = "heads are bounded by the limits")]
        let span = Self { start: start as u32, end: end as u32 };
        span
    }

    /// Where `part`, which is a part of `source`, is in it.
    #[must_use]
    pub fn within(source: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(source.as_ptr().addr());
        debug_assert!(start <= source.len() - part.len());
        Self::new(start, start + part.len())
    }

    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of `source` that this stands for.
    #[must_use]
    pub fn of(self, source: &[u8]) -> &[u8] {
        &source[self.range()]
    }
}

/// HTTP versions (RFC 9110, 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// Methods that framing or interning cares about; the others keep their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Connect,
    Other(Span),
}

/// A field line. `name` is as received, not yet in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
}

/// How a request's body ends (RFC 9112, 6.3; in HTTP/2, frames take the place of chunks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    #[default]
    None,
    Length(u64),
    Chunked,
}

/// What one request says before its body.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that fields state, in any combination")]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    /// From the path's first byte to before `?`; empty for an absolute form without one.
    pub path: Span,
    /// After `?`; empty without one.
    pub query: Span,
    pub fields: Vec<Field>,
    pub framing: Framing,
    /// The peer wants the connection to go on.
    pub persistent: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The protocol that is asked for: `Upgrade` with `Connection: upgrade`, or `:protocol`.
    pub upgrade: Option<Span>,
    /// `TE: trailers`: what follows a body is not lost on the peer (RFC 9110, 10.1.4).
    pub accepts_trailers: bool,
    /// A field that only proxies send is there.
    pub forwarded: bool,
}

/// Whether a field tells what a proxy knows of its client: `Forwarded` (RFC 7239), `X-Forwarded-*`
/// and `X-Real-IP`.
#[must_use]
pub fn is_of_proxy(name: &[u8]) -> bool {
    match name {
        [b'f' | b'F', rest @ ..] => rest.eq_ignore_ascii_case(b"orwarded"),
        [b'x' | b'X', rest @ ..] => {
            let start = rest.split_at_checked(b"-forwarded-".len());
            rest.eq_ignore_ascii_case(b"-real-ip")
                || start.is_some_and(|(start, subject)| {
                    start.eq_ignore_ascii_case(b"-forwarded-") && !subject.is_empty()
                })
        }
        _ => false,
    }
}

impl RequestHead {
    /// Makes it ready for the next request, keeping its memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }
}
