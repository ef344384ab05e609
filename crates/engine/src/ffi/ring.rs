//! Several sends with one system call: the only thing that `io_uring(7)` is used for.
//!
//! Each send is told not to wait, so the kernel carries it out while it takes it, as `send(2)` would.
//! Nothing is under way when the call returns.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use smallvec::SmallVec;

use crate::ffi::forks;

/// So many sends fit into one call, and so many of their outcomes onto the stack.
pub const SENDS_MAX: usize = 16;

/// Hardly ever more: a head, a body that is elsewhere, and what follows it.
pub type Parts<'p> = SmallVec<[IoSlice<'p>; 4]>;

/// One send: a connected socket, and what it is given.
#[cfg_attr(not(io_uring), expect(dead_code, reason = "there is no ring to read it"))]
pub struct Send<'s> {
    pub socket: BorrowedFd<'s>,
    /// At least one.
    pub parts: Parts<'s>,
}

/// How much the kernel has taken of each send, in their order. Nothing may mean anything: that it has
/// not been tried, that there is no room, that the peer is gone.
pub type Counts = SmallVec<[usize; SENDS_MAX]>;

/// Where sends are put that go to the kernel together: by the thread that has made it, and no other.
pub struct Ring {
    /// `None` where it is not wanted, and where the kernel has none of this kind (before Linux 6.1,
    /// and on other systems) or lets nobody use it, as in many containers.
    queue: Option<kernel::Queue>,
    /// As it was made. A child shares its memory with the parent, which would send what the child
    /// puts there.
    forks: usize,
}

impl Ring {
    pub fn new() -> Self {
        Self { queue: kernel::Queue::new().ok(), forks: forks::count() }
    }

    /// What is never available.
    pub fn none() -> Self {
        Self { queue: None, forks: 0 }
    }

    /// Closes the ring in a child.
    pub fn is_available(&mut self) -> bool {
        self.queue.take_if(|_| self.forks != forks::count());
        self.queue.is_some()
    }

    /// Sends what the kernel takes at once of at most `SENDS_MAX` sends.
    pub fn send(&mut self, sends: &[Send<'_>]) -> Counts {
        let mut counts = Counts::from_elem(0, sends.len());
        if self.is_available()
            && let Some(queue) = &mut self.queue
            && queue.send(sends, &mut counts).is_err()
        {
            self.queue = None;
        }
        counts
    }
}

#[cfg(not(io_uring))]
mod kernel {
    use std::io;

    use super::{Counts, Send};

    /// Other kernels have none.
    pub enum Queue {}

    impl Queue {
        pub fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub fn send(&mut self, _: &[Send<'_>], _: &mut Counts) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(io_uring)]
mod kernel {
    use std::io;
    use std::os::fd::AsRawFd;

    use io_uring::{IoUring, opcode, squeue, types};
    use smallvec::SmallVec;

    use super::{Counts, SENDS_MAX, Send};

    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

    pub struct Queue(IoUring);

    impl Queue {
        pub fn new() -> io::Result<Self> {
            let entries = u32::try_from(SENDS_MAX).expect("a small number");
            let mut builder = IoUring::builder();
            // The kernel need not be prepared for other threads, nor interrupt this one.
            builder.setup_single_issuer().setup_defer_taskrun().build(entries).map(Self)
        }

        /// Fails if the ring is of no use any more. What has been done nevertheless is in `counts`.
        pub fn send(&mut self, sends: &[Send<'_>], counts: &mut Counts) -> io::Result<()> {
            let messages: SmallVec<[_; SENDS_MAX]> = sends.iter().map(message).collect();
            let mut entries = self.0.submission();
            for (index, (send, message)) in sends.iter().zip(&messages).enumerate() {
                let entry = entry(send, message).user_data(index as u64);
                // SAFETY: what the entry points to is borrowed until this function returns. Then the
                // send is over, or it has not begun and goes with the ring: see the module.
                if unsafe { entries.push(&entry) }.is_err() {
                    break;
                }
            }
            let mut outstanding = entries.len();
            drop(entries);
            while outstanding > 0 {
                let submitted = self.0.submit_and_wait(outstanding);
                for completion in self.0.completion() {
                    outstanding -= 1;
                    let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                    if let Some(count) = counts.get_mut(index) {
                        // Negative results are errors.
                        *count = usize::try_from(completion.result()).unwrap_or(0);
                    }
                }
                match submitted {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        }
    }

    fn entry(send: &Send<'_>, message: &libc::msghdr) -> squeue::Entry {
        let socket = types::Fd(send.socket.as_raw_fd());
        match &*send.parts {
            [part] => {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                opcode::Send::new(socket, part.as_ptr(), length).flags(FLAGS).build()
            }
            _ => opcode::SendMsg::new(socket, message).flags(FLAGS.cast_unsigned()).build(),
        }
    }

    fn message(send: &Send<'_>) -> libc::msghdr {
        // SAFETY: numbers and pointers, for all of which zero is a value: no name, nothing ancillary.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // An `IoSlice` is an `iovec` by its contract; the kernel only reads them.
        message.msg_iov = send.parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = send.parts.len() as _;
        message
    }
}
