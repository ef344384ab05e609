//! What is made of bytes that requests repeat, kept and found again by these bytes.
//!
//! Much comes once only: tokens, identifiers in paths. So bytes enter when they come for the second
//! time, and what comes once pushes nothing out.

use std::cell::RefCell;

use crate::ffi::error::Raised;

/// Most bytes of which the result is kept. Longer ones (cookies, tokens) rarely repeat.
const BYTES_MAX: usize = 160;

/// Bytes have one slot that they can be in.
const SLOTS: usize = 512;

/// Results by the bytes that they are made of. To let go of one runs no Python code.
pub struct Repeating<V>(RefCell<Vec<Slot<V>>>);

struct Slot<V> {
    kept: Option<(Box<[u8]>, V)>,
    /// The hash of the last bytes of this slot that were not kept.
    candidate: u64,
}

impl<V: Clone> Repeating<V> {
    pub fn new() -> Self {
        Self(RefCell::new((0..SLOTS).map(|_| Slot { kept: None, candidate: 0 }).collect()))
    }

    /// What `make` makes of `bytes`, or has made of them.
    pub fn find_or_make(
        &self,
        bytes: &[u8],
        make: impl FnOnce() -> Result<V, Raised>,
    ) -> Result<V, Raised> {
        if bytes.len() > BYTES_MAX {
            return make();
        }
        let hash = hash(bytes);
        let index = usize::try_from(hash >> 40).unwrap_or_default() % SLOTS;
        if let Some((kept, value)) = &self.0.borrow()[index].kept
            && **kept == *bytes
        {
            return Ok(value.clone());
        }
        let value = make()?;
        let slot = &mut self.0.borrow_mut()[index];
        if slot.candidate == hash {
            slot.kept = Some((bytes.into(), value.clone()));
        } else {
            slot.candidate = hash;
        }
        Ok(value)
    }
}

/// Spreads bytes over the slots. Collisions, even those that a client aims for, cost one allocation.
fn hash(bytes: &[u8]) -> u64 {
    let mix =
        |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let mut hash = bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    // The last word overlaps the one before it.
    let last = bytes.last_chunk::<8>().map_or_else(
        || rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        |word| u64::from_le_bytes(*word),
    );
    mix(hash, last)
}
