//! Character classes and the small productions that heads, bodies and trailers share.
//!
//! White space is SP and HTAB only (RFC 9110, 5.6.3): `trim_ascii` also strips what other parsers
//! keep, and such disagreements are how requests get smuggled.

use crate::error::Reject;

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

/// No control byte but HTAB (RFC 9110, 5.5). Written without an early exit: it vectorises.
pub fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| bad | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f))
}

/// Visible ASCII only, which is all that a request target may hold (RFC 9112, 3.2).
pub fn is_visible_ascii(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| bad | (byte <= 0x20) | (byte >= 0x7f))
}

/// Strips optional white space from both ends.
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
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

/// The line that starts at `start`, without its CRLF, and where the next one starts. `None` while
/// it is incomplete.
pub fn line(input: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, Reject> {
    let Some(length) = memchr::memchr(b'\n', &input[start..]) else { return Ok(None) };
    match input[start..start + length].split_last() {
        Some((b'\r', content)) => Ok(Some((content, start + length + 1))),
        _ => Err(Reject::bad_request("bare LF")),
    }
}

/// Refuses bytes that no continuation could make part of a head, so that a peer which speaks
/// something else is answered before it runs into a timeout.
pub fn check_incomplete(bytes: &[u8]) -> Result<(), Reject> {
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' if bytes.get(index + 1).is_none_or(|&next| next == b'\n') => {}
            b'\n' if index == 0 || bytes[index - 1] == b'\r' => {}
            b'\t' | 0x20..=0x7e | 0x80..=0xff => {}
            b'\n' => return Err(Reject::bad_request("bare LF")),
            _ => return Err(Reject::bad_request("control byte in head")),
        }
    }
    Ok(())
}

/// Splits and checks a field line (RFC 9112, 5).
pub fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Reject> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Reject::bad_request("obsolete line folding"));
    }
    let colon =
        memchr::memchr(b':', line).ok_or(Reject::bad_request("field line without a colon"))?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    if !is_token(name) {
        return Err(Reject::bad_request("invalid field name"));
    }
    if !is_field_value(value) {
        return Err(Reject::bad_request("control byte in field value"));
    }
    Ok((name, value))
}

/// `uri-host [ ":" port ]` (RFC 9110, 7.2), with nothing that a URL parser would read as the end
/// of the authority.
pub fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        // No authority to name (RFC 9112, 3.2).
        return true;
    }
    let (host_is_valid, port) = if let [b'[', rest @ ..] = value {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let address = &rest[..end];
        let valid = !address.is_empty()
            && address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        (valid, &rest[end + 1..])
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        (is_registered_name(&value[..end]), &value[end..])
    };
    host_is_valid
        && (port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit))
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
