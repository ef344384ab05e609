//! Native types whose instances can be awaited: the coroutine of a request, and what `receive()`
//! and `send()` return.
//!
//! They are raw types with hand-written slots because PyO3's classes offer no `am_send`, which is
//! what makes awaiting one cost 8 ns instead of 60. All slots are here, once, for any Rust value
//! that implements `Resumable`; each catches panics.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use pyo3::{Python, ffi};

use crate::ffi::call::Step;
use crate::ffi::error::Raised;
use crate::ffi::names::Shared;
use crate::ffi::object::Object;

/// A Rust value inside a Python object.
pub trait Native: Sized + 'static {
    /// The qualified name, for `repr` and errors.
    const NAME: &'static CStr;

    /// Where the type is kept once it is made.
    fn slot() -> &'static TypeSlot;

    /// Shows the collector every object that the value holds.
    fn traverse(&self, visitor: &mut Visitor);

    /// Releases what could be part of a cycle.
    fn clear(&self);
}

/// A value that runs in steps, as coroutines and iterators of awaitables do.
pub trait Resumable: Native {
    /// One step.
    fn resume(this: &Ref<Self>, value: &Value) -> Result<Step, Raised>;

    /// One step that begins with an exception.
    fn throw(this: &Ref<Self>, exception: Object) -> Result<Step, Raised>;

    /// Ends it where it is.
    fn close(this: &Ref<Self>) -> Result<(), Raised>;

    /// Whose attributes it shows beside its own (a coroutine's `cr_frame`, say).
    fn delegate(&self) -> Option<Object> {
        None
    }
}

/// What a step is given; `None` almost always.
#[repr(transparent)]
pub struct Value(*mut ffi::PyObject);

impl Value {
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0
    }
}

/// A type object, made on first use.
pub type TypeSlot = OnceLock<Shared<Object>>;

/// A strong reference to a native object, to be used like an `Rc`.
#[repr(transparent)]
pub struct Ref<T: Native>(Object, PhantomData<T>);

impl<T: Native> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Native> Deref for Ref<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: a `Ref<T>` is only made from an `Instance<T>`.
        unsafe { &(*self.0.as_ptr().cast::<Instance<T>>()).value }
    }
}

impl<T: Native> Ref<T> {
    pub fn object(&self) -> &Object {
        &self.0
    }

    /// # Safety
    /// `pointer` is null or points at a live object.
    pub(super) unsafe fn is_instance(pointer: *mut ffi::PyObject) -> bool {
        let kind = T::slot().get().map(|kind| kind.get().as_ptr());
        // SAFETY: a live object has a type.
        kind.is_some_and(|kind| unsafe {
            !pointer.is_null() && ffi::Py_TYPE(pointer).cast::<ffi::PyObject>() == kind
        })
    }

    /// # Safety
    /// `pointer` points at a place that holds a live instance of `T`'s type for as long.
    pub(super) unsafe fn at(pointer: &*mut ffi::PyObject) -> &Self {
        // SAFETY: `Ref` is a transparent pointer to the object.
        unsafe { &*std::ptr::from_ref(pointer).cast::<Self>() }
    }
}

impl<T: Resumable> Ref<T> {
    /// Makes an object of `value`.
    pub fn new(value: T) -> Result<Self, Raised> {
        let kind = type_object::<T>()?;
        // SAFETY: the type's basic size is that of `Instance<T>`; the value is written before the
        // collector may see the object.
        unsafe {
            let instance = ffi::PyObject_GC_New::<Instance<T>>(kind.as_ptr().cast());
            let object = Object::from_new(instance.cast())?;
            (&raw mut (*instance).value).write(value);
            ffi::PyObject_GC_Track(instance.cast());
            Ok(Self(object, PhantomData))
        }
    }
}

#[repr(C)]
struct Instance<T> {
    base: ffi::PyObject,
    value: T,
}

/// Hands the collector what an object holds.
pub struct Visitor {
    visit: ffi::visitproc,
    argument: *mut c_void,
    status: c_int,
}

impl Visitor {
    pub fn visit(&mut self, object: &Object) {
        if self.status == 0 {
            // SAFETY: the collector's function, with the collector's argument.
            self.status = unsafe { (self.visit)(object.as_ptr(), self.argument) };
        }
    }
}

fn type_object<T: Resumable>() -> Result<&'static Object, Raised> {
    if let Some(kind) = T::slot().get() {
        return Ok(kind.get());
    }
    let made = make_type::<T>()?;
    Ok(T::slot().get_or_init(|| Shared::new(made)).get())
}

fn make_type<T: Resumable>() -> Result<Object, Raised> {
    let methods: &'static mut [ffi::PyMethodDef] = Box::leak(Box::new([
        ffi::PyMethodDef {
            ml_name: c"send".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_send::<T> },
            ml_flags: ffi::METH_O,
            ml_doc: std::ptr::null(),
        },
        ffi::PyMethodDef {
            ml_name: c"throw".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_throw::<T> },
            ml_flags: ffi::METH_VARARGS,
            ml_doc: std::ptr::null(),
        },
        ffi::PyMethodDef {
            ml_name: c"close".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_close::<T> },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: std::ptr::null(),
        },
        // `collections.abc.Coroutine` and `inspect` look for it by name.
        ffi::PyMethodDef {
            ml_name: c"__await__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_await },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: std::ptr::null(),
        },
        ffi::PyMethodDef::zeroed(),
    ]));
    let mut slots = [
        slot(ffi::Py_tp_dealloc, deallocate::<T> as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void),
        slot(ffi::Py_tp_clear, clear::<T> as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, next::<T> as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, send::<T> as *mut c_void),
        slot(ffi::Py_tp_getattro, attribute::<T> as *mut c_void),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let size = c_int::try_from(size_of::<Instance<T>>()).expect("a small struct");
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        basicsize: size,
        itemsize: 0,
        flags: u32::try_from(
            ffi::Py_TPFLAGS_DEFAULT
                | ffi::Py_TPFLAGS_HAVE_GC
                | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION,
        )
        .expect("the flags fit"),
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: every slot has the signature that its number asks for, the methods are leaked, and
    // the name is static.
    unsafe { Object::from_new(ffi::PyType_FromSpec(&raw mut spec)) }
}

fn slot(number: c_int, pointer: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: number, pfunc: pointer }
}

/// Runs a slot's body; a panic becomes an exception.
pub(super) fn guarded<R>(failure: R, body: impl FnOnce() -> Result<R, Raised>) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => result,
        Ok(Err(Raised)) => failure,
        Err(_) => {
            Raised::runtime_error("the engine panicked; this is a bug in pronghorn");
            failure
        }
    }
}

unsafe extern "C" fn deallocate<T: Native>(object: *mut ffi::PyObject) {
    // SAFETY: called once, when the last reference is gone; a heap type's instance holds a
    // reference to its type.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let kind = ffi::Py_TYPE(object);
        guarded((), || {
            std::ptr::drop_in_place(&raw mut (*object.cast::<Instance<T>>()).value);
            Ok(())
        });
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn traverse<T: Native>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: a tracked, hence initialised, instance.
    unsafe {
        let status = visit(ffi::Py_TYPE(object).cast(), argument);
        if status != 0 {
            return status;
        }
        let mut visitor = Visitor { visit, argument, status: 0 };
        (*object.cast::<Instance<T>>()).value.traverse(&mut visitor);
        visitor.status
    }
}

unsafe extern "C" fn clear<T: Native>(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: as for `traverse`.
    guarded(0, || unsafe {
        (*object.cast::<Instance<T>>()).value.clear();
        Ok(0)
    })
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a live object.
    unsafe {
        ffi::Py_INCREF(object);
        object
    }
}

unsafe extern "C" fn method_await(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `itself`.
    unsafe { itself(object) }
}

unsafe extern "C" fn send<T: Resumable>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    guarded(ffi::PySendResult::PYGEN_ERROR, || {
        // SAFETY: a live instance and value; `result` is the caller's to be set.
        unsafe {
            Ok(match T::resume(Ref::at(&object), &Value(value))? {
                Step::Yielded(yielded) => {
                    result.write(yielded.into_raw());
                    ffi::PySendResult::PYGEN_NEXT
                }
                Step::Returned(returned) => {
                    result.write(returned.into_raw());
                    ffi::PySendResult::PYGEN_RETURN
                }
            })
        }
    })
}

/// A step's outcome as iterators report it: the end is an exception, or none for `None`.
fn as_iteration(step: Step, none_is_silent: bool) -> Result<*mut ffi::PyObject, Raised> {
    match step {
        Step::Yielded(yielded) => Ok(yielded.into_raw()),
        Step::Returned(returned) if none_is_silent && returned.is_none() => Err(Raised),
        // SAFETY: a live value; the instance is made first because a tuple or an exception given
        // to `PyErr_SetObject` would be taken apart.
        Step::Returned(returned) => unsafe {
            let kind = ffi::PyExc_StopIteration;
            let exception = Object::from_new(ffi::PyObject_CallFunctionObjArgs(
                kind,
                returned.as_ptr(),
                std::ptr::null_mut::<ffi::PyObject>(),
            ))?;
            ffi::PyErr_SetObject(kind, exception.as_ptr());
            Err(Raised)
        },
    }
}

unsafe extern "C" fn next<T: Resumable>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: a live instance; `None` lives for ever.
        let step = unsafe { T::resume(Ref::at(&object), &Value(ffi::Py_None()))? };
        as_iteration(step, true)
    })
}

unsafe extern "C" fn method_send<T: Resumable>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: a live instance and a live value.
        let step = unsafe { T::resume(Ref::at(&object), &Value(value))? };
        as_iteration(step, false)
    })
}

unsafe extern "C" fn method_throw<T: Resumable>(
    object: *mut ffi::PyObject,
    arguments: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: a live instance and a tuple of arguments.
        unsafe {
            let exception = exception_to_throw(arguments)?;
            as_iteration(T::throw(Ref::at(&object), exception)?, false)
        }
    })
}

/// The instance meant by `throw(value)` or by the older `throw(type, value, traceback)`.
///
/// # Safety
/// `arguments` is a live tuple.
unsafe fn exception_to_throw(arguments: *mut ffi::PyObject) -> Result<Object, Raised> {
    // SAFETY: borrowed items of a live tuple, within its size.
    unsafe {
        let size = ffi::PyTuple_GET_SIZE(arguments);
        if size == 0 {
            return Err(Raised::type_error("throw() takes an exception"));
        }
        let first = ffi::PyTuple_GET_ITEM(arguments, 0);
        if ffi::PyExceptionInstance_Check(first) != 0 {
            return Ok(Object::from_borrowed(first));
        }
        if ffi::PyExceptionClass_Check(first) == 0 {
            return Err(Raised::type_error("exceptions must derive from BaseException"));
        }
        let value = if size > 1 { ffi::PyTuple_GET_ITEM(arguments, 1) } else { ffi::Py_None() };
        if ffi::PyExceptionInstance_Check(value) != 0 {
            return Ok(Object::from_borrowed(value));
        }
        let argument = if value == ffi::Py_None() { std::ptr::null_mut() } else { value };
        Object::from_new(ffi::PyObject_CallFunctionObjArgs(
            first,
            argument,
            std::ptr::null_mut::<ffi::PyObject>(),
        ))
    }
}

unsafe extern "C" fn method_close<T: Resumable>(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: a live instance.
        unsafe { T::close(Ref::at(&object))? };
        Ok(Object::none().into_raw())
    })
}

unsafe extern "C" fn attribute<T: Resumable>(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: live objects; the `AttributeError` is cleared before the second attempt.
        unsafe {
            let own = ffi::PyObject_GenericGetAttr(object, name);
            let delegate = Ref::<T>::at(&object).delegate();
            match delegate {
                Some(delegate)
                    if own.is_null()
                        && ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0 =>
                {
                    ffi::PyErr_Clear();
                    Ok(ffi::PyObject_GetAttr(delegate.as_ptr(), name))
                }
                _ => Ok(own),
            }
        }
    })
}

/// A proof that this thread is attached, for the few calls into `pyo3` that want one.
pub fn attached() -> Python<'static> {
    // SAFETY: the engine only runs on attached threads (see `ffi`).
    unsafe { Python::assume_attached() }
}
