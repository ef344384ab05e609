//! Which parts of a file are asked for (RFC 9110, 14).

use std::ops::Range;

use crate::http1;

/// More ranges than this nobody needs; the whole is cheaper to make.
pub const RANGES_MAX: usize = 16;

/// What a `Range` field asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All of it, or something that is not understood, too much or too often the same: ignored.
    Whole,
    /// Nothing that there is.
    Unsatisfiable,
    /// Parts that are there, in the order asked for.
    Parts(Vec<Range<u64>>),
}

/// Reads a `Range` field for a file of `length` bytes.
#[must_use]
pub fn ranges(field: &[u8], length: u64) -> Ranges {
    let Some(list) = byte_ranges(field) else { return Ranges::Whole };
    let mut parts = Vec::new();
    let mut total = 0_u64;
    for (index, member) in list.split(|&byte| byte == b',').map(http1::trim).enumerate() {
        if index == RANGES_MAX {
            return Ranges::Whole;
        }
        if member.is_empty() {
            continue;
        }
        match part(member, length) {
            Some(part) if part.is_empty() => {}
            Some(part) => {
                total = total.saturating_add(part.end - part.start);
                parts.push(part);
            }
            None => return Ranges::Whole,
        }
    }
    // Parts that overlap are a way to be sent the same many times.
    match parts.len() {
        0 => Ranges::Unsatisfiable,
        2.. if total > length => Ranges::Whole,
        _ => Ranges::Parts(parts),
    }
}

fn byte_ranges(field: &[u8]) -> Option<&[u8]> {
    let (unit, list) = field.split_at_checked(b"bytes=".len())?;
    let is_empty = list.iter().all(|byte| matches!(byte, b',' | b' ' | b'\t'));
    (unit.eq_ignore_ascii_case(b"bytes=") && !is_empty).then_some(list)
}

/// `first-last`, `first-` or `-length`; empty when none of it is there, `None` when malformed.
fn part(member: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = memchr::memchr(b'-', member)?;
    let (first, last) = (&member[..dash], &member[dash + 1..]);
    if first.is_empty() {
        return Some(length.saturating_sub(number(last)?)..length);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if first > last {
        return None;
    }
    Some(first.min(length)..last.saturating_add(1).min(length))
}

/// `1*DIGIT`; larger than any file is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}
