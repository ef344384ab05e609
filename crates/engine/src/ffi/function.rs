//! `receive` and `send`: builtin functions bound to a native object.
//!
//! A builtin costs 8 ns to call, an object with `__call__` 30.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::native::{Native, Ref, guarded};
use crate::ffi::object::Object;

/// A native object with the two functions of an ASGI channel.
pub trait Channel: Native {
    fn receive(this: &Ref<Self>) -> Result<Object, Raised>;
    fn send(this: &Ref<Self>, message: &Object) -> Result<Object, Raised>;
}

/// `receive`, bound.
pub fn receive_of<T: Channel>(channel: &Ref<T>) -> Result<Object, Raised> {
    bind(receive_definition::<T>(), channel.object())
}

/// `send`, bound.
pub fn send_of<T: Channel>(channel: &Ref<T>) -> Result<Object, Raised> {
    bind(send_definition::<T>(), channel.object())
}

const fn receive_definition<T: Channel>() -> &'static ffi::PyMethodDef {
    const {
        let method = ffi::PyMethodDefPointer { PyCFunction: receive::<T> };
        &definition(c"receive", method, ffi::METH_NOARGS, c"Await the next ASGI message.")
    }
}

const fn send_definition<T: Channel>() -> &'static ffi::PyMethodDef {
    const {
        let method = ffi::PyMethodDefPointer { PyCFunction: send::<T> };
        &definition(c"send", method, ffi::METH_O, c"Send an ASGI message.")
    }
}

const fn definition(
    name: &'static CStr,
    method: ffi::PyMethodDefPointer,
    flags: c_int,
    description: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: method,
        ml_flags: flags,
        ml_doc: description.as_ptr(),
    }
}

/// The functions of the channel before, for the next one: hardly any application keeps them.
#[derive(Default)]
pub struct SpareFunctions {
    receive: Cell<Option<Object>>,
    send: Cell<Option<Object>>,
}

impl SpareFunctions {
    /// `receive` and `send`, bound.
    pub fn functions_of<T: Channel>(&self, channel: &Ref<T>) -> Result<[Object; 2], Raised> {
        let bound = |spare: &Cell<Option<Object>>, definition| match spare.take() {
            Some(function) => Ok(bind_again(function, definition, channel.object())),
            None => bind(definition, channel.object()),
        };
        Ok([
            bound(&self.receive, receive_definition::<T>())?,
            bound(&self.send, send_definition::<T>())?,
        ])
    }

    /// Takes back what nobody else has.
    pub fn keep(&self, functions: [Object; 2]) {
        let [receive, send] = functions.map(unbound);
        self.receive.set(receive);
        self.send.set(send);
    }
}

/// A function that is bound to nothing, if nobody but the caller can reach it.
fn unbound(function: Object) -> Option<Object> {
    // SAFETY: what the type says is the object's layout. Without a second reference, a weak one or the
    // collector's, nobody can come across the function before it is bound again; to deallocate one
    // that is bound to nothing is allowed.
    unsafe {
        let builtin = function.as_ptr().cast::<ffi::PyCFunctionObject>();
        if ffi::Py_REFCNT(function.as_ptr()) > 1 || !(*builtin).m_weakreflist.is_null() {
            return None;
        }
        ffi::PyObject_GC_UnTrack(function.as_ptr().cast());
        let this = std::mem::replace(&mut (*builtin).m_self, std::ptr::null_mut());
        drop(Object::from_new(this));
    }
    Some(function)
}

/// Binds a function again that was `unbound`, with a definition of the same calling convention.
fn bind_again(function: Object, definition: &'static ffi::PyMethodDef, this: &Object) -> Object {
    // SAFETY: as for `unbound` and `bind`.
    unsafe {
        let builtin = function.as_ptr().cast::<ffi::PyCFunctionObject>();
        (*builtin).m_ml = std::ptr::from_ref(definition).cast_mut();
        (*builtin).m_self = this.clone().into_raw();
        ffi::PyObject_GC_Track(function.as_ptr().cast());
    }
    function
}

/// The channel whose `receive` this is.
pub fn channel_of_receive<T: Channel>(function: &Object) -> Option<Ref<T>> {
    channel_of(function, receive::<T>)
}

/// The channel whose `send` this is.
pub fn channel_of_send<T: Channel>(function: &Object) -> Option<Ref<T>> {
    channel_of(function, send::<T>)
}

fn channel_of<T: Channel>(function: &Object, implementation: ffi::PyCFunction) -> Option<Ref<T>> {
    // SAFETY: what the type says is the object's layout, and the definition of a builtin function
    // outlives it. It is `T`'s own function, so what it is bound to is an instance of `T`; it is alive
    // as the function is.
    unsafe {
        if ffi::PyCFunction_CheckExact(function.as_ptr()) == 0 {
            return None;
        }
        let builtin = function.as_ptr().cast::<ffi::PyCFunctionObject>();
        let is_ours = ffi::PyCFunction_GetFunction(function.as_ptr())
            .is_some_and(|found| std::ptr::fn_addr_eq(found, implementation));
        let this = (*builtin).m_self;
        (is_ours && Ref::<T>::is_instance(this)).then(|| Ref::<T>::at(&this).clone())
    }
}

/// A builtin function whose first argument is `this`.
pub(super) fn bind(definition: &'static ffi::PyMethodDef, this: &Object) -> Result<Object, Raised> {
    // SAFETY: the definition is static and never written to.
    unsafe {
        Object::from_new(ffi::PyCFunction_NewEx(
            std::ptr::from_ref(definition).cast_mut(),
            this.as_ptr(),
            std::ptr::null_mut(),
        ))
    }
}

unsafe extern "C" fn receive<T: Channel>(
    this: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: bound to an instance of `T`.
    guarded(std::ptr::null_mut(), || unsafe { T::receive(Ref::at(&this)).map(Object::into_raw) })
}

unsafe extern "C" fn send<T: Channel>(
    this: *mut ffi::PyObject,
    message: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: bound to an instance of `T`, called with one live argument.
    guarded(std::ptr::null_mut(), || unsafe {
        let message = Object::from_borrowed(message);
        T::send(Ref::at(&this), &message).map(Object::into_raw)
    })
}
