//! The vocabulary between a protocol version and the streams above it.
//!
//! HTTP/1.1 and HTTP/2 translate bytes into `Inbound` and `Outbound` into bytes; nothing
//! above knows which one it was.

use std::fmt;

use bytes::Bytes;

use crate::error::Reject;

/// Received bytes and how many of them have been understood.
#[derive(Debug)]
pub struct Input<'i> {
    bytes: &'i [u8],
    consumed: usize,
}

impl<'i> Input<'i> {
    #[must_use]
    pub fn new(bytes: &'i [u8]) -> Self {
        Self { bytes, consumed: 0 }
    }

    /// What is still to be understood.
    #[must_use]
    pub fn rest(&self) -> &'i [u8] {
        &self.bytes[self.consumed..]
    }

    /// How far it has been understood.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Takes `count` bytes, at most all that are left.
    pub fn take(&mut self, count: usize) -> &'i [u8] {
        let taken = &self.rest()[..count.min(self.bytes.len() - self.consumed)];
        self.consumed += taken.len();
        taken
    }
}

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'i> {
    /// A head is complete; it is in the `RequestHead` that was passed along, as ranges of these
    /// bytes.
    Head(&'i [u8]),
    /// A piece of the body, or what came through a tunnel.
    Body(&'i [u8]),
    /// The request is whole.
    End,
    /// The peer has taken the stream back; HTTP/2 only.
    Reset,
    /// What follows is HTTP/2, or nothing that is known; who does not speak it either answers so.
    Http2(Reject),
}

/// What an application answers.
#[derive(Debug)]
pub enum Outbound<'a> {
    /// Status (200 to 999) and header fields in their order.
    Start { status: u16, headers: &'a [(&'a [u8], &'a [u8])] },
    /// A piece of the body, or bytes for a tunnel; the last one without `more`.
    Body { data: Payload<'a>, more: bool },
    /// Makes the stream a tunnel for another protocol, which the request has asked for: both sides
    /// send bytes as they like from here on.
    Tunnel(Tunnel<'a>),
    /// The same for bytes that the caller has elsewhere, such as in a file.
    Detached { length: u64, more: bool },
    /// Fields to follow the body, whose last piece had `more`; the last ones without it.
    Trailers { headers: &'a [(&'a [u8], &'a [u8])], more: bool },
    /// Values of `Link` fields that are worth knowing before the response (RFC 8297).
    EarlyHint { links: &'a [&'a [u8]] },
}

/// Bytes of a body, and how to have them for longer than the call that they came with.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    keeper: Option<&'a dyn Keeper>,
}

/// Who has the bytes of a payload, and lets others have them too.
pub trait Keeper {
    /// The payload's bytes, for as long as they are wanted.
    fn keep(&self) -> Bytes;
}

impl<'a> Payload<'a> {
    /// `bytes` that `keeper` has.
    #[must_use]
    pub fn kept(bytes: &'a [u8], keeper: &'a dyn Keeper) -> Self {
        Self { bytes, keeper: Some(keeper) }
    }

    /// The bytes, for as long as they are wanted, if somebody keeps them.
    #[must_use]
    pub fn keep(&self) -> Option<Bytes> {
        self.keeper.map(Keeper::keep)
    }

    /// The bytes, for as long as they are wanted: a copy where nobody keeps them.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.keep().unwrap_or_else(|| Bytes::copy_from_slice(self.bytes))
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, keeper: None }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self { bytes, keeper: None }
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(formatter)
    }
}

/// The fields of the answer that opens a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel<'a> {
    /// The other protocol's, which come before the server's own.
    pub first: &'a [(&'a [u8], &'a [u8])],
    /// The application's.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The other protocol's, which come last.
    pub last: Option<(&'a [u8], &'a [u8])>,
}

/// Where a protocol puts the bytes to send.
pub trait Transmit {
    /// The buffer for heads and framing.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Body bytes, to follow what is in the buffer; large ones may bypass it.
    fn payload(&mut self, data: Payload<'_>);

    /// The place of the bytes that came as `Outbound::Detached`, behind what is in the buffer.
    fn detached(&mut self, length: u64);
}

impl Transmit for Vec<u8> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }

    fn payload(&mut self, data: Payload<'_>) {
        self.extend_from_slice(data.bytes);
    }

    /// Stands in for bytes that nobody has: zeros.
    fn detached(&mut self, length: u64) {
        self.resize(self.len() + usize::try_from(length).expect("as much as memory holds"), 0);
    }
}
