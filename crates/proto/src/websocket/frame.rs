//! Headers of frames (RFC 6455, 5.2). Payloads are not looked at.

use crate::error::Failure;

/// Longest header: two bytes, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub opcode: Opcode,
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1: the message that begins here is compressed (RFC 7692, 6).
    pub compressed: bool,
    pub payload_bytes: u64,
    pub mask: [u8; 4],
}

/// Reads the header at the start of `input` and tells its length, `None` while it is incomplete.
/// What is wrong with it is told as soon as the byte is there. `may_compress` says whether an
/// extension gives RSV1 a meaning.
pub fn read_header(
    input: &[u8],
    may_compress: bool,
) -> Result<Option<(FrameHeader, usize)>, Failure> {
    let Some(&first) = input.first() else { return Ok(None) };
    let compressed = first & 0x40 != 0;
    if first & 0x30 != 0 || compressed && !may_compress {
        return Err(Failure::protocol_error("reserved bits must be 0"));
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Failure::protocol_error("invalid opcode"))?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(Failure::protocol_error("fragmented control frame"));
    }
    // RFC 7692, 6.1: only the first frame of a message may have it.
    if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(Failure::protocol_error("reserved bits must be 0"));
    }
    let Some(&second) = input.get(1) else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(Failure::protocol_error("incorrect masking"));
    }
    let short = second & 0x7f;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Failure::protocol_error("control frame too long"));
    }
    let (payload_bytes, rest) = match (short, &input[2..]) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, rest) => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest)
        }
        (126, _) => return Ok(None),
        (length, rest) => (u64::from(length), rest),
    };
    if i64::try_from(payload_bytes).is_err() {
        return Err(Failure::protocol_error("most significant bit of length must be 0"));
    }
    let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let header = FrameHeader { opcode, fin, compressed, payload_bytes, mask: *mask };
    Ok(Some((header, input.len() - rest.len())))
}

/// Writes the header of a whole message or a control frame. A server does not mask (5.1).
pub fn write_header(opcode: Opcode, compressed: bool, payload_bytes: usize, out: &mut Vec<u8>) {
    let first = 0x80 | opcode.bits() | if compressed { 0x40 } else { 0 };
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(length @ ..=125), _) => out.extend_from_slice(&[first, length]),
        (_, Ok(length)) => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}
