//! What has been found lately. An entry is looked at again after a second, so that a file that has
//! changed is seen soon and one that has not costs nothing.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use crate::settings::{
    STATIC_CACHE_BYTES_MAX, STATIC_CACHE_DESCRIPTORS_MAX, STATIC_CACHE_ENTRIES_MAX,
    STATIC_REVALIDATION,
};
use crate::static_files::{Found, Resource, Variant};

#[derive(Default)]
pub struct Cache {
    entries: HashMap<Box<[u8]>, Entry>,
    bytes: usize,
    descriptors: usize,
}

struct Entry {
    resource: Rc<Resource>,
    checked: Instant,
}

impl Cache {
    /// What was found under a request's path, if that is recent.
    pub fn fresh(&self, path: &[u8], now: Instant) -> Option<Found> {
        let entry = self.entries.get(path)?;
        let is_fresh = now.saturating_duration_since(entry.checked) < STATIC_REVALIDATION;
        is_fresh.then(|| Found::File(entry.resource.clone()))
    }

    /// Takes out what was found before.
    pub fn take(&mut self, path: &[u8]) -> Option<Rc<Resource>> {
        let entry = self.entries.remove(path)?;
        self.bytes -= entry.resource.bytes();
        self.descriptors -= entry.resource.descriptors();
        Some(entry.resource)
    }

    /// Keeps what has been found; others go, those first that were looked at longest ago.
    pub fn insert(&mut self, path: &[u8], resource: &Rc<Resource>, now: Instant) {
        self.take(path);
        self.bytes += resource.bytes();
        self.descriptors += resource.descriptors();
        let entry = Entry { resource: resource.clone(), checked: now };
        self.entries.insert(path.into(), entry);
        while self.entries.len() > STATIC_CACHE_ENTRIES_MAX
            || self.bytes > STATIC_CACHE_BYTES_MAX
            || self.descriptors > STATIC_CACHE_DESCRIPTORS_MAX
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.checked);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else { return };
            self.take(&oldest);
        }
    }
}

impl Resource {
    fn variants(&self) -> impl Iterator<Item = &Variant> {
        std::iter::once(&self.plain).chain(self.encoded.iter().map(|(_, variant)| variant))
    }

    fn bytes(&self) -> usize {
        self.variants().filter_map(Variant::in_memory).map(|content| content.len()).sum()
    }

    fn descriptors(&self) -> usize {
        self.variants().filter(|variant| variant.in_memory().is_none()).count()
    }
}
