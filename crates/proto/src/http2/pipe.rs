//! What `h2` takes for a socket: two buffers, both ends of which are on the same thread.
//!
//! `h2` never waits on it. A read finds what has been fed or nothing; a write is refused when enough
//! waits to be sent, and `h2` then keeps its frames and reads no further.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
struct Buffers {
    incoming: Box<[u8]>,
    /// The part of `incoming` that has not been read.
    unread: Range<usize>,
    outgoing: Vec<u8>,
    outgoing_bytes_max: usize,
    /// A write was refused.
    is_full: bool,
}

/// One end; the other is a clone.
#[derive(Clone, Debug, Default)]
pub struct Pipe {
    buffers: Rc<RefCell<Buffers>>,
}

impl Pipe {
    /// Bytes to be read: so many at the start of `buffer`, which is exchanged for another one if
    /// nothing else waits.
    pub fn feed(&self, buffer: &mut Box<[u8]>, count: usize) {
        let buffers = &mut *self.buffers.borrow_mut();
        if buffers.unread.is_empty() {
            std::mem::swap(&mut buffers.incoming, buffer);
            buffers.unread = 0..count;
        } else {
            let waiting = &buffers.incoming[buffers.unread.clone()];
            buffers.incoming = [waiting, &buffer[..count]].concat().into_boxed_slice();
            buffers.unread = 0..buffers.incoming.len();
        }
    }

    /// Bytes that have not been read.
    pub fn unread(&self) -> usize {
        self.buffers.borrow().unread.len()
    }

    /// The buffer that was fed, if all in it has been read.
    pub fn take_buffer(&self) -> Option<Box<[u8]>> {
        let buffers = &mut *self.buffers.borrow_mut();
        buffers.unread.is_empty().then(|| std::mem::take(&mut buffers.incoming))
    }

    /// Has `write` write to the end of `out`, until that is `bytes_max` long.
    pub fn writing<R>(&self, out: &mut Vec<u8>, bytes_max: usize, write: impl FnOnce() -> R) -> R {
        {
            let buffers = &mut *self.buffers.borrow_mut();
            out.append(&mut buffers.outgoing);
            std::mem::swap(&mut buffers.outgoing, out);
        }
        let result = self.writing_ahead(bytes_max, write);
        std::mem::swap(&mut self.buffers.borrow_mut().outgoing, out);
        result
    }

    /// Has `write` write up to `bytes_max` for the next `writing`.
    pub fn writing_ahead<R>(&self, bytes_max: usize, write: impl FnOnce() -> R) -> R {
        {
            let buffers = &mut *self.buffers.borrow_mut();
            buffers.outgoing_bytes_max = bytes_max;
            buffers.is_full = false;
        }
        write()
    }

    /// The last `writing` left something that did not fit.
    pub fn is_full(&self) -> bool {
        self.buffers.borrow().is_full
    }

    fn write<'d>(&self, data: impl Iterator<Item = &'d [u8]>) -> Poll<io::Result<usize>> {
        let buffers = &mut *self.buffers.borrow_mut();
        if buffers.outgoing.len() >= buffers.outgoing_bytes_max {
            buffers.is_full = true;
            return Poll::Pending;
        }
        let before = buffers.outgoing.len();
        data.for_each(|piece| buffers.outgoing.extend_from_slice(piece));
        Poll::Ready(Ok(buffers.outgoing.len() - before))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let buffers = &mut *self.buffers.borrow_mut();
        if buffers.unread.is_empty() {
            return Poll::Pending;
        }
        let unread = &buffers.incoming[buffers.unread.clone()];
        let count = unread.len().min(into.remaining());
        into.put_slice(&unread[..count]);
        buffers.unread.start += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(std::iter::once(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(data.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
