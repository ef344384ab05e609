//! Opens files below a directory, and nowhere else.
//!
//! Where the kernel resolves a path beneath a directory itself (Linux 5.6), links are followed as long
//! as they stay inside. Elsewhere each component is opened in the one before it, and links are not
//! followed at all.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, Stat, fstat, open, openat};
use rustix::io::Errno;

use crate::file::OPEN_FLAGS;

/// A directory by its path, which may come to mean another one: deployments move a link.
pub struct Directory {
    path: PathBuf,
    /// The kernel knows how to stay beneath it.
    resolves_beneath: Cell<bool>,
}

impl Directory {
    pub fn new(path: Vec<u8>) -> Self {
        let path = PathBuf::from(OsString::from_vec(path));
        Self { path, resolves_beneath: Cell::new(cfg!(target_os = "linux")) }
    }

    /// Opens what has the relative path, `None` if nothing there may be read.
    ///
    /// # Errors
    /// Those that say nothing of the file: descriptors or memory have run out, the disk fails.
    pub fn open(&self, relative: &[u8]) -> io::Result<Option<(OwnedFd, Stat)>> {
        let opened = self.try_open(relative).and_then(|file| {
            let status = fstat(&file)?;
            Ok((file, status))
        });
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(
                error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::NOBUFS),
            ) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    fn try_open(&self, relative: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = open(&self.path, flags, Mode::empty())?;
        if self.resolves_beneath.get() {
            match open_beneath(&directory, relative) {
                Err(Errno::NOSYS | Errno::PERM) => self.resolves_beneath.set(false),
                outcome => return outcome,
            }
        }
        open_by_components(directory, relative)
    }
}

#[cfg(target_os = "linux")]
fn open_beneath(directory: &OwnedFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    /// Renames while a path is resolved make the kernel give up.
    const ATTEMPTS: usize = 8;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut outcome = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        outcome = openat2(directory, relative, OPEN_FLAGS, Mode::empty(), resolve);
        if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    outcome
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_: &OwnedFd, _: &[u8]) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// The components are names: `pronghorn_proto::files::path` lets no others pass.
fn open_by_components(directory: OwnedFd, relative: &[u8]) -> Result<OwnedFd, Errno> {
    let mut opened = directory;
    let mut components = relative.split(|&byte| byte == b'/').peekable();
    while let Some(component) = components.next() {
        let kind = if components.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        let flags = OPEN_FLAGS | OFlags::NOFOLLOW | kind;
        opened = openat(&opened, component, flags, Mode::empty())?;
    }
    Ok(opened)
}
