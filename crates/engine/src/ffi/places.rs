//! Places that hold objects: entries of dictionaries, slots of instances, lists.
//!
//! Each is kept with what was in it, and what is in it is only ever compared by address, which costs
//! a few nanoseconds and runs no Python code.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use pyo3::{PyTraverseError, PyVisit, ffi};

type Content = Option<Py<PyAny>>;

fn is_at(place: *mut ffi::PyObject, content: &Content) -> bool {
    place == content.as_ref().map_or(std::ptr::null_mut(), Py::as_ptr)
}

/// An entry of a dictionary, which may be missing.
pub struct Entry {
    dict: Py<PyDict>,
    /// `str` or `bytes`.
    key: Py<PyAny>,
    content: Content,
}

impl Entry {
    pub fn new(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !key.is_exact_instance_of::<PyString>() && !key.is_exact_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err("a key must be `str` or `bytes`"));
        }
        let content = dict.get_item(key)?.map(Bound::unbind);
        Ok(Self { dict: dict.clone().unbind(), key: key.clone().unbind(), content })
    }

    pub fn is_unchanged(&self) -> bool {
        // SAFETY: live objects, an attached thread; the borrowed result is compared and not used. To
        // hash and compare such a key runs no Python code and cannot fail.
        let found = unsafe { ffi::PyDict_GetItem(self.dict.as_ptr(), self.key.as_ptr()) };
        is_at(found, &self.content)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.dict)?;
        visit.call(&self.content)
    }
}

/// A list, with the items that were in it.
pub struct Items {
    list: Py<PyList>,
    content: Vec<Py<PyAny>>,
}

impl Items {
    pub fn new(list: &Bound<'_, PyList>) -> Self {
        let content = list.iter().map(Bound::unbind).collect();
        Self { list: list.clone().unbind(), content }
    }

    pub fn is_unchanged(&self) -> bool {
        // SAFETY: a live list, an attached thread; every index is below the length, and nothing runs
        // in between that could change it.
        unsafe {
            let list = self.list.as_ptr();
            ffi::PyList_GET_SIZE(list).cast_unsigned() == self.content.len()
                && self.content.iter().enumerate().all(|(index, item)| {
                    ffi::PyList_GET_ITEM(list, index.cast_signed()) == item.as_ptr()
                })
        }
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.list)?;
        self.content.iter().try_for_each(|item| visit.call(item))
    }
}

/// A slot (`__slots__`) of an instance.
pub struct Slot {
    instance: Py<PyAny>,
    offset: isize,
    content: Content,
}

impl Slot {
    /// `None` where the class has no slot of that name, but something else or nothing.
    pub fn new(instance: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let name = name.cast::<PyString>()?;
        let Ok(found) = instance.get_type().getattr(name) else { return Ok(None) };
        // SAFETY: what the descriptor's type says is its layout; it always has a member, which lives
        // as long as the class, that is as long as the instance.
        let offset = unsafe {
            if ffi::Py_TYPE(found.as_ptr()) != &raw mut ffi::PyMemberDescr_Type {
                return Ok(None);
            }
            let descriptor = found.as_ptr().cast::<ffi::PyMemberDescrObject>();
            if ffi::PyObject_TypeCheck(instance.as_ptr(), (*descriptor).d_common.d_type) == 0 {
                return Ok(None);
            }
            let member = (*descriptor).d_member;
            if (*member).type_code != ffi::Py_T_OBJECT_EX {
                return Ok(None);
            }
            (*member).offset
        };
        let content = instance.getattr(name).ok().map(Bound::unbind);
        Ok(Some(Self { instance: instance.clone().unbind(), offset, content }))
    }

    pub fn is_unchanged(&self) -> bool {
        // SAFETY: the instance has a reference or null at the offset of a member of its class, and
        // keeps it if it is given another class, which must have the same layout.
        let found = unsafe {
            *self.instance.as_ptr().byte_offset(self.offset).cast::<*mut ffi::PyObject>()
        };
        is_at(found, &self.content)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.instance)?;
        visit.call(&self.content)
    }
}
