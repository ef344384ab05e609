//! Words in memory that several processes have mapped.

use std::sync::atomic::AtomicU32;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Words that the processes of one server read and write. Nothing in them may be relied on for
/// memory safety: any of these processes can write anything.
pub type SharedWords = &'static [AtomicU32];

/// The words of a writable, contiguous buffer of `unsigned int`. The buffer is kept until the
/// process ends: a process has few of these, and a thread may use them to the last.
pub fn shared_words(object: &Bound<'_, PyAny>) -> PyResult<SharedWords> {
    let buffer = PyBuffer::<u32>::get(object)?;
    if buffer.readonly() || !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err("needs a writable, contiguous buffer"));
    }
    let (start, count) = (buffer.buf_ptr().cast::<AtomicU32>(), buffer.item_count());
    // Without its release, the exporter neither moves nor frees the memory.
    std::mem::forget(buffer);
    // SAFETY: the buffer holds `count` aligned words (checked by `PyBuffer`), stays for ever, and
    // is only reached through atomics from here; Python writes single words with plain stores.
    Ok(unsafe { std::slice::from_raw_parts(start, count) })
}
