//! The content of a `bytes` object, held without a copy by code that knows no Python objects.

use bytes::Bytes;
use pronghorn_proto::event::{Keeper, Payload};
use pyo3::ffi;

use crate::ffi::object::Object;
use crate::ffi::text;

/// What `bytes` holds, as a payload; empty for anything else.
pub fn payload(object: &Object) -> Payload<'_> {
    let content = text::as_bytes(object).unwrap_or_default();
    if is_exact(object) { Payload::kept(content, object) } else { content.into() }
}

/// Whether it is `bytes` and nothing derived from it. To let go of one runs no Python code, so that
/// it may be done anywhere.
fn is_exact(object: &Object) -> bool {
    // SAFETY: a live object, of which the type is looked at.
    unsafe { ffi::PyBytes_CheckExact(object.as_ptr()) != 0 }
}

impl Keeper for Object {
    fn keep(&self) -> Bytes {
        Bytes::from_owner(Content(self.clone()))
    }
}

/// A `bytes` object.
struct Content(Object);

// SAFETY: `Bytes` asks for it, and could be sent to another thread. The protocols never do: a
// connection and all that it holds stay on the thread of its worker, which is attached.
unsafe impl Send for Content {}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        text::as_bytes(&self.0).unwrap_or_default()
    }
}
