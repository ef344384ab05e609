//! Character classes and the small productions that heads, bodies and trailers share.
//!
//! White space is SP and HTAB only (RFC 9110, 5.6.3): `trim_ascii` also strips what other parsers
//! keep, and such disagreements are how requests get smuggled.

use std::net::Ipv6Addr;

use crate::error::Reject;

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
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_end(bytes).is_none()
}

/// Where the first byte is that is of no token. By itself, it has the registers for its constants.
#[inline(never)]
fn token_end(bytes: &[u8]) -> Option<usize> {
    let suspects = |word| below(word | CASE_BITS, b'a') | above(word | CASE_BITS, b'z') | word;
    first(bytes, suspects, |byte| TOKEN_LOWER[usize::from(byte)] == 0)
}

/// A non-empty token without upper-case letters.
pub fn is_lower_token(bytes: &[u8]) -> bool {
    let suspects = |word| below(word, b'a') | above(word, b'z') | word;
    let is_other = |byte| TOKEN_LOWER[usize::from(byte)] != byte || byte == 0;
    !bytes.is_empty() && first(bytes, suspects, is_other).is_none()
}

/// No control byte but HTAB (RFC 9110, 5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    control_byte(bytes).is_none()
}

/// Where the first control byte is that is no HTAB. The same goes for it.
#[inline(never)]
fn control_byte(bytes: &[u8]) -> Option<usize> {
    let is_control = |byte| byte != b'\t' && matches!(byte, 0..=0x1f | 0x7f);
    first(bytes, |word| (below(word, 0x20) | above(word, 0x7e)) & !word, is_control)
}

/// Visible ASCII only, which is all that a request target may hold (RFC 9112, 3.2).
pub fn is_visible_ascii(bytes: &[u8]) -> bool {
    let is_other = |byte| !matches!(byte, 0x21..=0x7e);
    first(bytes, |word| below(word, 0x21) | above(word, 0x7e) | word, is_other).is_none()
}

/// Where the query or the fragment of a request target starts, or what may not stand in one.
pub fn query_start(target: &[u8]) -> usize {
    let is_other = |byte| !matches!(byte, 0x21..=0x7e) || matches!(byte, b'?' | b'#');
    let suspects = |word| below(word, 0x24) | above(word, 0x7e) | equal(word, b'?') | word;
    first(target, suspects, is_other).unwrap_or(target.len())
}

/// Where the first byte is that is `sought`. Of eight bytes at a time, only those are looked at of
/// which `suspects` sets the high bit, as it must for all that are sought.
fn first(
    bytes: &[u8],
    suspects: impl Fn(u64) -> u64,
    sought: impl Fn(u8) -> bool,
) -> Option<usize> {
    let first_in = |rest: &[u8], word: [u8; 8]| {
        let mut bits = suspects(u64::from_le_bytes(word)) & HIGH_BITS;
        while bits != 0 {
            let position = bits.trailing_zeros() as usize / 8;
            if sought(rest[position]) {
                return Some(bytes.len() - rest.len() + position);
            }
            bits &= bits - 1;
        }
        None
    };
    let Some((before, last)) = bytes.split_last_chunk() else {
        return bytes.iter().position(|&byte| sought(byte));
    };
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let found = first_in(rest, *word);
        if found.is_some() {
            return found;
        }
        rest = behind;
    }
    first_in(&bytes[before.len()..], *last)
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;
const CASE_BITS: u64 = LOW_BITS << 5;

/// Sets the high bit of each byte below `bound`, which is at most 0x80, and of some others.
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW_BITS * u64::from(bound))
}

/// Sets the high bit of each byte that is `byte`, an ASCII one, and of some others.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW_BITS * u64::from(byte)), 1)
}

/// Sets the high bit of each ASCII byte above `bound`, and of some others.
fn above(word: u64, bound: u8) -> u64 {
    word.wrapping_add(LOW_BITS * u64::from(0x7f - bound))
}

/// Strips optional white space from both ends.
#[must_use]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
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
#[must_use]
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let value = bytes.iter().try_fold(0_i64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    value.map(i64::cast_unsigned)
}

/// Lines that are bounded together, as far as they have come.
pub struct Section<'i> {
    rest: &'i [u8],
    too_long: Option<Reject>,
}

impl<'i> Section<'i> {
    /// The section is within the first `bytes_max` bytes of `input`, CRLFs included, or `too_long`.
    /// What is before `start` has been read.
    pub fn new(input: &'i [u8], start: usize, bytes_max: usize, too_long: Reject) -> Self {
        let is_full = input.len() >= bytes_max;
        let window = &input[..input.len().min(bytes_max)];
        let rest = window.get(start..).unwrap_or_default();
        Self { rest, too_long: is_full.then_some(too_long) }
    }

    /// The next line, without its CRLF. `None` while it is incomplete: `scanned` then tells how much
    /// of it has been looked at, so that single bytes do not cost a pass each.
    ///
    /// There is no control byte but HTAB in a line. One is refused for it as soon as that has come,
    /// so that the reason does not depend on what else had.
    #[allow(clippy::inline_always, reason = "7 % of the instructions of a head with 15 fields")]
    #[inline(always)]
    pub fn line(&mut self, scanned: &mut usize) -> Result<Option<&'i [u8]>, Reject> {
        // From one byte before: a CR may have waited there for its LF.
        let from = scanned.saturating_sub(1);
        let unseen = self.rest.get(from..).unwrap_or_default();
        let length = from + control_byte(unseen).unwrap_or(unseen.len());
        match self.rest.split_at_checked(length) {
            Some((line, [b'\r', b'\n', rest @ ..])) => {
                self.rest = rest;
                *scanned = 0;
                Ok(Some(line))
            }
            None | Some((_, [] | [b'\r'])) => {
                *scanned = self.rest.len();
                self.too_long.map_or(Ok(None), Err)
            }
            Some((_, [b'\n', ..])) => Err(Reject::bad_request("bare LF")),
            Some(_) => Err(Reject::bad_request("control byte")),
        }
    }
}

/// Splits and checks a field line (RFC 9112, 5).
#[allow(clippy::inline_always, reason = "another 7 %")]
#[inline(always)]
pub fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Reject> {
    // A token ends where a byte is of none, so that one pass finds the colon and checks the name.
    match token_end(line).map(|end| line.split_at(end)) {
        Some((name @ [_, ..], [b':', value @ ..])) => Ok((name, trim(value))),
        _ => Err(Reject::bad_request(match line {
            [b' ' | b'\t', ..] => "obsolete line folding",
            _ if line.contains(&b':') => "invalid field name",
            _ => "field line without a colon",
        })),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2), with nothing that a URL parser would choke on or read
/// as the end of the authority.
pub fn is_host(value: &[u8]) -> bool {
    let behind = match value {
        // No authority to name (RFC 9112, 3.2).
        [] => return true,
        [b'[', rest @ ..] => after_ipv6_address(rest),
        _ => after_registered_name(value),
    };
    match behind {
        Some([] | [b':']) => true,
        Some([b':', port @ ..]) => decimal(port).is_some_and(|port| u16::try_from(port).is_ok()),
        _ => false,
    }
}

fn after_ipv6_address(value: &[u8]) -> Option<&[u8]> {
    let (address, rest) = value.split_at(memchr::memchr(b']', value)?);
    str::from_utf8(address).ok()?.parse::<Ipv6Addr>().ok()?;
    Some(&rest[1..])
}

/// What follows a non-empty `reg-name` (RFC 3986, 3.2.2).
fn after_registered_name(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value;
    loop {
        let is_other = |&byte: &u8| !IN_REGISTERED_NAME[usize::from(byte)];
        rest = &rest[rest.iter().position(is_other).unwrap_or(rest.len())..];
        match rest {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = tail;
            }
            _ => break,
        }
    }
    (rest.len() < value.len()).then_some(rest)
}

/// Whether a byte may stand in a `reg-name` as it is: `unreserved` and `sub-delims`.
const IN_REGISTERED_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric()
            || matches!(character, b'-' | b'.' | b'_' | b'~')
            || matches!(
                character,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        byte += 1;
    }
    table
};
