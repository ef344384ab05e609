//! The set of all sockets, and the one descriptor that stands for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::settings::EVENT_BUDGET;

/// What is ready, by the number under which it was registered.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the flags of epoll, in any combination")]
pub struct Ready {
    pub key: usize,
    pub readable: bool,
    /// The peer has ended its side, or the connection is broken.
    pub ended: bool,
    /// Nothing can be sent or received any more.
    pub broken: bool,
    /// There is an urgent byte, at which reads end early.
    pub urgent: bool,
    pub writable: bool,
}

/// An epoll or kqueue set. Edge-triggered: readiness is told once.
#[derive(Debug)]
pub struct Poller {
    /// `None` once closed.
    poll: Option<Poll>,
    events: Events,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { poll: Some(Poll::new()?), events: Events::with_capacity(EVENT_BUDGET) })
    }

    /// Readable while anything is ready.
    pub fn descriptor(&self) -> io::Result<RawFd> {
        self.poll.as_ref().map(Poll::as_raw_fd).ok_or_else(closed)
    }

    /// Gives the descriptor back.
    pub fn close(&mut self) {
        self.poll = None;
    }

    /// Collects what is ready now, within the budget; the rest keeps the descriptor readable.
    pub fn collect(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let poll = self.poll.as_mut().ok_or_else(closed)?;
        poll.poll(&mut self.events, Some(Duration::ZERO))?;
        ready.extend(self.events.iter().map(|event| Ready {
            key: event.token().0,
            readable: event.is_readable(),
            ended: event.is_read_closed() || event.is_error(),
            broken: event.is_write_closed() || event.is_error(),
            urgent: event.is_priority(),
            writable: event.is_writable(),
        }));
        Ok(())
    }

    fn registry(&self) -> io::Result<&Registry> {
        self.poll.as_ref().map(Poll::registry).ok_or_else(closed)
    }

    pub fn add(&self, source: &impl AsFd, key: usize, writable: bool) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.registry()?.register(&mut SourceFd(&descriptor), Token(key), interest(writable))
    }

    pub fn change(&self, source: &impl AsFd, key: usize, writable: bool) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.registry()?.reregister(&mut SourceFd(&descriptor), Token(key), interest(writable))
    }

    pub fn remove(&self, source: &impl AsFd) -> io::Result<()> {
        let descriptor = source.as_fd().as_raw_fd();
        self.registry()?.deregister(&mut SourceFd(&descriptor))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the engine is closed")
}

fn interest(writable: bool) -> Interest {
    let mut interest = Interest::READABLE;
    if writable {
        interest |= Interest::WRITABLE;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        interest |= Interest::PRIORITY;
    }
    interest
}
