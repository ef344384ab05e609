//! What `h2` takes for a socket: two buffers, both ends of which are on the same thread.
//!
//! `h2` never waits on it. A read finds what has been fed or nothing; a write is refused when enough
//! waits to be sent, and `h2` then keeps its frames and reads no further.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
struct Buffers {
    incoming: Vec<u8>,
    /// How much of `incoming` has been read.
    read: usize,
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
    /// Bytes to be read.
    pub fn feed(&self, bytes: &[u8]) {
        let buffers = &mut *self.buffers.borrow_mut();
        if buffers.read == buffers.incoming.len() {
            buffers.incoming.clear();
            buffers.read = 0;
        }
        buffers.incoming.extend_from_slice(bytes);
    }

    /// Bytes that have not been read.
    pub fn unread(&self) -> usize {
        let buffers = self.buffers.borrow();
        buffers.incoming.len() - buffers.read
    }

    /// Lets go of memory that nothing is in.
    pub fn shrink(&self) {
        let buffers = &mut *self.buffers.borrow_mut();
        if buffers.read == buffers.incoming.len() {
            buffers.incoming = Vec::new();
            buffers.read = 0;
        }
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
        let unread = &buffers.incoming[buffers.read..];
        if unread.is_empty() {
            return Poll::Pending;
        }
        let count = unread.len().min(into.remaining());
        into.put_slice(&unread[..count]);
        buffers.read += count;
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
