//! Whether classes are as they were, for the accelerator, which asks for every request.

use pyo3::prelude::*;
use pyo3::types::PyType;

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
