//! Descriptors that Python owns.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own for the same open socket.
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: not -1; if it is not open, duplicating it fails.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}
