//! The set of all sockets, and the one descriptor that stands for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::settings::EVENT_BUDGET;

/// What is ready, by the number under which it was registered.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub key: usize,
    pub readable: bool,
    pub writable: bool,
}

/// An epoll or kqueue set. Edge-triggered: readiness is told once.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENT_BUDGET) })
    }

    /// Readable while anything is ready.
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Collects what is ready now, within the budget; the rest keeps the descriptor readable.
    pub fn collect(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        ready.extend(self.events.iter().map(|event| Ready {
            key: event.token().0,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable(),
        }));
        Ok(())
    }

    pub fn add(&self, source: &impl AsFd, key: usize, writable: bool) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&descriptor), Token(key), interest(writable))
    }

    pub fn change(&self, source: &impl AsFd, key: usize, writable: bool) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.poll.registry().reregister(&mut SourceFd(&descriptor), Token(key), interest(writable))
    }

    pub fn remove(&self, source: &impl AsFd) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.poll.registry().deregister(&mut SourceFd(&descriptor))
    }
}

fn interest(writable: bool) -> Interest {
    if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}
