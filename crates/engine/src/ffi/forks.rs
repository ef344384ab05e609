//! How often this process has been forked: a child has its parent's descriptors, and whatever memory
//! the kernel shares between them, and must leave alone what its parent goes on with.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static COUNTING: Once = Once::new();

/// A number that is another one in every child that is forked off after it was first asked for.
pub fn count() -> usize {
    COUNTING.call_once(|| {
        // It fails where there is no memory for it.
        // SAFETY: the function is there as long as the process, and does nothing but add to a number.
        unsafe { libc::pthread_atfork(None, None, Some(add)) };
    });
    COUNT.load(Ordering::Relaxed)
}

/// Called in the child.
extern "C" fn add() {
    COUNT.fetch_add(1, Ordering::Relaxed);
}
