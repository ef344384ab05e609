//! The set behind `asyncio.all_tasks()`, made cheap to be entered (CPython 3.11).
//!
//! There every task is put into a `weakref.WeakSet`, whose `add` and whose clean-up are Python code:
//! an eighth of what a short request costs. So the set gets an instance attribute `add` that does
//! the same to the same entries, weak references that leave the set when their task goes. From
//! 3.12 on, a task that ends with its first step never enters the set.

use pyo3::ffi;

use crate::ffi::call::attribute;
use crate::ffi::containers::{delete_if, set_item, triple};
use crate::ffi::error::Raised;
use crate::ffi::function;
use crate::ffi::names::names;
use crate::ffi::native::guarded;
use crate::ffi::object::Object;
use crate::ffi::text;

/// The attributes of the set, with `add` among them.
pub struct AllTasks {
    attributes: Object,
    add: Object,
}

impl AllTasks {
    /// `tasks` is a `weakref.WeakSet` of `CPython` 3.11.
    pub fn new(tasks: &Object) -> Result<Self, Raised> {
        let of = |name: &str| attribute(tasks, &text::ascii(name.as_bytes())?);
        let parts = triple(of("data")?, of("_iterating")?, of("_pending_removals")?)?;
        let this = Self {
            attributes: of("__dict__")?,
            add: function::bind(ADD, &function::bind(REMOVE, &parts)?)?,
        };
        set_item(&this.attributes, &names().add, &this.add)?;
        Ok(this)
    }

    /// Leaves the set as it was.
    pub fn remove(&self) {
        delete_if(&self.attributes, &names().add, &self.add);
    }
}

/// What a `WeakSet` is made of.
struct Parts {
    /// The weak references.
    data: *mut ffi::PyObject,
    /// Not empty while somebody iterates over them.
    iterating: *mut ffi::PyObject,
    /// The dead ones that could not be taken out meanwhile.
    pending_removals: *mut ffi::PyObject,
}

impl Parts {
    /// # Safety
    /// `parts` is the tuple that `AllTasks::new` has made.
    unsafe fn of(parts: *mut ffi::PyObject) -> Self {
        // SAFETY: by the contract.
        let part = |index| unsafe { ffi::PyTuple_GET_ITEM(parts, index) };
        Self { data: part(0), iterating: part(1), pending_removals: part(2) }
    }
}

const ADD: &ffi::PyMethodDef = &ffi::PyMethodDef {
    ml_name: c"add".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: add },
    ml_flags: ffi::METH_O,
    ml_doc: std::ptr::null(),
};

const REMOVE: &ffi::PyMethodDef = &ffi::PyMethodDef {
    ml_name: c"remove".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: remove },
    ml_flags: ffi::METH_O,
    ml_doc: std::ptr::null(),
};

/// `WeakSet.add`.
unsafe extern "C" fn add(
    callback: *mut ffi::PyObject,
    task: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: bound to `remove`, which is bound to the parts; called with a live task.
        unsafe {
            let parts = Parts::of(ffi::PyCFunction_GET_SELF(callback));
            commit_removals(&parts)?;
            let entry = Object::from_new(ffi::PyWeakref_NewRef(task, callback))?;
            if ffi::PySet_Add(parts.data, entry.as_ptr()) < 0 {
                return Err(Raised);
            }
        }
        Ok(Object::none().into_raw())
    })
}

/// `WeakSet._commit_removals`.
///
/// # Safety
/// The parts of a live set.
unsafe fn commit_removals(parts: &Parts) -> Result<(), Raised> {
    // SAFETY: a list of entries, taken from its end; the set's references keep none of them alive.
    unsafe {
        loop {
            let last = ffi::PyList_Size(parts.pending_removals) - 1;
            if last < 0 {
                return Ok(());
            }
            let entry = Object::from_borrowed(ffi::PyList_GET_ITEM(parts.pending_removals, last));
            let end = last + 1;
            if ffi::PyList_SetSlice(parts.pending_removals, last, end, std::ptr::null_mut()) < 0
                || ffi::PySet_Discard(parts.data, entry.as_ptr()) < 0
            {
                return Err(Raised);
            }
        }
    }
}

/// What a `WeakSet` does when an entry's object is gone.
unsafe extern "C" fn remove(
    parts: *mut ffi::PyObject,
    entry: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: bound to the parts; called with a live weak reference.
        let status = unsafe {
            let parts = Parts::of(parts);
            if ffi::PySet_Size(parts.iterating) > 0 {
                ffi::PyList_Append(parts.pending_removals, entry)
            } else {
                ffi::PySet_Discard(parts.data, entry)
            }
        };
        if status < 0 { Err(Raised) } else { Ok(Object::none().into_raw()) }
    })
}
