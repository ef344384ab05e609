//! An owned reference to a Python object.

use std::ptr::NonNull;

use pyo3::prelude::*;
use pyo3::{Bound, ffi};

use crate::ffi::error::Raised;

/// A strong reference, released at once when dropped. Not `Send`: it stays on its thread, which is
/// attached whenever the engine runs.
#[derive(Debug)]
pub struct Object(NonNull<ffi::PyObject>);

impl Object {
    /// Takes over a new reference; null means that an exception is set.
    ///
    /// # Safety
    /// `pointer` is null with an exception set, or a reference that the caller owns.
    pub unsafe fn from_new(pointer: *mut ffi::PyObject) -> Result<Self, Raised> {
        NonNull::new(pointer).map(Self).ok_or(Raised)
    }

    /// Makes a new reference to a borrowed object.
    ///
    /// # Safety
    /// `pointer` points to a live object.
    pub unsafe fn from_borrowed(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: live by the contract, so not null.
        unsafe {
            ffi::Py_INCREF(pointer);
            Self(NonNull::new_unchecked(pointer))
        }
    }

    pub fn from_bound(object: &Bound<'_, PyAny>) -> Self {
        // SAFETY: a `Bound` is a live object.
        unsafe { Self::from_borrowed(object.as_ptr()) }
    }

    pub fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: `into_raw` gives up an owned reference.
        unsafe { Bound::from_owned_ptr(py, self.into_raw()) }
    }

    pub fn none() -> Self {
        // SAFETY: `None` lives for ever.
        unsafe { Self::from_borrowed(ffi::Py_None()) }
    }

    pub fn boolean(value: bool) -> Self {
        // SAFETY: so do `True` and `False`.
        unsafe { Self::from_borrowed(if value { ffi::Py_True() } else { ffi::Py_False() }) }
    }

    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives up the reference.
    pub fn into_raw(self) -> *mut ffi::PyObject {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    pub fn is_none(&self) -> bool {
        // SAFETY: comparing addresses only.
        self.as_ptr() == unsafe { ffi::Py_None() }
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps it alive.
        unsafe { Self::from_borrowed(self.as_ptr()) }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and the thread is attached (module documentation).
        unsafe { ffi::Py_DECREF(self.as_ptr()) }
    }
}
