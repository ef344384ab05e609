//! Descriptors that Python owns, and what the kernel says of ours.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;

/// A descriptor of our own for the same open socket.
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: not -1; if it is not open, duplicating it fails.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

/// The descriptor that an `int` or an object with `fileno()` stands for.
pub fn of_object(object: &Object) -> Result<RawFd, Raised> {
    // SAFETY: a live object; -1 with an exception set means failure.
    let descriptor = unsafe { ffi::PyObject_AsFileDescriptor(object.as_ptr()) };
    if descriptor < 0 { Err(Raised) } else { Ok(descriptor) }
}

/// Bytes of a TCP socket that the peer has not acknowledged; zero where the kernel does not tell.
pub fn queued_bytes(socket: &impl AsFd) -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut queued: libc::c_int = 0;
        // tcp(7) calls it SIOCOUTQ, which has the number of the terminals' request.
        // SAFETY: an open descriptor; the request writes one `int` and nothing else.
        let status =
            unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
        if status == 0 { u64::try_from(queued).unwrap_or_default() } else { 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        0
    }
}

/// Bounds what the kernel keeps of a TCP socket's bytes before it sends them.
#[cfg(target_os = "linux")]
pub fn set_unsent_bytes_max(socket: &impl AsFd, bytes_max: u32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<u32>()).expect("four");
    // SAFETY: an open descriptor; the option is read from one `int` of the size given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes_max).cast(),
            size,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
