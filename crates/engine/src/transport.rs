//! One connected socket: reads and writes that never block, and what is known of its readiness.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};

use crate::ffi::fd;
use crate::file::{FilePart, Truncated};
use crate::poll::Poller;
use crate::settings::FILE_COPY_BYTES;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes(usize),
    /// Bytes, but none that the peer meant to say: what TLS sends of its own.
    Overhead,
    /// Nothing now.
    Empty,
    /// The peer sends no more.
    End,
    Failed,
}

/// What is known of the bytes that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    Nothing,
    Something,
    /// The end has been told of and comes after what is still to be read.
    SomethingLast,
    Ended,
}

/// What is known of the bytes that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// The kernel took less than it was given; it will tell when it can take more.
    Blocked,
    /// None ever again, but something may be left to read.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    None,
    Readable,
    ReadableAndWritable,
}

/// A connected stream socket.
#[derive(Debug)]
pub struct Transport {
    socket: OwnedFd,
    registration: Registration,
    incoming: Incoming,
    /// Urgent bytes have come: a short read no longer means that there is nothing left.
    is_urgent: bool,
    /// Nothing can be sent any more.
    pub broken: bool,
    outgoing: Outgoing,
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            registration: Registration::None,
            incoming: Incoming::Something,
            is_urgent: false,
            broken: false,
            outgoing: Outgoing::Open,
        }
    }

    /// The set has told of something to read, or of the end.
    pub fn note(&mut self, readable: bool, ended: bool) {
        self.incoming = match self.incoming {
            Incoming::Ended => Incoming::Ended,
            _ if ended => Incoming::SomethingLast,
            Incoming::Nothing if readable => Incoming::Something,
            before => before,
        };
    }

    /// The set has told that nothing can be sent any more. Behind the peer's end, no read fails.
    pub fn note_unwritable(&mut self) {
        self.outgoing = Outgoing::Never;
        self.broken |= self.has_ended();
    }

    /// The set has told of an urgent byte.
    pub fn note_urgent(&mut self) {
        self.is_urgent = true;
    }

    /// There may be something to read.
    pub fn is_readable(&self) -> bool {
        matches!(self.incoming, Incoming::Something | Incoming::SomethingLast)
    }

    /// The peer has ended its side.
    pub fn has_ended(&self) -> bool {
        self.incoming == Incoming::Ended
    }

    /// The peer's end is among what there is to read.
    pub fn is_ending(&self) -> bool {
        self.incoming == Incoming::SomethingLast
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let received = self.receive_with(buffer, RecvFlags::empty());
        match received {
            Received::End => {
                self.incoming = Incoming::Ended;
                self.broken |= self.outgoing == Outgoing::Never;
            }
            // A short read empties a stream socket (epoll(7)), but for its end and for what comes
            // after an urgent byte.
            Received::Bytes(count)
                if count < buffer.len()
                    && !self.is_urgent
                    && self.incoming == Incoming::Something =>
            {
                self.incoming = Incoming::Nothing;
            }
            _ => {}
        }
        received
    }

    /// Looks at what there is to read, and leaves it.
    pub fn peek(&mut self, buffer: &mut [u8]) -> Received {
        self.receive_with(buffer, RecvFlags::PEEK)
    }

    fn receive_with(&mut self, buffer: &mut [u8], flags: RecvFlags) -> Received {
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, flags) {
                Ok((0, _)) => return Received::End,
                Ok((count, _)) => return Received::Bytes(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.incoming = Incoming::Nothing;
                    return Received::Empty;
                }
                Err(_) => {
                    self.broken = true;
                    return Received::Failed;
                }
            }
        }
    }

    /// What has been looked at does not suffice: the set will tell of more. Says whether there can
    /// be any.
    pub fn wait_for_more(&mut self) -> bool {
        let is_last = self.incoming == Incoming::SomethingLast;
        if !is_last {
            self.incoming = Incoming::Nothing;
        }
        !is_last
    }

    /// Reads what has been looked at, to be rid of it.
    pub fn discard(&mut self, mut seen: &mut [u8]) {
        while !seen.is_empty() && !self.broken {
            match rustix::net::recv(&self.socket, &mut *seen, RecvFlags::empty()) {
                Ok((count, _)) if count > 0 => seen = &mut seen[count..],
                Err(Errno::INTR) => {}
                _ => self.broken = true,
            }
        }
    }

    /// Sends what the kernel takes of `bytes`, and tells how much. With `more`, something follows at
    /// once, and the kernel waits for it to fill a packet.
    pub fn send(&mut self, bytes: &[u8], more: bool) -> usize {
        self.send_all(&mut [IoSlice::new(bytes)], more)
    }

    /// The same for any number of parts.
    pub fn send_all(&mut self, mut parts: &mut [IoSlice<'_>], more: bool) -> usize {
        if self.is_stuck() {
            return 0;
        }
        let mut sent = 0;
        let flags = send_flags(more);
        IoSlice::advance_slices(&mut parts, 0);
        while let [first, rest @ ..] = &*parts {
            let result = if rest.is_empty() {
                rustix::net::send(&self.socket, first, flags)
            } else {
                rustix::net::sendmsg(
                    &self.socket,
                    parts,
                    &mut SendAncillaryBuffer::default(),
                    flags,
                )
            };
            let count = self.note_sent(result);
            sent += count;
            IoSlice::advance_slices(&mut parts, count);
            if self.is_stuck() {
                break;
            }
        }
        sent
    }

    /// Takes note of how a send has ended, and tells how much the kernel has taken.
    fn note_sent(&mut self, result: Result<usize, Errno>) -> usize {
        match result {
            Ok(count) => return count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.outgoing = Outgoing::Blocked,
            Err(_) => self.broken = true,
        }
        0
    }

    /// Sends what the kernel takes of a part of a file, at most so many bytes, and tells how much.
    pub fn send_file(&mut self, part: &mut FilePart, bytes_max: u64) -> Result<u64, Truncated> {
        let mut total = 0;
        while total < bytes_max && part.remaining() > 0 && !self.is_stuck() {
            match self.send_file_once(part, bytes_max - total)? {
                Ok(sent) => total += sent,
                Err(errno) => _ = self.note_sent(Err(errno)),
            }
        }
        Ok(total)
    }

    #[cfg(target_os = "linux")]
    fn send_file_once(
        &mut self,
        part: &mut FilePart,
        bytes_max: u64,
    ) -> Result<Result<u64, Errno>, Truncated> {
        match part.send_to(&self.socket, bytes_max)? {
            // The file system does not know how.
            Err(Errno::INVAL | Errno::NOSYS) => self.copy_file_once(part),
            outcome => Ok(outcome),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn send_file_once(
        &mut self,
        part: &mut FilePart,
        _: u64,
    ) -> Result<Result<u64, Errno>, Truncated> {
        self.copy_file_once(part)
    }

    fn copy_file_once(&mut self, part: &mut FilePart) -> Result<Result<u64, Errno>, Truncated> {
        let mut buffer = [0; FILE_COPY_BYTES];
        let read = part.read(&mut buffer)?;
        let sent = self.send(&buffer[..read], part.remaining() > 0);
        part.step_back(read - sent);
        Ok(Ok(sent as u64))
    }

    /// What the kernel has taken and the peer has not.
    pub fn queued(&self) -> u64 {
        fd::queued_bytes(&self.socket)
    }

    /// The kernel takes nothing now, and will tell when it does again.
    pub fn is_blocked(&self) -> bool {
        self.outgoing == Outgoing::Blocked
    }

    /// Nothing can be sent now.
    pub fn is_stuck(&self) -> bool {
        self.is_blocked() || self.broken
    }

    /// The kernel can take more.
    pub fn unblock(&mut self) {
        if self.is_blocked() {
            self.outgoing = Outgoing::Open;
        }
    }

    /// Makes the set tell about this socket: always when it is readable, and also when it is
    /// writable once it was not.
    pub fn watch(&mut self, poller: &Poller, key: usize) -> io::Result<()> {
        match (self.registration, self.is_blocked()) {
            (Registration::None, blocked) => {
                poller.add(self, key, blocked)?;
                self.registration = if blocked {
                    Registration::ReadableAndWritable
                } else {
                    Registration::Readable
                };
            }
            (Registration::Readable, true) => {
                poller.change(self, key, true)?;
                self.registration = Registration::ReadableAndWritable;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes it out of the set.
    pub fn forget(&mut self, poller: &Poller) {
        if self.registration != Registration::None {
            // Closing the socket would do it as well; failing to is of no consequence.
            let _ = poller.remove(self);
        }
    }

    /// Tells the peer that nothing more comes.
    pub fn end(&mut self) {
        if rustix::net::shutdown(&self.socket, Shutdown::Write).is_err() {
            self.broken = true;
        }
    }

    /// Makes closing reset the connection, so that the peer cannot take the end for a clean one.
    pub fn reset_on_close(&mut self) {
        if sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)).is_err() {
            self.broken = true;
        }
    }
}

/// No `SIGPIPE`. Where the flag does not exist, Python has the signal ignored.
#[cfg(target_os = "linux")]
fn send_flags(more: bool) -> SendFlags {
    SendFlags::NOSIGNAL.union(if more { SendFlags::MORE } else { SendFlags::empty() })
}

#[cfg(not(target_os = "linux"))]
fn send_flags(_: bool) -> SendFlags {
    #[cfg(any(target_os = "android", target_os = "freebsd"))]
    return SendFlags::NOSIGNAL;
    #[cfg(not(any(target_os = "android", target_os = "freebsd")))]
    return SendFlags::empty();
}
