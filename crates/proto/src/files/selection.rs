//! What to answer: preconditions in the order of RFC 9110, 13.2.2, then ranges.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use crate::files::Fields;
use crate::files::range::{Ranges, ranges};
use crate::head::Method;
use crate::http1;

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'f> {
    /// A strong one, with its quotes.
    pub etag: &'f [u8],
    /// Whole seconds since 1970.
    pub modified_s: u64,
    pub length: u64,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// 200.
    Whole,
    /// 206.
    Parts(Vec<Range<u64>>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

/// Decides what a GET or HEAD gets of a file.
#[must_use]
pub fn select(method: Method, fields: &Fields<'_>, file: &Validators<'_>) -> Selection {
    if !fields.if_match.is_empty() {
        if !fields.if_match.iter().any(|line| lists(line, file.etag, Comparison::Strong)) {
            return Selection::PreconditionFailed;
        }
    } else if fields.if_unmodified_since.and_then(seconds).is_some_and(|at| file.modified_s > at) {
        return Selection::PreconditionFailed;
    }
    if !fields.if_none_match.is_empty() {
        if fields.if_none_match.iter().any(|line| lists(line, file.etag, Comparison::Weak)) {
            return Selection::NotModified;
        }
    } else if fields.if_modified_since.and_then(seconds).is_some_and(|at| file.modified_s <= at) {
        return Selection::NotModified;
    }
    match *fields.range {
        // RFC 9110, 14.2: only GET has ranges. Two fields say nothing that could be relied on.
        [field] if method == Method::Get && is_current(fields.if_range, file) => {
            match ranges(field, file.length) {
                Ranges::Whole => Selection::Whole,
                Ranges::Unsatisfiable => Selection::Unsatisfiable,
                Ranges::Parts(parts) => Selection::Parts(parts),
            }
        }
        _ => Selection::Whole,
    }
}

/// `If-Range` (RFC 9110, 13.1.5): a part is of use only with what the client has already.
fn is_current(if_range: Option<&[u8]>, file: &Validators<'_>) -> bool {
    match if_range {
        None => true,
        Some(tag) if tag.starts_with(b"\"") || tag.starts_with(b"W/") => tag == file.etag,
        Some(date) => seconds(date) == Some(file.modified_s),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags, or `*`, has this one (RFC 9110, 8.8.3.2).
fn lists(line: &[u8], etag: &[u8], comparison: Comparison) -> bool {
    if http1::trim(line) == b"*" {
        return true;
    }
    let mut rest = line;
    loop {
        rest = http1::trim(rest);
        let is_weak = rest.starts_with(b"W/");
        let tag = if is_weak { &rest[2..] } else { rest };
        // A comma may be part of a tag.
        let [b'"', content @ ..] = tag else {
            let [b',', tail @ ..] = rest else { return false };
            rest = tail;
            continue;
        };
        let Some(end) = memchr::memchr(b'"', content) else { return false };
        let matches = tag[..end + 2] == *etag;
        if matches && !(is_weak && comparison == Comparison::Strong) {
            return true;
        }
        rest = &content[end + 1..];
    }
}

/// An HTTP date (RFC 9110, 5.6.7) in seconds; an invalid one counts as absent.
fn seconds(date: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(str::from_utf8(date).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The date of a `Last-Modified` field.
#[must_use]
pub fn http_date(seconds: u64) -> String {
    // The last second of the year 9999, the last that the format can tell.
    let seconds = seconds.min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}
