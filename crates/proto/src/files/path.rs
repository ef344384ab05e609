//! From a request's path to the path of a file, relative to its directory.
//!
//! What could mean different things to different readers is no file at all: encoded separators,
//! backslashes, control bytes, empty and dot segments. So whatever the file system makes of the
//! result, it stays below the directory; opening it beneath that keeps links from leading out.

/// A decoded path without a leading slash: empty for the directory itself, with a slash at its end
/// for one below. `None` for what names nothing. `raw` is what follows the route, from its slash on.
#[must_use]
pub fn relative(raw: &[u8]) -> Option<Vec<u8>> {
    let raw = raw.strip_prefix(b"/")?;
    if raw.is_empty() {
        return Some(Vec::new());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let segments = raw.strip_suffix(b"/").unwrap_or(raw).split(|&byte| byte == b'/');
    for (index, segment) in segments.enumerate() {
        if index > 0 {
            decoded.push(b'/');
        }
        let start = decoded.len();
        decode(segment, &mut decoded)?;
        if !is_name(&decoded[start..], index) {
            return None;
        }
    }
    if raw.ends_with(b"/") {
        decoded.push(b'/');
    }
    Some(decoded)
}

/// Percent-decodes a segment (RFC 3986, 2.1).
fn decode(segment: &[u8], decoded: &mut Vec<u8>) -> Option<()> {
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let [high, low, tail @ ..] = rest else { return None };
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(*high)? << 4 | digit(*low)?;
            decoded.push(u8::try_from(value).ok()?);
            rest = tail;
        } else {
            decoded.push(*byte);
        }
    }
    Some(())
}

/// A name that only its own directory knows. Those that begin with a dot are hidden (`.git`, `.env`),
/// but for the place that the web has for public ones (RFC 8615), at the top.
fn is_name(name: &[u8], depth: usize) -> bool {
    let is_hidden = name.starts_with(b".") && !(depth == 0 && name == b".well-known");
    let is_plain = |&byte: &u8| byte >= 0x20 && !matches!(byte, b'/' | b'\\' | 0x7f);
    !name.is_empty() && !is_hidden && name.iter().all(is_plain)
}
