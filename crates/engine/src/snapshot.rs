//! Whether objects are as they were, for the accelerator, which asks for every request.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};
use pyo3::{PyTraverseError, PyVisit};

use crate::ffi::places::{Entry, Items, Slot};
use crate::ffi::version::version_of;

/// Some classes at one moment.
#[pyclass(frozen, module = "pronghorn._engine")]
pub struct ClassVersions {
    classes: Vec<(Py<PyType>, u32)>,
}

#[pymethods]
impl ClassVersions {
    #[new]
    fn new(classes: Vec<Bound<'_, PyType>>) -> Self {
        let classes = classes
            .into_iter()
            .map(|class| {
                let version = version_of(&class);
                (class.unbind(), version)
            })
            .collect();
        Self { classes }
    }

    /// Whether nothing has been set on any of them since; false where that cannot be told.
    fn are_current(&self, py: Python<'_>) -> bool {
        self.classes
            .iter()
            .all(|(class, version)| *version != 0 && version_of(class.bind(py)) == *version)
    }
}

/// Some attributes and entries at one moment, and the items of those that are lists.
#[pyclass(frozen, module = "pronghorn._engine")]
pub struct Snapshot {
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    lists: Vec<Items>,
}

#[pymethods]
impl Snapshot {
    #[new]
    fn new(places: Vec<(Bound<'_, PyAny>, Bound<'_, PyAny>)>) -> PyResult<Self> {
        let mut snapshot = Self { entries: Vec::new(), slots: Vec::new(), lists: Vec::new() };
        for (owner, name) in places {
            snapshot.add(&owner, &name)?;
        }
        Ok(snapshot)
    }

    /// Whether all of it still is what it was.
    fn holds(&self) -> bool {
        self.entries.iter().all(Entry::is_unchanged)
            && self.slots.iter().all(Slot::is_unchanged)
            && self.lists.iter().all(Items::is_unchanged)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.entries.iter().try_for_each(|entry| entry.traverse(&visit))?;
        self.slots.iter().try_for_each(|slot| slot.traverse(&visit))?;
        self.lists.iter().try_for_each(|list| list.traverse(&visit))
    }
}

impl Snapshot {
    /// A dictionary has entries; what has no such slot has a dictionary of attributes.
    fn add(&mut self, owner: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let content;
        if let Ok(dict) = owner.cast::<PyDict>() {
            content = dict.get_item(name)?;
            self.entries.push(Entry::new(dict, name)?);
        } else if let Some(slot) = Slot::new(owner, name)? {
            content = owner.getattr(name.cast::<PyString>()?).ok();
            self.slots.push(slot);
        } else {
            let attributes = owner.getattr("__dict__")?;
            let attributes = attributes.cast::<PyDict>()?;
            content = attributes.get_item(name)?;
            self.entries.push(Entry::new(attributes, name)?);
        }
        if let Some(list) = content.as_ref().and_then(|content| content.cast::<PyList>().ok()) {
            self.lists.push(Items::new(list));
        }
        Ok(())
    }
}
