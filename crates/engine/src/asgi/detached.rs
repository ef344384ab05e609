//! Files that an application hands over instead of their bytes.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{SeekFrom, fstat, seek};

use crate::ffi::call::call_method;
use crate::ffi::containers::{as_u64, integer, is_integer};
use crate::ffi::error::Raised;
use crate::ffi::fd;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::file::{self, FilePart};

/// Where the bytes are.
pub enum Source {
    /// The whole file at an absolute path (`http.response.pathsend`).
    Path(Object),
    /// A part of a file that the application has open, and closes when it likes
    /// (`http.response.zerocopysend`).
    Descriptor { file: Object, offset: Option<u64>, count: Option<u64> },
}

impl Source {
    /// The type of the message, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Path(_) => "http.response.pathsend",
            Self::Descriptor { .. } => "http.response.zerocopysend",
        }
    }

    /// The bytes, as a part of an open file.
    pub fn open(&self) -> Result<FilePart, Raised> {
        match self {
            Self::Path(path) => by_path(path),
            Self::Descriptor { file, offset, count } => by_descriptor(file, *offset, *count),
        }
    }
}

fn by_path(path: &Object) -> Result<FilePart, Raised> {
    let bytes = text::path_bytes(path)?;
    if !Path::new(OsStr::from_bytes(&bytes)).is_absolute() {
        let shown = String::from_utf8_lossy(&bytes);
        return Err(Raised::runtime_error(&format!(
            "`http.response.pathsend` needs an absolute path, not `{shown}`."
        )));
    }
    // Python has refused a path with a NUL.
    let c_path = CString::new(bytes).unwrap_or_default();
    let (file, size) = file::open(&c_path).map_err(|error| Raised::os_error(&error, path))?;
    Ok(FilePart::new(Rc::new(file), 0, size))
}

/// Without an offset it starts where the file stands, which then moves, as `os.sendfile` has it.
fn by_descriptor(
    file: &Object,
    offset: Option<u64>,
    count: Option<u64>,
) -> Result<FilePart, Raised> {
    let descriptor = fd::of_object(file)?;
    let failed = |error: &std::io::Error| Raised::os_error(error, file);
    let own = Rc::new(fd::duplicate(descriptor).map_err(|error| failed(&error))?);
    let size = fstat(&*own).map_err(Into::into).and_then(|status| file::regular_size(&status));
    let size = size.map_err(|_| {
        Raised::runtime_error(
            "`http.response.zerocopysend` needs the descriptor of a regular file.",
        )
    })?;
    let part = |start: u64| {
        let length = size.saturating_sub(start).min(count.unwrap_or(u64::MAX));
        (start.saturating_add(length), FilePart::new(own.clone(), start, length))
    };
    if let Some(offset) = offset {
        return Ok(part(offset).1);
    }
    if is_integer(file) {
        let start = seek(&*own, SeekFrom::Current(0)).map_err(|error| failed(&error.into()))?;
        let (end, part) = part(start);
        seek(&*own, SeekFrom::Start(end)).map_err(|error| failed(&error.into()))?;
        return Ok(part);
    }
    // The position of a buffered file object is not that of its descriptor.
    let (end, part) = part(as_u64(&call_method(file, &names().tell, &[])?)?);
    call_method(file, &names().seek, &[&integer(end)?])?;
    Ok(part)
}
