//! Static files: what a request may name, which form of it suits, and which part of it is due.
//!
//! Comes in: the path and the fields of a request, and what is known of a file. Goes out: a path that
//! stays inside, an encoding, and a `Selection`. Nothing is opened here.

/// From a request's path to the path of a file.
pub mod path;
/// Which encoding a client takes.
pub mod encoding;
/// Preconditions and ranges together: what to answer.
pub mod selection;
/// Which parts of a file are asked for.
pub mod range;

use crate::head::RequestHead;

/// The fields of a request that decide how a file is answered, as they came.
#[derive(Debug, Default)]
pub struct Fields<'h> {
    pub accept_encoding: Vec<&'h [u8]>,
    pub if_match: Vec<&'h [u8]>,
    pub if_none_match: Vec<&'h [u8]>,
    pub if_modified_since: Option<&'h [u8]>,
    pub if_unmodified_since: Option<&'h [u8]>,
    pub if_range: Option<&'h [u8]>,
    pub range: Vec<&'h [u8]>,
}

impl<'h> Fields<'h> {
    /// Picks them out of a head. None of them in it, nothing is allocated.
    #[must_use]
    pub fn of(head: &RequestHead, source: &'h [u8]) -> Self {
        let mut fields = Self::default();
        for field in &head.fields {
            let (name, value) = (field.name.of(source), field.value.of(source));
            let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
            match name.len() {
                5 if is(b"range") => fields.range.push(value),
                8 if is(b"if-match") => fields.if_match.push(value),
                8 if is(b"if-range") => fields.if_range = Some(value),
                13 if is(b"if-none-match") => fields.if_none_match.push(value),
                15 if is(b"accept-encoding") => fields.accept_encoding.push(value),
                17 if is(b"if-modified-since") => fields.if_modified_since = Some(value),
                19 if is(b"if-unmodified-since") => fields.if_unmodified_since = Some(value),
                _ => {}
            }
        }
        fields
    }
}
