//! Static files: which request names one, and what is known of it.
//!
//! Comes in: a request's path. Goes out: a `Found`, from the cache where it is recent enough. The
//! worker writes the answer. The rules of HTTP are `pronghorn_proto::files`.

/// Opening files below a directory, and nowhere else.
mod directory;
/// Open files and the contents of small ones.
mod cache;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::files::path;
use pronghorn_proto::files::selection::{Validators, http_date};
use rustix::fs::Stat;

use crate::file::{self, FilePart};
use crate::settings::STATIC_CONTENT_BYTES_MAX;
use crate::static_files::cache::Cache;
use crate::static_files::directory::Directory;

/// The name that stands for a directory.
const INDEX: &[u8] = b"index.html";

/// Files that stand beside others, by the suffix of their names, in the order of preference.
const ENCODINGS: [(&[u8], &[u8]); 2] = [(b".br", b"br"), (b".gz", b"gzip")];

/// Directories by their routes.
pub struct StaticFiles {
    routes: Vec<Route>,
    content_types: HashMap<Vec<u8>, Vec<u8>>,
    cache: RefCell<Cache>,
}

struct Route {
    /// Without a slash at its end: empty for `/`.
    prefix: Vec<u8>,
    directory: Directory,
}

/// What a path names.
#[derive(Clone)]
pub enum Found {
    File(Rc<Resource>),
    /// A directory that has an index, without the slash that belongs to its end.
    Directory,
    Nothing,
}

/// A file, with the forms of it that stand beside it.
pub struct Resource {
    pub content_type: Vec<u8>,
    pub plain: Variant,
    /// `content-encoding`, and the file.
    pub encoded: Vec<(&'static [u8], Variant)>,
}

/// One file on disk.
pub struct Variant {
    pub etag: Vec<u8>,
    pub last_modified: Vec<u8>,
    modified_s: u64,
    length: u64,
    content: Content,
    /// What tells this state of the file from another one.
    stamp: Stamp,
}

enum Content {
    InMemory(Rc<[u8]>),
    OnDisk(Rc<OwnedFd>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl StaticFiles {
    /// `routes` are prefixes and directories, those to be tried first in front; `content_types` go by
    /// a name's ending in lower case, without the dot.
    pub fn new(routes: Vec<(Vec<u8>, Vec<u8>)>, content_types: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let routes = routes.into_iter().map(|(prefix, directory)| Route {
            prefix: prefix.strip_suffix(b"/").unwrap_or(&prefix).to_vec(),
            directory: Directory::new(directory),
        });
        Self {
            routes: routes.collect(),
            content_types: content_types.into_iter().collect(),
            cache: RefCell::new(Cache::default()),
        }
    }

    /// Whether a path is below one of the routes.
    pub fn covers(&self, path: &[u8]) -> bool {
        self.route(path).is_some()
    }

    fn route<'p>(&self, path: &'p [u8]) -> Option<(&Route, &'p [u8])> {
        self.routes.iter().find_map(|route| {
            let rest = path.strip_prefix(&*route.prefix)?;
            matches!(rest, [] | [b'/', ..]).then_some((route, rest))
        })
    }

    /// Finds what a path names.
    ///
    /// # Errors
    /// Those of the system: descriptors have run out, the disk fails.
    pub fn find(&self, path: &[u8], now: Instant) -> io::Result<Found> {
        if let Some(found) = self.cache.borrow_mut().fresh(path, now) {
            return Ok(found);
        }
        let known = self.cache.borrow_mut().take(path);
        let found = self.look_up(path, known.as_deref())?;
        if let Found::File(resource) = &found {
            self.cache.borrow_mut().insert(path, resource, now);
        }
        Ok(found)
    }

    fn look_up(&self, path: &[u8], known: Option<&Resource>) -> io::Result<Found> {
        let Some((route, rest)) = self.route(path) else { return Ok(Found::Nothing) };
        // The route itself is a directory without its slash.
        let relative = if rest.is_empty() { Some(Vec::new()) } else { path::relative(rest) };
        let Some(mut relative) = relative else { return Ok(Found::Nothing) };
        let is_directory = relative.is_empty() || relative.ends_with(b"/");
        if is_directory {
            relative.extend_from_slice(INDEX);
        }
        let opened = route.directory.open(&relative)?;
        let Some((file, status)) = opened else { return Ok(Found::Nothing) };
        match file::regular_size(&status) {
            Ok(_) if rest.is_empty() => Ok(Found::Directory),
            Ok(length) => {
                let resource = self.resource(route, &relative, file, &status, length, known)?;
                Ok(Found::File(Rc::new(resource)))
            }
            Err(error) if error.kind() == io::ErrorKind::IsADirectory && !is_directory => {
                let index = [&relative, &b"/"[..], INDEX].concat();
                let opened = route.directory.open(&index)?;
                let has_index =
                    opened.is_some_and(|(_, status)| file::regular_size(&status).is_ok());
                Ok(if has_index { Found::Directory } else { Found::Nothing })
            }
            Err(_) => Ok(Found::Nothing),
        }
    }

    fn resource(
        &self,
        route: &Route,
        relative: &[u8],
        file: OwnedFd,
        status: &Stat,
        length: u64,
        known: Option<&Resource>,
    ) -> io::Result<Resource> {
        let plain = Variant::new(file, status, length, b"", known.map(|known| &known.plain));
        let mut encoded = Vec::new();
        for (suffix, coding) in ENCODINGS {
            let Some((file, status)) = route.directory.open(&[relative, suffix].concat())? else {
                continue;
            };
            let Ok(length) = file::regular_size(&status) else { continue };
            let known = known.and_then(|known| {
                let mut encoded = known.encoded.iter();
                encoded.find(|(other, _)| *other == coding).map(|(_, variant)| variant)
            });
            encoded.push((coding, Variant::new(file, &status, length, suffix, known)));
        }
        Ok(Resource { content_type: self.content_type(relative), plain, encoded })
    }

    fn content_type(&self, path: &[u8]) -> Vec<u8> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let ending = memchr::memrchr(b'.', name).map(|dot| name[dot + 1..].to_ascii_lowercase());
        let known = ending.and_then(|ending| self.content_types.get(&ending).cloned());
        known.unwrap_or_else(|| b"application/octet-stream".to_vec())
    }
}

impl Variant {
    /// A file just opened; what is `known` of it is used again if it has not changed.
    fn new(file: OwnedFd, status: &Stat, length: u64, suffix: &[u8], known: Option<&Self>) -> Self {
        let stamp = Stamp::of(status);
        if let Some(known) = known.filter(|known| known.stamp == stamp) {
            return known.clone();
        }
        let (seconds, nanoseconds) = stamp.modified;
        let modified_s = u64::try_from(seconds).unwrap_or_default();
        let suffix = String::from_utf8_lossy(suffix.strip_prefix(b".").unwrap_or_default());
        let etag = format!("\"{seconds:x}-{nanoseconds:x}-{length:x}{suffix}\"");
        Self {
            etag: etag.into_bytes(),
            last_modified: http_date(modified_s).into_bytes(),
            modified_s,
            length,
            content: Content::new(file, length),
            stamp,
        }
    }

    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.etag, modified_s: self.modified_s, length: self.length }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// All of it, if it is in memory.
    pub fn in_memory(&self) -> Option<&Rc<[u8]>> {
        match &self.content {
            Content::InMemory(content) => Some(content),
            Content::OnDisk(_) => None,
        }
    }

    /// A part of it, if it is on disk.
    pub fn on_disk(&self, offset: u64, length: u64) -> Option<FilePart> {
        match &self.content {
            Content::InMemory(_) => None,
            Content::OnDisk(file) => Some(FilePart::new(file.clone(), offset, length)),
        }
    }
}

impl Clone for Variant {
    fn clone(&self) -> Self {
        Self {
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
            content: match &self.content {
                Content::InMemory(content) => Content::InMemory(content.clone()),
                Content::OnDisk(file) => Content::OnDisk(file.clone()),
            },
            ..*self
        }
    }
}

impl Content {
    /// Small files are read at once. One that changes meanwhile stays on disk, where the end of what
    /// there is will be noticed.
    fn new(file: OwnedFd, length: u64) -> Self {
        let file = Rc::new(file);
        if length <= STATIC_CONTENT_BYTES_MAX as u64 {
            let mut content = vec![0; usize::try_from(length).unwrap_or_default()];
            let mut part = FilePart::new(file.clone(), 0, length);
            let mut read = 0;
            while read < content.len() {
                let Ok(count) = part.read(&mut content[read..]) else {
                    return Self::OnDisk(file);
                };
                read += count;
            }
            return Self::InMemory(content.into());
        }
        Self::OnDisk(file)
    }
}

impl Stamp {
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between systems")]
    #[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "only compared")]
    fn of(status: &Stat) -> Self {
        Self {
            device: status.st_dev as u64,
            inode: status.st_ino as u64,
            size: status.st_size as i64,
            modified: (status.st_mtime as i64, status.st_mtime_nsec as i64),
            changed: (status.st_ctime as i64, status.st_ctime_nsec as i64),
        }
    }
}
