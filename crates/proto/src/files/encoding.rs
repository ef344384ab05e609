//! Which encoding of a file a client takes (RFC 9110, 12.5.3).

use crate::http1;

/// How much a client likes a coding: 0 to 1000, `None` when it does not say.
fn weight(lines: &[&[u8]], coding: &[u8]) -> Option<u16> {
    let mut any = None;
    for member in lines.iter().flat_map(|line| http1::list_members(line)) {
        let mut parts = member.split(|&byte| byte == b';').map(http1::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(quality).unwrap_or(1000);
        if name.eq_ignore_ascii_case(coding) {
            return Some(weight);
        }
        if name == b"*" {
            any = Some(weight);
        }
    }
    any
}

/// `q=0.123` in thousandths; what is malformed counts as nothing.
fn quality(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return Some(0),
    };
    let digits = fraction.iter().all(u8::is_ascii_digit);
    let thousandths = fraction.iter().chain([b'0'; 3].iter()).take(3);
    let thousandths = thousandths.fold(0, |sum, digit| sum * 10 + u16::from(digit & 15));
    Some(match whole {
        b'0' if digits => thousandths,
        b'1' if digits && thousandths == 0 => 1000,
        _ => 0,
    })
}

/// The best of `codings`, which are in the server's order; `None` for the file as it is.
#[must_use]
pub fn choose(lines: &[&[u8]], codings: &[&[u8]]) -> Option<usize> {
    if lines.is_empty() {
        return None;
    }
    let plain = weight(lines, b"identity").unwrap_or(1);
    let weights = codings.iter().map(|coding| weight(lines, coding).unwrap_or(0));
    // The first of those that it likes alike.
    let (index, best) = weights.enumerate().rev().max_by_key(|(_, weight)| *weight)?;
    (best > 0 && best >= plain).then_some(index)
}
