//! State that belongs to one thread although Python can hand its owner to another.

use std::cell::Cell;
use std::thread::ThreadId;

thread_local! {
    static MARK: Cell<u8> = const { Cell::new(0) };
}

/// A name for the present thread that costs one address computation.
fn mark() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// A value that only the thread which made it can reach.
#[derive(Debug)]
pub struct ThreadBound<T> {
    value: T,
    owner: usize,
    thread: ThreadId,
}

// SAFETY: `get` refuses other threads. Dropping elsewhere happens under the interpreter's lock,
// which the module requires (`gil_used = true`).
unsafe impl<T> Send for ThreadBound<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for ThreadBound<T> {}

impl<T> ThreadBound<T> {
    pub fn new(value: T) -> Self {
        Self { value, owner: mark(), thread: std::thread::current().id() }
    }

    /// The value, `None` on another thread.
    pub fn get(&self) -> Option<&T> {
        // A mark may be reused after its thread ended; the identifier is not.
        (self.owner == mark() && self.thread == std::thread::current().id()).then_some(&self.value)
    }
}

/// Whether the present thread is the one that `mark` was taken on.
#[derive(Clone, Copy, Debug)]
pub struct Owner(usize);

impl Owner {
    pub fn current() -> Self {
        Self(mark())
    }

    pub fn is_current(self) -> bool {
        self.0 == mark()
    }
}
