//! The interpreter's version tags of classes and dictionaries. A tag is never given twice.

#[cfg(not(Py_3_14))]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::object::Object;

/// The tag of a class, 0 if it has none at the moment: the interpreter gives it one when it
/// caches the first look-up of an attribute, and takes it back when the class, or one of its bases,
/// is changed.
pub fn version_of(class: &Bound<'_, PyType>) -> u32 {
    // SAFETY: `class` is a type object that is alive, and the lock that guards its fields is held.
    unsafe { (*class.as_type_ptr()).tp_version_tag }
}

/// The tag of a dictionary, another one after each change (PEP 509).
#[cfg(not(Py_3_14))]
#[allow(deprecated, reason = "CPython 3.12 and 3.13 keep it up to date all the same")]
#[allow(clippy::unnecessary_wraps, reason = "later versions have none")]
pub fn version_of_dict(dict: &Object) -> Option<u64> {
    // SAFETY: a live dictionary, on an attached thread.
    Some(unsafe { (*dict.as_ptr().cast::<ffi::PyDictObject>()).ma_version_tag })
}

/// From 3.14 on, dictionaries have none.
#[cfg(Py_3_14)]
pub fn version_of_dict(_: &Object) -> Option<u64> {
    None
}
