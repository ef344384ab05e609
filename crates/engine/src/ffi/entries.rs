//! The entries of a dictionary that is read once, as a message is.

use pyo3::ffi;

use crate::ffi::containers::get_item;
use crate::ffi::error::Raised;
use crate::ffi::object::Object;

/// A dictionary, and how many of its entries have not been found.
///
/// Most messages have no entry but those that are asked for first, so that what they leave out need
/// not be looked up.
pub struct Entries {
    dict: Object,
    others: isize,
}

impl Entries {
    pub fn of(dict: Object) -> Self {
        // SAFETY: a live object; anything but a dictionary has -1 entries.
        let others = unsafe { ffi::PyDict_Size(dict.as_ptr()) };
        Self { dict, others }
    }

    /// `dict.get(key)`, for each key once.
    pub fn find(&mut self, key: &Object) -> Result<Option<Object>, Raised> {
        if self.others == 0 {
            return Ok(None);
        }
        let found = get_item(&self.dict, key)?;
        self.others -= isize::from(found.is_some());
        Ok(found)
    }
}
