//! Python exceptions between native functions: a marker while one is set, a value when taken.

use std::ffi::CString;

use pyo3::{PyErr, Python, ffi};

use crate::ffi::containers::{integer, triple};
use crate::ffi::object::Object;
use crate::ffi::text;

/// An exception is set on this thread. Taking it off consumes the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised;

#[allow(clippy::unused_self, reason = "the mark stands for the exception that is set")]
impl Raised {
    /// Raises `RuntimeError(text)`.
    pub fn runtime_error(text: &str) -> Self {
        // SAFETY: the exception types live for ever.
        Self::set(unsafe { ffi::PyExc_RuntimeError }, text)
    }

    /// Raises `TypeError(text)`.
    pub fn type_error(text: &str) -> Self {
        // SAFETY: as above.
        Self::set(unsafe { ffi::PyExc_TypeError }, text)
    }

    /// Raises `KeyError(key)`.
    pub fn key_error(key: &Object) -> Self {
        // SAFETY: both are live objects.
        unsafe { ffi::PyErr_SetObject(ffi::PyExc_KeyError, key.as_ptr()) };
        Self
    }

    /// Raises the subclass of `OSError` that the error's number stands for, about `subject`.
    pub fn os_error(error: &std::io::Error, subject: &Object) -> Self {
        let arguments = integer(u64::from(error.raw_os_error().unwrap_or_default().unsigned_abs()))
            .and_then(|number| {
                let reason = text::utf8_lossy(reason(error).as_bytes())?;
                triple(number, reason, subject.clone())
            });
        if let Ok(arguments) = arguments {
            // SAFETY: a type and the arguments to make an exception with.
            unsafe { ffi::PyErr_SetObject(ffi::PyExc_OSError, arguments.as_ptr()) };
        }
        Self
    }

    /// Raises an exception of a class.
    pub fn of(class: &Object) -> Self {
        // SAFETY: a live object; what is no exception class becomes a `SystemError`.
        unsafe { ffi::PyErr_SetNone(class.as_ptr()) };
        Self
    }

    /// Whether the exception is of a class.
    pub fn is(self, class: &Object) -> bool {
        // SAFETY: an exception is set, and the class is live.
        unsafe { ffi::PyErr_ExceptionMatches(class.as_ptr()) != 0 }
    }

    fn set(kind: *mut ffi::PyObject, text: &str) -> Self {
        let text = CString::new(text.replace('\0', "\\0")).unwrap_or_default();
        // SAFETY: `kind` is an exception type, `text` ends with NUL.
        unsafe { ffi::PyErr_SetString(kind, text.as_ptr()) };
        Self
    }

    /// Takes the exception off the thread.
    pub fn take(self, py: Python<'_>) -> Object {
        let error = PyErr::take(py).unwrap_or_else(|| {
            pyo3::exceptions::PySystemError::new_err("an error without an exception")
        });
        let value = error.into_value(py).into_bound(py);
        Object::from_bound(value.as_any())
    }

    /// Puts an exception (back) on the thread.
    pub fn restore(py: Python<'_>, exception: Object) -> Self {
        PyErr::from_value(exception.into_bound(py)).restore(py);
        Self
    }

    /// Takes the exception off the thread for good.
    pub fn forget<T>(self) -> Option<T> {
        // SAFETY: clears what is set, if anything.
        unsafe { ffi::PyErr_Clear() };
        None
    }

    /// Reports the exception to `sys.unraisablehook`, where there is nobody to raise it to.
    pub fn report(self, context: Option<&Object>) {
        let context = context.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: an exception is set; a null context is allowed.
        unsafe { ffi::PyErr_WriteUnraisable(context) }
    }

    pub fn into_error(self, py: Python<'_>) -> PyErr {
        PyErr::fetch(py)
    }
}

/// What the system says of an error, without the number that Rust adds.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
