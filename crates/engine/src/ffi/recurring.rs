//! Dictionaries in a template, with the same entries for every request, each of which may do with
//! its own what it likes.
//!
//! A template is copied for a request, and the copy holds what the template holds. Hardly any
//! application keeps or changes the dictionaries in it. So the last one made stays in the template
//! if nobody else holds it, or a dictionary in it, and it is what it was.

use std::cell::RefCell;

use pyo3::ffi;

use crate::ffi::containers::{copy_dict, entries, new_dict, set_item};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::version::version_of_dict;

/// The dictionary that a template has under a key.
pub struct Recurring {
    template: Object,
    key: &'static Object,
    /// What each is a copy of.
    source: Object,
    /// Keys under which each has an empty dictionary of its own.
    empty_keys: Vec<&'static Object>,
    last: RefCell<Made>,
}

struct Made {
    dict: Object,
    empty_dicts: Vec<Object>,
    /// What has been put there for a copy of the template, and under which key.
    put: Option<(Object, Object)>,
    version: Option<u64>,
    source_version: Option<u64>,
}

impl Recurring {
    /// Sets the first dictionary in `template`.
    pub fn new(
        template: &Object,
        key: &'static Object,
        source: &Object,
        empty_keys: &[&'static Object],
    ) -> Result<Self, Raised> {
        let made = make(source, empty_keys)?;
        set_item(template, key, &made.dict)?;
        Ok(Self {
            template: template.clone(),
            key,
            source: source.clone(),
            empty_keys: empty_keys.to_vec(),
            last: RefCell::new(made),
        })
    }

    /// The dictionary is what one would be that is made now, and nobody but the template has it.
    /// Runs no Python code.
    pub fn is_untouched(&self) -> bool {
        let last = self.last.borrow();
        is_ours_alone(&last.dict)
            && last.empty_dicts.iter().all(|dict| is_ours_alone(dict) && len(dict) == 0)
            && self.is_as_made(&last)
    }

    /// Has the template hold another one.
    pub fn renew(&self) -> Result<(), Raised> {
        let made = make(&self.source, &self.empty_keys)?;
        set_item(&self.template, self.key, &made.dict)?;
        let replaced = self.last.replace(made);
        // What an application has put there may run code when it goes.
        drop(replaced);
        Ok(())
    }

    /// Sets an entry of the dictionary that the source has too. Runs no Python code before what is
    /// returned is dropped: what was put there before.
    pub fn put(&self, key: &Object, value: Object) -> Result<Option<Object>, Raised> {
        let mut last = self.last.borrow_mut();
        set_item(&last.dict, key, &value)?;
        last.version = version_of_dict(&last.dict);
        Ok(last.put.replace((key.clone(), value)).map(|(_, replaced)| replaced))
    }

    fn is_as_made(&self, made: &Made) -> bool {
        if made.version.is_some() {
            return made.version == version_of_dict(&made.dict)
                && made.source_version == version_of_dict(&self.source);
        }
        let own = |key| {
            let empty = self.empty_keys.iter().copied().zip(&made.empty_dicts);
            let put = made.put.iter().map(|(key, value)| (key, value));
            empty.chain(put).find(|(name, _)| name.as_ptr() == key).map(|(_, value)| value.as_ptr())
        };
        // SAFETY: live dictionaries; nothing here runs Python code, so what is borrowed stays.
        len(&made.dict) == len(&self.source)
            && unsafe { entries(made.dict.as_ptr()).zip(entries(self.source.as_ptr())) }.all(
                |((key, value), (name, expected))| {
                    key == name && value == own(key).unwrap_or(expected)
                },
            )
    }
}

fn make(source: &Object, empty_keys: &[&'static Object]) -> Result<Made, Raised> {
    // Before the copy, which can run the collector.
    let source_version = version_of_dict(source);
    let dict = copy_dict(source)?;
    let mut empty_dicts = Vec::with_capacity(empty_keys.len());
    for key in empty_keys {
        let empty = new_dict()?;
        set_item(&dict, key, &empty)?;
        empty_dicts.push(empty);
    }
    let version = version_of_dict(&dict);
    Ok(Made { dict, empty_dicts, put: None, version, source_version })
}

/// Nobody has a dictionary but the one that it is in, and `Made`.
fn is_ours_alone(dict: &Object) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(dict.as_ptr()) == 2 }
}

fn len(dict: &Object) -> isize {
    // SAFETY: a live dictionary.
    unsafe { ffi::PyDict_Size(dict.as_ptr()) }
}
