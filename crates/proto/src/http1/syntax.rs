//! Character classes and the small productions that heads, bodies and trailers share.
//!
//! White space is SP and HTAB only (RFC 9110, 5.6.3): `trim_ascii` also strips what other parsers
//! keep, and such disagreements are how requests get smuggled.

use std::net::Ipv6Addr;

use crate::error::Reject;
use crate::head::{Field, Span};

/// What `line` leaves out of a line.
pub const CRLF_BYTES: usize = 2;

/// Lower case of every token byte (RFC 9110, 5.6.2), 0 for the others.
pub const TOKEN_LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let character = byte as u8;
        if character.is_ascii_alphanumeric()
            || matches!(
                character,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            table[byte] = character.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// A non-empty token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN_LOWER[usize::from(byte)] != 0)
}

/// No control byte but HTAB (RFC 9110, 5.5).
#[allow(clippy::needless_bitwise_bool, reason = "without branch or early exit it vectorises")]
pub fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| bad | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f))
}

/// Visible ASCII only, which is all that a request target may hold (RFC 9112, 3.2).
#[allow(clippy::needless_bitwise_bool, reason = "without branch or early exit it vectorises")]
pub fn is_visible_ascii(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| bad | (byte <= 0x20) | (byte >= 0x7f))
}

/// Strips optional white space from both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = trim_start(bytes);
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list (RFC 9110, 5.6.1).
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// `1*DIGIT` that fits into 63 bits; nothing else that a lenient parser would take.
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|&sum| i64::try_from(sum).is_ok())
    })
}

/// The line at the start of `input`, without its CRLF. `None` while it is incomplete: `scanned` then
/// tells how much of it has been looked at, so that single bytes do not cost a pass each.
///
/// A line with its CRLF has at most `bytes_max` bytes. Its bytes are judged in their order, and one
/// that no line may hold as soon as it is there: the verdict does not depend on what else has come.
pub fn line<'i>(
    input: &'i [u8],
    scanned: &mut usize,
    bytes_max: usize,
    too_long: Reject,
) -> Result<Option<&'i [u8]>, Reject> {
    let window = &input[..input.len().min(bytes_max)];
    let start = (*scanned).min(window.len());
    let end = memchr::memchr(b'\n', &window[start..]).map(|index| start + index);
    let open = &window[..end.unwrap_or(window.len())];
    let content = open.strip_suffix(b"\r").unwrap_or(open);
    // From one byte before: a CR may have waited there for its LF.
    if !is_field_value(&content[start.saturating_sub(1).min(content.len())..]) {
        return Err(Reject::bad_request("control byte"));
    }
    match end {
        Some(_) if content.len() == open.len() => Err(Reject::bad_request("bare LF")),
        Some(_) => {
            *scanned = 0;
            Ok(Some(content))
        }
        None if window.len() == bytes_max => Err(too_long),
        None => {
            *scanned = window.len();
            Ok(None)
        }
    }
}

/// Splits a field line (RFC 9112, 5) that starts at `start` and that `line` has found fit.
pub fn field_line(line: &[u8], start: usize) -> Result<Field, Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Reject::bad_request("obsolete line folding"));
    }
    let colon =
        memchr::memchr(b':', line).ok_or(Reject::bad_request("field line without a colon"))?;
    if !is_token(&line[..colon]) {
        return Err(Reject::bad_request("invalid field name"));
    }
    let value = trim_start(&line[colon + 1..]);
    let value_start = start + line.len() - value.len();
    Ok(Field {
        name: Span::new(start, start + colon),
        value: Span::new(value_start, value_start + trim(value).len()),
    })
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2), with nothing that a URL parser would choke on or read
/// as the end of the authority.
pub fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        // No authority to name (RFC 9112, 3.2).
        return true;
    }
    let (is_valid, rest) = if let [b'[', rest @ ..] = value {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        (is_ipv6_address(&rest[..end]), &rest[end + 1..])
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        (is_registered_name(&value[..end]), &value[end..])
    };
    is_valid
        && match rest {
            [] | [b':'] => true,
            [b':', port @ ..] => decimal(port).is_some_and(|port| u16::try_from(port).is_ok()),
            _ => false,
        }
}

fn is_ipv6_address(address: &[u8]) -> bool {
    str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// A non-empty `reg-name` (RFC 3986, 3.2.2).
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                tail
            }
            (b'%', _) => return false,
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => tail,
            _ => return false,
        };
    }
    !name.is_empty()
}
