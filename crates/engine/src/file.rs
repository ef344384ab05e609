//! Files that responses are made of: a part of an open one, sent or read in bounded pieces.
//!
//! A file is on disk, and reading what the page cache does not hold blocks the loop for as long as
//! the disk takes. So a piece is bounded (`FILE_BYTES_PER_TURN`), and the kernel is told that the
//! file is read from one end to the other: it then reads twice as far ahead, so that most pieces
//! find their pages there.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, pread, retry_on_intr};

/// How every file is opened: a pipe or a terminal must not wait for its other end.
pub const OPEN_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// Files of at least this size are announced to the kernel as read from end to end.
const READ_AHEAD_BYTES_MIN: u64 = 256 * 1024;

/// A part of an open regular file.
#[derive(Clone, Debug)]
pub struct FilePart {
    file: Rc<OwnedFd>,
    offset: u64,
    remaining: u64,
}

/// The file has become shorter, or cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl FilePart {
    /// So many bytes from `offset` on. That the file has them is found out when they are sent.
    pub fn new(file: Rc<OwnedFd>, offset: u64, length: u64) -> Self {
        if length >= READ_AHEAD_BYTES_MIN {
            advise(&file, offset);
        }
        Self { file, offset, remaining: length }
    }

    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Has the kernel send at most so many bytes to `socket`, and tells how many it took.
    #[cfg(target_os = "linux")]
    pub fn send_to(
        &mut self,
        socket: &impl std::os::fd::AsFd,
        bytes_max: u64,
    ) -> Result<Result<u64, Errno>, Truncated> {
        let count = usize::try_from(self.remaining.min(bytes_max)).unwrap_or(usize::MAX);
        let mut offset = self.offset;
        match rustix::fs::sendfile(socket, &*self.file, Some(&mut offset), count) {
            Ok(0) | Err(Errno::IO) => Err(Truncated),
            Ok(sent) => Ok(Ok(self.advance(sent))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Reads the next bytes, as many as fit, where they cannot go from the kernel to the socket.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Truncated> {
        let count = self.remaining_up_to(buffer.len());
        let read = retry_on_intr(|| pread(&*self.file, &mut buffer[..count], self.offset));
        self.note_read(read)
    }

    /// The same into a piece of their own, of at most so many bytes.
    pub fn read_piece(&mut self, bytes_max: usize) -> Result<Vec<u8>, Truncated> {
        let count = self.remaining_up_to(bytes_max);
        let mut piece = Vec::with_capacity(count);
        let read = retry_on_intr(|| pread(&*self.file, spare_capacity(&mut piece), self.offset));
        // It may have more room than was asked for.
        self.note_read(read.map(|read| read.min(count)))?;
        piece.truncate(count);
        Ok(piece)
    }

    fn remaining_up_to(&self, bytes_max: usize) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes_max)
    }

    fn note_read(&mut self, read: rustix::io::Result<usize>) -> Result<usize, Truncated> {
        match read {
            Err(_) | Ok(0) => Err(Truncated),
            Ok(read) => {
                self.advance(read);
                Ok(read)
            }
        }
    }

    /// What has been read could not be sent.
    pub fn step_back(&mut self, bytes: usize) {
        self.offset -= bytes as u64;
        self.remaining += bytes as u64;
    }

    fn advance(&mut self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.offset += bytes;
        self.remaining -= bytes.min(self.remaining);
        bytes
    }
}

/// Tells the kernel that all from `offset` on will be read in order.
#[cfg(target_os = "linux")]
fn advise(file: &OwnedFd, offset: u64) {
    // Nothing depends on it.
    let _ = rustix::fs::fadvise(file, offset, None, rustix::fs::Advice::Sequential);
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &OwnedFd, _: u64) {}

/// Opens a regular file for reading, and tells its size.
pub fn open(path: &CStr) -> io::Result<(OwnedFd, u64)> {
    let file = rustix::fs::open(path, OPEN_FLAGS, Mode::empty())?;
    let size = regular_size(&rustix::fs::fstat(&file)?)?;
    Ok((file, size))
}

/// The size of a regular file. Nothing else has one that can be relied on.
pub fn regular_size(status: &Stat) -> io::Result<u64> {
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => Ok(u64::try_from(status.st_size).unwrap_or_default()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}
