//! The interpreter's version tags of classes.
//!
//! CPython gives a class a tag when it caches the first look-up of an attribute, and takes it back
//! (tag 0) when the class, or one of its bases, is changed. A tag is never given twice.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// The tag of a class, 0 if it has none at the moment.
pub fn version_of(class: &Bound<'_, PyType>) -> u32 {
    // SAFETY: `class` is a type object that is alive, and the lock that guards its fields is held.
    unsafe { (*class.as_type_ptr()).tp_version_tag }
}
