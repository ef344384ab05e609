//! `bytes` and `str`: made from ranges of received bytes, and read without a copy.

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;

fn length(bytes: &[u8]) -> ffi::Py_ssize_t {
    // A slice never exceeds `isize::MAX` bytes.
    bytes.len().cast_signed()
}

/// `bytes` with a copy of `source`.
pub fn bytes(source: &[u8]) -> Result<Object, Raised> {
    // SAFETY: pointer and length are of one slice.
    unsafe {
        Object::from_new(ffi::PyBytes_FromStringAndSize(source.as_ptr().cast(), length(source)))
    }
}

/// `bytes` of a known size, filled by `fill`.
fn bytes_with(size: usize, fill: impl FnOnce(&mut [u8])) -> Result<Object, Raised> {
    // SAFETY: with a null source the new object is uninitialised, not yet shared, and `size` bytes
    // long; zeroing makes it a valid slice.
    unsafe {
        let object =
            Object::from_new(ffi::PyBytes_FromStringAndSize(std::ptr::null(), size.cast_signed()))?;
        let data = ffi::PyBytes_AS_STRING(object.as_ptr()).cast::<u8>().cast_mut();
        std::ptr::write_bytes(data, 0, size);
        fill(std::slice::from_raw_parts_mut(data, size));
        Ok(object)
    }
}

/// `bytes` of `prefix` and `source`.
pub fn joined_bytes(prefix: &[u8], source: &[u8]) -> Result<Object, Raised> {
    if prefix.is_empty() {
        return bytes(source);
    }
    bytes_with(prefix.len() + source.len(), |data| {
        let (head, tail) = data.split_at_mut(prefix.len());
        head.copy_from_slice(prefix);
        tail.copy_from_slice(source);
    })
}

/// `bytes` of `source` in ASCII lower case.
pub fn lower_bytes(source: &[u8]) -> Result<Object, Raised> {
    bytes_with(source.len(), |data| {
        data.copy_from_slice(source);
        data.make_ascii_lowercase();
    })
}

/// The content of an exact or derived `bytes`, `None` for anything else.
pub fn as_bytes(object: &Object) -> Option<&[u8]> {
    // SAFETY: a `bytes` is immutable and lives as long as `object` is borrowed.
    unsafe {
        if ffi::PyBytes_Check(object.as_ptr()) == 0 {
            return None;
        }
        let data = ffi::PyBytes_AS_STRING(object.as_ptr()).cast::<u8>();
        let size = ffi::Py_SIZE(object.as_ptr()).cast_unsigned();
        Some(std::slice::from_raw_parts(data, size))
    }
}

/// Copies anything that offers a buffer (`bytearray`, `memoryview`...) to `bytes`.
pub fn bytes_of_buffer(object: &Object) -> Result<Object, Raised> {
    // SAFETY: a live object.
    unsafe {
        if ffi::PyObject_CheckBuffer(object.as_ptr()) == 0 {
            return Err(Raised::type_error("a bytes-like object is required"));
        }
        Object::from_new(ffi::PyBytes_FromObject(object.as_ptr()))
    }
}

/// The file system's form of a path: `str`, `bytes` or what `os.fspath` takes, without a NUL.
pub fn path_bytes(path: &Object) -> Result<Vec<u8>, Raised> {
    let mut converted = std::ptr::null_mut::<ffi::PyObject>();
    // SAFETY: a live object, and a place for the `bytes` that it is converted to.
    let bytes = unsafe {
        if ffi::PyUnicode_FSConverter(path.as_ptr(), (&raw mut converted).cast()) == 0 {
            return Err(Raised);
        }
        Object::from_new(converted)?
    };
    Ok(as_bytes(&bytes).unwrap_or_default().to_vec())
}

/// `str` of bytes that are all ASCII.
pub fn ascii(source: &[u8]) -> Result<Object, Raised> {
    debug_assert!(source.is_ascii());
    // SAFETY: a new `str` of `source.len()` one-byte characters, not yet shared; ASCII fits.
    unsafe {
        let object = Object::from_new(ffi::PyUnicode_New(length(source), 0x7f))?;
        let data = ffi::PyUnicode_DATA(object.as_ptr()).cast::<u8>();
        std::ptr::copy_nonoverlapping(source.as_ptr(), data, source.len());
        Ok(object)
    }
}

/// `str` of UTF-8, with U+FFFD for what is not (as `urllib.parse.unquote` does).
pub fn utf8_lossy(source: &[u8]) -> Result<Object, Raised> {
    // SAFETY: pointer and length are of one slice; the error handler's name ends with NUL.
    unsafe {
        Object::from_new(ffi::PyUnicode_DecodeUTF8(
            source.as_ptr().cast(),
            length(source),
            c"replace".as_ptr(),
        ))
    }
}

/// `str` of UTF-8 that is known to be valid.
pub fn utf8(source: &[u8]) -> Result<Object, Raised> {
    if source.is_ascii() { ascii(source) } else { utf8_lossy(source) }
}

/// The content of a `str`.
///
/// # Errors
/// It is something else, or has lone surrogates.
pub fn utf8_of<'o>(object: &'o Object, complaint: &str) -> Result<&'o str, Raised> {
    if let Some(text) = as_str(object) {
        return Ok(text);
    }
    // SAFETY: a live object; of a `str` this fails, with the exception that says why.
    let encoded = unsafe {
        if ffi::PyUnicode_Check(object.as_ptr()) == 0 {
            return Err(Raised::type_error(complaint));
        }
        Object::from_new(ffi::PyUnicode_AsUTF8String(object.as_ptr()))
    };
    Err(encoded.err().unwrap_or_else(|| Raised::type_error(complaint)))
}

/// The content of a `str`, `None` for anything else or lone surrogates.
pub fn as_str(object: &Object) -> Option<&str> {
    // SAFETY: the UTF-8 form is cached in the `str`, which is immutable and outlives the borrow.
    unsafe {
        if ffi::PyUnicode_Check(object.as_ptr()) == 0 {
            return None;
        }
        let mut size = 0;
        let data = ffi::PyUnicode_AsUTF8AndSize(object.as_ptr(), &raw mut size);
        if data.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), size.cast_unsigned());
        Some(std::str::from_utf8_unchecked(bytes))
    }
}

/// `str(object)`.
pub fn of(object: &Object) -> Result<String, Raised> {
    // SAFETY: a live object.
    let string = unsafe { Object::from_new(ffi::PyObject_Str(object.as_ptr()))? };
    Ok(as_str(&string).unwrap_or_default().to_owned())
}
