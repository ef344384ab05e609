//! TLS, driven through Python's `ssl`: a session takes what the socket brings and gives what the
//! client said, and the other way round, through a pair of memory buffers (`SSLContext.wrap_bio`):
//! one of its own for what comes in, and one for what goes out that all share (`Outgoing`).
//!
//! Every call here may run Python code (SNI callbacks, signal handlers, finalisers), so a session
//! is used outside of the worker's tables only; `connection::secured` keeps it meanwhile.
//! The calls go to the C functions of `_ssl` themselves, which take 0.2 to 0.3 µs each. Two things
//! are avoided because they cost more than that: asking for data that is not there (an exception,
//! 1.3 µs; `Records` knows when there is some) and objects around the data (`Window`).

mod outgoing;

use std::rc::Rc;
use std::time::Duration;

use pronghorn_proto::tls::{RECORD_BYTES_MAX, Records};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::ffi::call::{attribute, call};
use crate::ffi::containers::{as_size, integer, is_true};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::native::attached;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::ffi::window::Window;
use crate::settings::SEALED_AT_ONCE_MAX;
use crate::tls::outgoing::Outgoing;

/// A read must leave so much in front of what it receives: plaintext is written there, and it may
/// be more than what has come by as much as a record that had begun before.
pub const HEADROOM_BYTES: usize = RECORD_BYTES_MAX;

/// What all sessions of one listener share.
#[derive(Debug)]
pub struct Tls {
    /// `(incoming, outgoing) -> SSLObject`.
    open: Object,
    /// `(SSLObject) -> dict`, the ASGI extension.
    describe: Object,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    outgoing: Outgoing,
    functions: Functions,
    window: Window,
}

/// Functions of `_ssl`'s types, called with the instance in front.
#[derive(Debug)]
struct Functions {
    do_handshake: Object,
    read: Object,
    write: Object,
    shutdown: Object,
    selected_alpn_protocol: Object,
    /// The type of memory buffers.
    bio: Object,
    bio_write: Object,
    want_read: Object,
    zero: Object,
}

impl Tls {
    /// `hooks` has `open`, `describe` and `handshake_timeout_s`.
    pub fn new(hooks: &Bound<'_, PyAny>) -> PyResult<Rc<Self>> {
        let py = hooks.py();
        let module = py.import("_ssl")?;
        let socket = module.getattr("_SSLSocket")?;
        let bio = module.getattr("MemoryBIO")?;
        let of = |owner: &Bound<'_, PyAny>, name: &str| {
            owner.getattr(name).map(|value| Object::from_bound(&value))
        };
        let raised = |raised: Raised| raised.into_error(py);
        let handshake_timeout_s = hooks.getattr("handshake_timeout_s")?.extract::<f64>()?;
        let handshake_timeout = Duration::try_from_secs_f64(handshake_timeout_s)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let buffer = Object::from_bound(&bio.call0()?);
        Ok(Rc::new(Self {
            open: of(hooks, "open")?,
            describe: of(hooks, "describe")?,
            handshake_timeout,
            outgoing: Outgoing::new(buffer, of(&bio, "read")?),
            functions: Functions {
                do_handshake: of(&socket, "do_handshake")?,
                read: of(&socket, "read")?,
                write: of(&socket, "write")?,
                shutdown: of(&socket, "shutdown")?,
                selected_alpn_protocol: of(&socket, "selected_alpn_protocol")?,
                bio: Object::from_bound(&bio),
                bio_write: of(&bio, "write")?,
                want_read: of(module.as_any(), "SSLWantReadError")?,
                zero: integer(0).map_err(raised)?,
            },
            window: Window::new().map_err(raised)?,
        }))
    }
}

/// The session of one connection.
#[derive(Debug)]
pub struct Session {
    tls: Rc<Tls>,
    /// What Python code knows the session as; SNI callbacks are given it.
    ssl_object: Object,
    description: Option<Object>,
    socket: Object,
    incoming: Object,
    records: Records,
    is_established: bool,
}

/// What came of bytes that were received.
#[derive(Debug, Default)]
pub struct Progress {
    /// So many bytes of plaintext are at the start of the buffer.
    pub plaintext: usize,
    /// Bytes for the peer.
    pub output: Option<Object>,
    /// The handshake is over, with this agreement.
    pub established: Option<Alpn>,
    pub end: End,
}

/// Whether more will come.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum End {
    #[default]
    No,
    /// The peer sends no more (`close_notify`).
    Ended,
    /// The session is of no use any more.
    Failed(String),
}

/// What the two sides have agreed to speak (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1, or nothing was said.
    Http1,
    Http2,
}

enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Session {
    pub fn open(tls: &Rc<Tls>) -> Result<Self, Raised> {
        let incoming = call(&tls.functions.bio, &[])?;
        let ssl_object = call(&tls.open, &[&incoming, tls.outgoing.buffer()])?;
        Ok(Self {
            socket: attribute(&ssl_object, &names().ssl_socket)?,
            tls: tls.clone(),
            ssl_object,
            description: None,
            incoming,
            records: Records::default(),
            is_established: false,
        })
    }

    /// What the ASGI scope says of it, once the handshake is over.
    pub fn description(&self) -> Option<&Object> {
        self.description.as_ref()
    }

    /// Takes what was received: `count` bytes of `buffer` behind `HEADROOM_BYTES`. Everything that
    /// is whole then is decrypted to the start of the buffer.
    pub fn receive(&mut self, buffer: &mut [u8], count: usize) -> Progress {
        let tls = self.tls.clone();
        let received = tls.outgoing.collect(|| Ok(self.pieces(buffer, count)));
        received.map_or_else(
            |raised| Progress { end: End::Failed(reason(raised)), ..Progress::default() },
            |(progress, output)| Progress { output, ..progress },
        )
    }

    fn pieces(&mut self, buffer: &mut [u8], count: usize) -> Progress {
        let mut progress = Progress::default();
        let mut position = HEADROOM_BYTES;
        let end = HEADROOM_BYTES + count;
        while position < end && progress.end == End::No {
            // In pieces, since the session's own buffer stays as large as it once was.
            let next = end.min(position + RECORD_BYTES_MAX);
            if let Err(raised) = self.piece(buffer, position..next, &mut progress) {
                progress.end = End::Failed(reason(raised));
            }
            position = next;
        }
        progress
    }

    fn piece(
        &mut self,
        buffer: &mut [u8],
        range: std::ops::Range<usize>,
        progress: &mut Progress,
    ) -> Result<(), Raised> {
        let piece = &buffer[range.clone()];
        let mut whole = self.records.follow(piece);
        let functions = &self.tls.functions;
        self.tls
            .window
            .show(piece, |window| call(&functions.bio_write, &[&self.incoming, window]))?;
        if whole > 0 && !self.is_established {
            if !self.shake_hands()? {
                return Ok(());
            }
            progress.established = Some(self.alpn()?);
            // Now: the peer may begin another handshake in the same breath, and `ssl` tells nothing
            // of certificates during one.
            self.description = Some(call(&self.tls.describe, &[&self.ssl_object])?);
            // Some of these records were the handshake's.
            whole = if self.has_input()? { whole } else { 0 };
        }
        while whole > 0 {
            // Never more than has come: see `HEADROOM_BYTES`.
            match self.read(&mut buffer[progress.plaintext..range.end])? {
                Read::Bytes(count) => progress.plaintext += count,
                Read::Nothing => break,
                Read::End => {
                    progress.end = End::Ended;
                    break;
                }
            }
            whole -= 1;
        }
        Ok(())
    }

    /// Goes on with the handshake. Says whether it is over.
    fn shake_hands(&mut self) -> Result<bool, Raised> {
        let functions = &self.tls.functions;
        match call(&functions.do_handshake, &[&self.socket]) {
            Ok(_) => {
                self.is_established = true;
                Ok(true)
            }
            Err(raised) if raised.is(&functions.want_read) => {
                raised.forget::<()>();
                Ok(false)
            }
            Err(raised) => Err(raised),
        }
    }

    fn alpn(&self) -> Result<Alpn, Raised> {
        let name = call(&self.tls.functions.selected_alpn_protocol, &[&self.socket])?;
        Ok(if text::as_str(&name) == Some("h2") { Alpn::Http2 } else { Alpn::Http1 })
    }

    fn has_input(&self) -> Result<bool, Raised> {
        is_true(&attribute(&self.incoming, &names().pending)?)
    }

    fn read(&self, space: &mut [u8]) -> Result<Read, Raised> {
        let functions = &self.tls.functions;
        let result = self.tls.window.show_mut(space, |window| {
            call(&functions.read, &[&self.socket, &functions.zero, window])
        });
        match result {
            Ok(count) => Ok(match as_size(&count)? {
                0 => Read::End,
                count => Read::Bytes(count),
            }),
            Err(raised) if raised.is(&functions.want_read) => {
                raised.forget::<()>();
                Ok(Read::Nothing)
            }
            Err(raised) => Err(raised),
        }
    }

    /// Encrypts the beginning of `plaintext`, as much as one call should. Gives how much that is, and
    /// the records.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<(usize, Option<Object>), Raised> {
        let piece = &plaintext[..plaintext.len().min(SEALED_AT_ONCE_MAX)];
        let Tls { functions, window, outgoing, .. } = &*self.tls;
        let write = |view: &Object| call(&functions.write, &[&self.socket, view]);
        let (count, records) = outgoing.collect(|| window.show(piece, write))?;
        Ok((as_size(&count)?, records))
    }

    /// Whether `seal` has raised because the peer must first end a handshake that it has begun.
    pub fn is_interrupted(&self, raised: Raised) -> bool {
        raised.is(&self.tls.functions.want_read)
    }

    /// Says that nothing more comes (`close_notify`), and returns that to be sent.
    pub fn end(&mut self) -> Result<Option<Object>, Raised> {
        let Tls { functions, outgoing, .. } = &*self.tls;
        let shut_down = || match call(&functions.shutdown, &[&self.socket]) {
            // It would wait for the peer's.
            Err(raised) if raised.is(&functions.want_read) => {
                raised.forget::<()>();
                Ok(())
            }
            result => result.map(drop),
        };
        let ((), farewell) = outgoing.collect(shut_down)?;
        Ok(farewell)
    }
}

/// Takes the exception off the thread, and says what it says.
fn reason(raised: Raised) -> String {
    let exception = raised.take(attached());
    text::of(&exception).unwrap_or_else(|raised| raised.forget().unwrap_or_default())
}
