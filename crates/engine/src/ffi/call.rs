//! Calls: each returns a new reference or the fact that an exception is set.

use std::cell::Cell;

use pyo3::{Python, ffi};

use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;

/// `callable(*arguments)`, with up to six arguments and without building a tuple.
pub fn call(callable: &Object, arguments: &[&Object]) -> Result<Object, Raised> {
    let pointers: [*mut ffi::PyObject; 6] = std::array::from_fn(|index| {
        arguments.get(index).map_or(std::ptr::null_mut(), |a| a.as_ptr())
    });
    debug_assert!(arguments.len() <= pointers.len());
    // SAFETY: `arguments.len()` live objects.
    unsafe {
        Object::from_new(ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            pointers.as_ptr(),
            arguments.len(),
            std::ptr::null_mut(),
        ))
    }
}

/// `callable(*arguments, **keywords)` with `values` named by the tuple `names`, up to six in all.
pub fn call_keywords(
    callable: &Object,
    arguments: &[&Object],
    names: &Object,
    values: &[&Object],
) -> Result<Object, Raised> {
    let mut pointers = [std::ptr::null_mut(); 6];
    for (slot, value) in pointers.iter_mut().zip(arguments.iter().chain(values)) {
        *slot = value.as_ptr();
    }
    // SAFETY: positional arguments, then as many others as `names` has names.
    unsafe {
        Object::from_new(ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            pointers.as_ptr(),
            arguments.len(),
            names.as_ptr(),
        ))
    }
}

/// Calls of one callable with one argument and always the same keywords: for a type, this is cheaper
/// than naming the keywords each time.
pub struct Repeated {
    callable: Object,
    keywords: Object,
    /// The tuple of the last call, for the next one if nobody has kept it.
    arguments: Cell<Option<Object>>,
}

impl Repeated {
    pub fn new(callable: Object, keywords: Object) -> Self {
        Self { callable, keywords, arguments: Cell::new(None) }
    }

    /// `callable(argument, **keywords)`
    pub fn call(&self, argument: &Object) -> Result<Object, Raised> {
        // SAFETY: live objects. The tuple is new, or nobody else has it, so its one item may be set.
        unsafe {
            let spare = self.arguments.take();
            let arguments = match spare.filter(|tuple| ffi::Py_REFCNT(tuple.as_ptr()) == 1) {
                Some(tuple) => tuple,
                None => Object::from_new(ffi::PyTuple_New(1))?,
            };
            ffi::PyTuple_SET_ITEM(arguments.as_ptr(), 0, argument.clone().into_raw());
            let result = Object::from_new(ffi::PyObject_Call(
                self.callable.as_ptr(),
                arguments.as_ptr(),
                self.keywords.as_ptr(),
            ));
            if ffi::Py_REFCNT(arguments.as_ptr()) == 1 {
                ffi::PyTuple_SET_ITEM(arguments.as_ptr(), 0, Object::none().into_raw());
                ffi::Py_DECREF(argument.as_ptr());
                self.arguments.set(Some(arguments));
            }
            result
        }
    }
}

/// `callable(*arguments, **keywords)` with a tuple and a dict that can serve any number of calls.
pub fn call_prepared(
    callable: &Object,
    arguments: &Object,
    keywords: &Object,
) -> Result<Object, Raised> {
    // SAFETY: live objects, a tuple and a dict as the callers make them.
    unsafe {
        Object::from_new(ffi::PyObject_Call(
            callable.as_ptr(),
            arguments.as_ptr(),
            keywords.as_ptr(),
        ))
    }
}

/// `object.name(*arguments)`, with up to four arguments.
pub fn call_method(
    object: &Object,
    name: &Object,
    arguments: &[&Object],
) -> Result<Object, Raised> {
    let mut pointers = [std::ptr::null_mut(); 5];
    pointers[0] = object.as_ptr();
    for (slot, argument) in pointers[1..].iter_mut().zip(arguments) {
        *slot = argument.as_ptr();
    }
    // SAFETY: the object and its arguments are live.
    unsafe {
        Object::from_new(ffi::PyObject_VectorcallMethod(
            name.as_ptr(),
            pointers.as_ptr(),
            arguments.len() + 1,
            std::ptr::null_mut(),
        ))
    }
}

/// `object.name`.
pub fn attribute(object: &Object, name: &Object) -> Result<Object, Raised> {
    // SAFETY: live objects.
    unsafe { Object::from_new(ffi::PyObject_GetAttr(object.as_ptr(), name.as_ptr())) }
}

/// `hasattr(object, name)`.
pub fn has_attribute(object: &Object, name: &Object) -> bool {
    // SAFETY: live objects.
    unsafe { ffi::PyObject_HasAttr(object.as_ptr(), name.as_ptr()) != 0 }
}

/// `object.name = value`.
pub fn set_attribute(object: &Object, name: &Object, value: &Object) -> Result<(), Raised> {
    // SAFETY: live objects.
    let status = unsafe { ffi::PyObject_SetAttr(object.as_ptr(), name.as_ptr(), value.as_ptr()) };
    if status < 0 { Err(Raised) } else { Ok(()) }
}

/// A tuple of strings, for the names of keyword arguments.
pub fn keyword_names(names: &[&str]) -> Result<Object, Raised> {
    // SAFETY: a new tuple that is not yet shared, each slot set once.
    unsafe {
        let tuple = Object::from_new(ffi::PyTuple_New(names.len().cast_signed()))?;
        for (index, name) in names.iter().enumerate() {
            let name = super::text::ascii(name.as_bytes())?;
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index.cast_signed(), name.into_raw());
        }
        Ok(tuple)
    }
}

/// What `await object` iterates over: a coroutine itself, else what `__await__` returns.
pub fn awaitable_iterator(object: Object) -> Result<Object, Raised> {
    // SAFETY: a live object.
    if unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) } != 0 {
        return Ok(object);
    }
    if let Ok(method) = attribute(&object, &names().r#await) {
        return call(&method, &[]);
    }
    // SAFETY: a live object; the exception is cleared before going on.
    let is_generator = unsafe {
        ffi::PyErr_Clear();
        ffi::PyGen_Check(object.as_ptr()) != 0
    };
    // A generator-based coroutine (`types.coroutine`) is its own iterator.
    if is_generator {
        Ok(object)
    } else {
        Err(Raised::type_error("the ASGI application did not return an awaitable"))
    }
}

/// How far a step of an iterator got.
pub enum Step {
    Yielded(Object),
    Returned(Object),
}

/// `iterator.send(value)`, without an exception for its end.
pub fn send(iterator: &Object, value: *mut ffi::PyObject) -> Result<Step, Raised> {
    let mut result = std::ptr::null_mut();
    // SAFETY: the iterator is live, `value` is live or `None` (see `native`), and `result` is a new
    // reference unless there was an error.
    unsafe {
        match ffi::PyIter_Send(iterator.as_ptr(), value, &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Object::from_new(result).map(Step::Yielded),
            ffi::PySendResult::PYGEN_RETURN => Object::from_new(result).map(Step::Returned),
            ffi::PySendResult::PYGEN_ERROR => Err(Raised),
        }
    }
}

/// Reads the end of an iterator off the exception that is set: `Returned` for `StopIteration`.
pub fn end_of_iteration(py: Python<'_>) -> Result<Step, Raised> {
    // SAFETY: asks for the exception that is set, if any.
    if unsafe { ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) } == 0 {
        return Err(Raised);
    }
    let exception = Raised.take(py);
    attribute(&exception, &names().value).map(Step::Returned)
}
