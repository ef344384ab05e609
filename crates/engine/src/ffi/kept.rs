//! The content of a `bytes` or `str`, held without a copy by code that knows no Python objects.

use bytes::Bytes;
use pronghorn_proto::event::{Keeper, Payload};
use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;

/// What `bytes` holds, as a payload; empty for anything else.
pub fn payload(object: &Object) -> Payload<'_> {
    text::as_bytes(object).map_or_else(|| (&[]).into(), |content| of(content, object))
}

/// What `str` holds, as UTF-8.
///
/// # Errors
/// It is something else, or has lone surrogates.
pub fn utf8_payload<'o>(object: &'o Object, complaint: &str) -> Result<Payload<'o>, Raised> {
    Ok(of(text::utf8_of(object, complaint)?.as_bytes(), object))
}

fn of<'o>(content: &'o [u8], object: &'o Object) -> Payload<'o> {
    if is_exact(object) { Payload::kept(content, object) } else { content.into() }
}

/// Whether it is `bytes` or `str` and nothing derived from it. To let go of one runs no Python code,
/// so that it may be done anywhere.
fn is_exact(object: &Object) -> bool {
    // SAFETY: a live object, of which the type is looked at.
    unsafe {
        ffi::PyBytes_CheckExact(object.as_ptr()) != 0
            || ffi::PyUnicode_CheckExact(object.as_ptr()) != 0
    }
}

impl Keeper for Object {
    fn keep(&self) -> Bytes {
        Bytes::from_owner(Content(self.clone()))
    }
}

/// A `bytes` object, or a `str` that has been asked for its UTF-8 before.
struct Content(Object);

// SAFETY: `Bytes` asks for it, and could be sent to another thread. The protocols never do: a
// connection and all that it holds stay on the thread of its worker, which is attached.
unsafe impl Send for Content {}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        let bytes = text::as_bytes(&self.0);
        bytes.or_else(|| text::as_str(&self.0).map(str::as_bytes)).unwrap_or_default()
    }
}
