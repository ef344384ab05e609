//! Dictionaries with the same entries for every request, each of which may do with its own what it
//! likes.
//!
//! Hardly any application keeps or changes them, so the last one made is handed out again if nobody
//! but its maker holds it, or a dictionary in it, and it is what it was. To look costs a third of
//! making another.

use std::cell::RefCell;

use pyo3::ffi;

use crate::ffi::containers::{entries, new_dict, set_item};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;

/// Makes dictionaries with certain entries.
pub struct Recurring {
    entries: Vec<(Object, Expected)>,
    last: RefCell<Option<Object>>,
}

enum Expected {
    /// An immutable value, the same in all.
    Value(Object),
    /// An empty dictionary, one of its own in each.
    EmptyDict,
    /// What whoever asks for the dictionary sets.
    Changing,
}

impl Recurring {
    pub fn of_values(entries: impl IntoIterator<Item = (Object, Object)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key, Expected::Value(value)));
        Self { entries: entries.collect(), last: RefCell::new(None) }
    }

    pub fn of_empty_dicts(keys: impl IntoIterator<Item = Object>) -> Self {
        let entries = keys.into_iter().map(|key| (key, Expected::EmptyDict));
        Self { entries: entries.collect(), last: RefCell::new(None) }
    }

    /// The same with one more entry, last, whose value is set by whoever asks for a dictionary.
    pub fn with_changing(mut self, key: Object) -> Self {
        self.entries.push((key, Expected::Changing));
        self
    }

    /// A dictionary that nobody else has.
    pub fn next(&self) -> Result<Object, Raised> {
        if let Some(last) = &*self.last.borrow()
            && self.is_untouched(last)
        {
            return Ok(last.clone());
        }
        let next = self.make()?;
        let replaced = self.last.replace(Some(next.clone()));
        // What an application has put there may run code when it goes.
        drop(replaced);
        Ok(next)
    }

    /// One that will not be handed out again.
    pub fn make(&self) -> Result<Object, Raised> {
        let dict = new_dict()?;
        for (key, expected) in &self.entries {
            match expected {
                Expected::Value(value) => set_item(&dict, key, value)?,
                Expected::EmptyDict => set_item(&dict, key, &new_dict()?)?,
                Expected::Changing => set_item(&dict, key, &Object::none())?,
            }
        }
        Ok(dict)
    }

    fn is_untouched(&self, dict: &Object) -> bool {
        // SAFETY: a live dictionary; nothing here runs Python code, so what is borrowed stays.
        unsafe {
            ffi::Py_REFCNT(dict.as_ptr()) == 1
                && ffi::PyDict_Size(dict.as_ptr()) == self.entries.len().cast_signed()
                && entries(dict.as_ptr()).zip(&self.entries).all(
                    |((key, value), (name, expected))| {
                        key == name.as_ptr()
                            && match expected {
                                Expected::Value(expected) => value == expected.as_ptr(),
                                Expected::EmptyDict => is_unshared_empty_dict(value),
                                Expected::Changing => true,
                            }
                    },
                )
        }
    }
}

/// # Safety
/// A live object.
unsafe fn is_unshared_empty_dict(object: *mut ffi::PyObject) -> bool {
    // SAFETY: by the contract; the type is checked first.
    unsafe {
        ffi::PyDict_CheckExact(object) != 0
            && ffi::Py_REFCNT(object) == 1
            && ffi::PyDict_Size(object) == 0
    }
}
