//! A Python object that shows memory of the engine's for the length of one call.
//!
//! Functions of `_ssl` read and write through the buffer protocol. A `Window` offers them the
//! engine's own buffers, so that nothing is copied into objects first. It is given to functions of
//! `_ssl` only: those release their view before they return, and keep no reference.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::names::Shared;
use crate::ffi::object::Object;

static TYPE: OnceLock<Shared<Object>> = OnceLock::new();

/// See the module. One can be lent again while it is lent: the call inside sees the newer memory.
#[derive(Debug)]
pub struct Window(Object);

#[repr(C)]
struct Instance {
    base: ffi::PyObject,
    memory: Memory,
    /// Views that have not been released.
    views: usize,
}

#[derive(Clone, Copy)]
struct Memory {
    /// Null when nothing is shown.
    start: *mut c_void,
    length: usize,
    is_writable: bool,
}

const NOTHING: Memory = Memory { start: std::ptr::null_mut(), length: 0, is_writable: false };

impl Window {
    pub fn new() -> Result<Self, Raised> {
        let kind = type_object()?;
        // SAFETY: the type's basic size is that of `Instance`; both fields are written before
        // anyone else sees the object.
        unsafe {
            let object = Object::from_new(ffi::PyType_GenericAlloc(kind.as_ptr().cast(), 0))?;
            let instance = object.as_ptr().cast::<Instance>();
            (&raw mut (*instance).memory).write(NOTHING);
            (&raw mut (*instance).views).write(0);
            Ok(Self(object))
        }
    }

    /// Shows `bytes` while `call` runs.
    pub fn show<R>(&self, bytes: &[u8], call: impl FnOnce(&Object) -> R) -> R {
        let start = bytes.as_ptr().cast_mut().cast();
        self.lend(Memory { start, length: bytes.len(), is_writable: false }, call)
    }

    /// Shows `bytes` while `call` runs, to be written to.
    pub fn show_mut<R>(&self, bytes: &mut [u8], call: impl FnOnce(&Object) -> R) -> R {
        let start = bytes.as_mut_ptr().cast();
        self.lend(Memory { start, length: bytes.len(), is_writable: true }, call)
    }

    fn lend<R>(&self, memory: Memory, call: impl FnOnce(&Object) -> R) -> R {
        let instance = self.0.as_ptr().cast::<Instance>();
        // SAFETY: `self` keeps the instance alive, and the memory is borrowed for longer than the
        // loan lasts.
        let _loan = unsafe {
            let before = std::mem::replace(&mut (*instance).memory, memory);
            Loan { instance, before, views: (*instance).views }
        };
        call(&self.0)
    }
}

/// Ends a loan when dropped, also by a panic.
struct Loan {
    instance: *mut Instance,
    before: Memory,
    views: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: made in `lend`, where the instance is alive. A view that is still there would
        // show memory that is not lent any more: the process ends before it can be used.
        unsafe {
            (*self.instance).memory = self.before;
            if (*self.instance).views != self.views {
                std::process::abort();
            }
        }
    }
}

fn type_object() -> Result<&'static Object, Raised> {
    if let Some(kind) = TYPE.get() {
        return Ok(kind.get());
    }
    let made = make_type()?;
    Ok(TYPE.get_or_init(|| Shared::new(made)).get())
}

fn make_type() -> Result<Object, Raised> {
    let mut slots = [
        slot(ffi::Py_bf_getbuffer, show as *mut c_void),
        slot(ffi::Py_bf_releasebuffer, release as *mut c_void),
        slot(ffi::Py_tp_dealloc, deallocate as *mut c_void),
        slot(0, std::ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"pronghorn._engine.Window".as_ptr(),
        basicsize: c_int::try_from(size_of::<Instance>()).expect("a small struct"),
        itemsize: 0,
        flags: u32::try_from(ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION)
            .expect("the flags fit"),
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: every slot has the signature that its number asks for, and the name is static.
    unsafe { Object::from_new(ffi::PyType_FromSpec(&raw mut spec)) }
}

fn slot(number: c_int, pointer: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: number, pfunc: pointer }
}

unsafe extern "C" fn show(
    object: *mut ffi::PyObject,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: Python calls it with an instance of this type and a view to fill.
    unsafe {
        let instance = object.cast::<Instance>();
        let Memory { start, length, is_writable } = (*instance).memory;
        if start.is_null() {
            (*view).obj = std::ptr::null_mut();
            ffi::PyErr_SetString(ffi::PyExc_BufferError, c"nothing is shown".as_ptr());
            return -1;
        }
        let is_read_only = c_int::from(!is_writable);
        let length = length.cast_signed();
        let status = ffi::PyBuffer_FillInfo(view, object, start, length, is_read_only, flags);
        if status == 0 {
            (*instance).views += 1;
        }
        status
    }
}

unsafe extern "C" fn release(object: *mut ffi::PyObject, _view: *mut ffi::Py_buffer) {
    // SAFETY: once for every view that `show` filled.
    unsafe { (*object.cast::<Instance>()).views -= 1 }
}

unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; an instance holds one of its type (heap types).
    unsafe {
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}
