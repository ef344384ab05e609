//! Tells the compiler which `CPython` the module is built for, `cfg(Py_3_14)` and the like, and whether
//! there can be an `io_uring(7)`.

use std::env;

/// Those that the crate has definitions for; the same as in `Cargo.toml`.
const ARCHITECTURES: [&str; 5] = ["x86_64", "aarch64", "riscv64", "loongarch64", "powerpc64"];

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo:rustc-check-cfg=cfg(io_uring)");
    let target = |key| env::var(key).expect("Cargo sets it");
    if target("CARGO_CFG_TARGET_OS") == "linux"
        && ARCHITECTURES.contains(&&*target("CARGO_CFG_TARGET_ARCH"))
    {
        println!("cargo:rustc-cfg=io_uring");
    }
}
