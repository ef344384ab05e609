//! Tells the compiler which `CPython` the module is built for: `cfg(Py_3_14)` and the like.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
