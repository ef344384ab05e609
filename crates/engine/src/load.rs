//! How many connections each of the processes has that accept from the same listeners.
//!
//! The kernel wakes whoever it likes, mostly the same one, and a process that is awake can take all
//! that waits. So each tells the others how many it has, and leaves new ones to those with fewer
//! (`worker/accept.rs`). A figure that is wrong costs evenness and nothing else.

use std::sync::atomic::Ordering;

use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

use crate::ffi::shared::SharedWords;
use crate::settings::ACCEPT_BUDGET;

/// A fraction of the least loaded process's connections that others may have more: what comes in a
/// burst is not handed out one by one.
const SLACK_DIVISOR: u32 = 16;

/// What a process with more connections than another does with those that wait: it leaves them to
/// the other for a moment, then takes one, then two, and so on: the other may be busy for long.
#[derive(Debug, Default)]
pub struct Turns {
    is_waiting: bool,
    granted: usize,
    left: usize,
}

impl Turns {
    /// Whether this process takes the next connection.
    pub fn is_ours(&mut self, is_loaded: bool) -> bool {
        if !is_loaded {
            self.granted = 0;
        } else if self.left == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        true
    }

    /// Says whether a timer must be set, which ends with `waited`.
    pub fn wait(&mut self) -> bool {
        !std::mem::replace(&mut self.is_waiting, true)
    }

    /// The others have had their moment.
    pub fn waited(&mut self) {
        self.is_waiting = false;
        self.granted = (self.granted * 2).clamp(1, ACCEPT_BUDGET);
        self.left = self.granted;
    }
}

/// A table in shared memory. Its first word says how many rows are in use; a word of each row is
/// the number of connections plus one, 0 for a process that accepts none.
#[derive(Debug)]
pub struct SharedLoad {
    words: SharedWords,
    row_words: usize,
    own: usize,
}

impl SharedLoad {
    /// `own` is the index of this process's word.
    pub fn new(words: SharedWords, row_words: usize, own: usize) -> PyResult<Self> {
        if row_words == 0 || own >= words.len() {
            return Err(PyValueError::new_err(format!("there is no word `{own}`")));
        }
        Ok(Self { words, row_words, own })
    }

    pub fn publish(&self, connections: usize) {
        let value = u32::try_from(connections + 1).unwrap_or(u32::MAX);
        self.words[self.own].store(value, Ordering::Relaxed);
    }

    /// This process accepts no more.
    pub fn withdraw(&self) {
        self.words[self.own].store(0, Ordering::Relaxed);
    }

    /// Whether another process has clearly fewer.
    pub fn is_above_others(&self, connections: usize) -> bool {
        let rows = self.words[0].load(Ordering::Relaxed) as usize;
        let column = self.own % self.row_words;
        let least = (0..rows)
            .map(|row| row * self.row_words + column)
            .filter(|index| *index != self.own)
            .filter_map(|index| self.words.get(index)?.load(Ordering::Relaxed).checked_sub(1))
            .min();
        least.is_some_and(|least| connections > (least + least / SLACK_DIVISOR) as usize)
    }
}
