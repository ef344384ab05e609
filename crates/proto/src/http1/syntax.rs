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
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN_LOWER[usize::from(byte)] != 0)
}

/// No control byte but HTAB (RFC 9110, 5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    let is_fit = |&byte: &u8| byte >= 0x20 && byte != 0x7f || byte == b'\t';
    all_words(bytes, |word| below(word, 0x20) | equal(word, 0x7f)) || bytes.iter().all(is_fit)
}

/// Visible ASCII only, which is all that a request target may hold (RFC 9112, 3.2).
pub fn is_visible_ascii(bytes: &[u8]) -> bool {
    let is_fit = |&byte: &u8| matches!(byte, 0x21..=0x7e);
    all_words(bytes, |word| below(word, 0x21) | equal(word, 0x7f) | word)
        || bytes.iter().all(is_fit)
}

/// Whether `unfit` finds nothing in all of `bytes`, eight at a time and without an early exit: most
/// lines are too short for what the compiler would make of a loop over bytes. `false` says nothing.
fn all_words(bytes: &[u8], unfit: impl Fn(u64) -> u64) -> bool {
    let Some(last) = bytes.last_chunk() else { return false };
    let (words, _) = bytes.as_chunks();
    let unfit = |bits, word: &[u8; 8]| bits | unfit(u64::from_ne_bytes(*word));
    words.iter().fold(unfit(0, last), unfit) & HIGH_BITS == 0
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// Sets a high bit if a byte is below `bound`, which is at most 0x80, and none if no byte is.
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW_BITS * u64::from(bound)) & !word & HIGH_BITS
}

fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW_BITS * u64::from(byte)), 1)
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
    bytes.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|&sum| i64::try_from(sum).is_ok())
    })
}

/// Lines that are bounded together, as far as they have come.
#[derive(Clone, Copy)]
pub struct Section<'i> {
    window: &'i [u8],
    too_long: Option<Reject>,
}

impl<'i> Section<'i> {
    /// The section is within the first `bytes_max` bytes of `input`, CRLFs included, or `too_long`.
    pub fn new(input: &'i [u8], bytes_max: usize, too_long: Reject) -> Self {
        let is_full = input.len() >= bytes_max;
        Self { window: &input[..input.len().min(bytes_max)], too_long: is_full.then_some(too_long) }
    }

    /// The line that starts at `start`, without its CRLF. `None` while it is incomplete: `scanned`
    /// then tells how far it has been looked at, so that single bytes do not cost a pass each.
    ///
    /// An incomplete line is refused for a control byte as soon as that is there; a complete one is
    /// for its grammar to refuse, through `fault`.
    #[allow(clippy::inline_always, reason = "5 % of the instructions of a head with 15 fields")]
    #[inline(always)]
    pub fn line(&self, start: usize, scanned: &mut usize) -> Result<Option<&'i [u8]>, Reject> {
        let window = self.window;
        let from = start.max(*scanned);
        let unseen = window.get(from..).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', unseen) else {
            self.check_incomplete(start, from)?;
            *scanned = window.len();
            return Ok(None);
        };
        let line = &window[start..from + length];
        match line.split_last() {
            Some((b'\r', content)) => Ok(Some(content)),
            _ => Err(fault(line, Reject::bad_request("bare LF"))),
        }
    }

    #[cold]
    fn check_incomplete(&self, start: usize, scanned: usize) -> Result<(), Reject> {
        // From one byte before: a CR may have waited there for its LF.
        let unseen = self.window.get(start.max(scanned.saturating_sub(1))..).unwrap_or_default();
        if !is_field_value(unseen.strip_suffix(b"\r").unwrap_or(unseen)) {
            return Err(CONTROL_BYTE);
        }
        self.too_long.map_or(Ok(()), Err)
    }
}

/// Why a line is refused that is malformed in the way of `reject`. A control byte goes before
/// everything else, as in an incomplete line: the reason must not depend on what else had come.
pub fn fault(line: &[u8], reject: Reject) -> Reject {
    if is_field_value(line) { reject } else { CONTROL_BYTE }
}

const CONTROL_BYTE: Reject = Reject::bad_request("control byte");

/// Splits and checks a field line (RFC 9112, 5).
pub fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Reject::bad_request("obsolete line folding"));
    }
    // A token ends where a byte is of none, so that one pass finds the colon and checks the name.
    let name_end = line.iter().position(|&byte| TOKEN_LOWER[usize::from(byte)] == 0);
    let (name, value) = match name_end.map(|end| line.split_at(end)) {
        Some((name @ [_, ..], [b':', value @ ..])) => (name, trim(value)),
        _ if line.contains(&b':') => return Err(Reject::bad_request("invalid field name")),
        _ => return Err(Reject::bad_request("field line without a colon")),
    };
    if !is_field_value(value) {
        return Err(CONTROL_BYTE);
    }
    Ok((name, value))
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
    while let Some(other) = rest.iter().position(|&byte| !IN_REGISTERED_NAME[usize::from(byte)]) {
        rest = match &rest[other..] {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                tail
            }
            _ => return false,
        };
    }
    !name.is_empty()
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
