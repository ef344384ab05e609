//! The PROXY protocol, versions 1 and 2: where a connection really comes from, told by a proxy in
//! front of everything else (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! Comes in: the first bytes of a connection from a proxy. Goes out: a `Source` and how many bytes
//! told it. Strict, since nothing else vouches for an address: one spelling for each, no header where
//! another protocol could begin.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::http1;

/// The longest header of version 1 that there can be, its CRLF included.
pub const TEXT_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is taken. Its own bound is 64 KiB, which nobody needs for the
/// certificates' names and identifiers that proxies add to the addresses.
pub const BINARY_BYTES_MAX: usize = 4096;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
const UNIX_PATH_BYTES: usize = 108;

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the proxy itself, such as its health checks, or from where it does not know.
    Proxy,
    Inet {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// The path of the server's socket; empty without one.
    Unix {
        server: Vec<u8>,
    },
}

/// Why a header is refused. Holds nothing that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads the header at the start of `input`: the origin and the header's length, `None` while it is
/// incomplete; the same bytes then come again, with more behind them.
///
/// # Errors
/// There is none, or not as it has to be.
pub fn read(input: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    if begins_like(input, SIGNATURE) {
        binary(input)
    } else if begins_like(input, b"PROXY ") {
        text(input)
    } else {
        Err(Malformed("no PROXY protocol header"))
    }
}

fn begins_like(input: &[u8], start: &[u8]) -> bool {
    let length = input.len().min(start.len());
    input[..length] == start[..length]
}

/// Version 1 (section 2.1).
fn text(input: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let window = &input[..input.len().min(TEXT_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if input.len() >= TEXT_BYTES_MAX {
            Err(Malformed("PROXY line too long"))
        } else {
            Ok(None)
        };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Malformed("PROXY line without CRLF"))?;
    let malformed = Malformed("malformed PROXY line");
    let mut words = line.split(|&byte| byte == b' ').skip(1);
    let origin = match words.next() {
        // What follows is of no meaning.
        Some(b"UNKNOWN") => Some(Source::Proxy),
        Some(b"TCP4") => inet::<Ipv4Addr>(&mut words),
        Some(b"TCP6") => inet::<Ipv6Addr>(&mut words),
        _ => None,
    };
    Ok(Some((origin.ok_or(malformed)?, end + 1)))
}

fn inet<'l, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'l [u8]>,
) -> Option<Source> {
    let address = |word: Option<&[u8]>| Some(str::from_utf8(word?).ok()?.parse::<A>().ok()?.into());
    let (client, server): (IpAddr, IpAddr) = (address(words.next())?, address(words.next())?);
    let (client_port, server_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Source::Inet {
        client: SocketAddr::new(client, client_port),
        server: SocketAddr::new(server, server_port),
    })
}

fn port(word: &[u8]) -> Option<u16> {
    if word.len() > 1 && word.starts_with(b"0") {
        return None;
    }
    u16::try_from(http1::decimal(word)?).ok()
}

/// Version 2 (section 2.2). What follows the addresses says nothing that is used here.
fn binary(input: &[u8]) -> Result<Option<(Source, usize)>, Malformed> {
    let Some(&[.., command, family, high, low]) = input.first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > BINARY_BYTES_MAX {
        return Err(Malformed("PROXY header too long"));
    }
    if !matches!(command, 0x20 | 0x21) {
        return Err(Malformed("unknown version or command in a PROXY header"));
    }
    let Some(block) = input.get(FIXED_BYTES..length) else { return Ok(None) };
    let origin = match (command, family) {
        (0x20, _) | (_, 0x00) => Some(Source::Proxy),
        (_, 0x11) => inet_block::<4>(block),
        (_, 0x21) => inet_block::<16>(block),
        (_, 0x31) => unix_block(block),
        _ => return Err(Malformed("unknown address family in a PROXY header")),
    };
    Ok(Some((origin.ok_or(Malformed("PROXY header too short for its addresses"))?, length)))
}

fn inet_block<const BYTES: usize>(block: &[u8]) -> Option<Source>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (client, rest) = block.split_first_chunk::<BYTES>()?;
    let (server, rest) = rest.split_first_chunk::<BYTES>()?;
    let &[high, low, server_high, server_low] = rest.first_chunk()?;
    let address = |address: [u8; BYTES], port| SocketAddr::new(IpAddr::from(address), port);
    Some(Source::Inet {
        client: address(*client, u16::from_be_bytes([high, low])),
        server: address(*server, u16::from_be_bytes([server_high, server_low])),
    })
}

fn unix_block(block: &[u8]) -> Option<Source> {
    let server = block.get(UNIX_PATH_BYTES..2 * UNIX_PATH_BYTES)?;
    let end = memchr::memchr(0, server).unwrap_or(server.len());
    Some(Source::Unix { server: server[..end].to_vec() })
}
