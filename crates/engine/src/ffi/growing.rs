//! `bytes` that grow until somebody gets them.

use std::ffi::c_int;

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;

/// A `bytes` object that nobody else has, with room behind its content.
#[derive(Debug)]
pub struct GrowingBytes {
    object: Object,
    length: usize,
}

unsafe extern "C" {
    /// Makes an object shorter or longer that has one owner. That reference is gone if it fails.
    fn _PyBytes_Resize(object: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

impl GrowingBytes {
    /// A copy of `source`, which is not empty, and no more room than that takes.
    pub fn new(source: &[u8]) -> Result<Self, Raised> {
        assert!(!source.is_empty(), "there is one empty `bytes`, which others have");
        // SAFETY: with a null source, the object is a new one, and its content, which is not
        // initialised, is written before it is read.
        let object = unsafe {
            let size = source.len().cast_signed();
            Object::from_new(ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?
        };
        let mut growing = Self { object, length: 0 };
        growing.write(source);
        Ok(growing)
    }

    pub fn len(&self) -> usize {
        self.length
    }

    fn capacity(&self) -> usize {
        // SAFETY: a live `bytes`.
        unsafe { ffi::Py_SIZE(self.object.as_ptr()).cast_unsigned() }
    }

    /// Adds a copy of `data` to its end; if it has to grow for that, to `capacity` at least.
    pub fn extend(mut self, data: &[u8], capacity: usize) -> Result<Self, Raised> {
        let length = self.length + data.len();
        let present = self.capacity();
        if length > present {
            self = self.resized(length.max(capacity).max(present * 2))?;
        }
        self.write(data);
        Ok(self)
    }

    /// Writes to room that is there.
    fn write(&mut self, data: &[u8]) {
        assert!(self.length + data.len() <= self.capacity());
        // SAFETY: the object has so much room, and nobody else who could see it change.
        unsafe {
            let start = ffi::PyBytes_AS_STRING(self.object.as_ptr()).cast::<u8>().cast_mut();
            let end = start.add(self.length);
            std::ptr::copy_nonoverlapping(data.as_ptr(), end, data.len());
        }
        self.length += data.len();
    }

    fn resized(self, size: usize) -> Result<Self, Raised> {
        let mut pointer = self.object.into_raw();
        // SAFETY: the only reference to an object that nobody has hashed; it is given up, and what
        // comes back is either another one or null with an exception set.
        let object = unsafe {
            _PyBytes_Resize(&raw mut pointer, size.cast_signed());
            Object::from_new(pointer)?
        };
        Ok(Self { object, length: self.length })
    }

    /// The object, as long as its content.
    pub fn finish(self) -> Result<Object, Raised> {
        let length = self.length;
        if length == self.capacity() { Ok(self.object) } else { Ok(self.resized(length)?.object) }
    }
}
