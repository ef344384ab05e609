//! What a request asks of the stream that carries it, whatever protocol its connection speaks.
//!
//! The ASGI side holds this trait and never the worker that implements it, so that the arrows
//! between the modules point one way.

use std::time::Instant;

use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;
use smallvec::SmallVec;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::file::FilePart;

/// One connection, for as long as it lives: a closed connection's slot is used again, its
/// generation is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    pub slot: u32,
    pub generation: u32,
}

/// One exchange on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub connection: ConnectionId,
    /// HTTP/2's stream identifier (RFC 9113, 5.1.1); `ONLY` for HTTP/1.1.
    pub number: u32,
}

impl StreamId {
    /// The number of HTTP/1.1's stream: there is one at a time.
    pub const ONLY: u32 = 0;

    /// The stream of an HTTP/1.1 connection.
    pub fn only(connection: ConnectionId) -> Self {
        Self { connection, number: Self::ONLY }
    }
}

/// Whether an application may go on sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Free,
    /// Others get a turn first.
    Yield,
    /// Too much is unsent.
    Congested,
}

/// What happens to WebSocket handshakes that are not answered when the server begins to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshakes {
    Refused,
    /// For a moment: other processes serve on, but cannot take over this connection.
    Kept,
}

/// The connections' side of a stream.
pub trait Streams {
    /// Writes a part of the response.
    fn submit(&self, id: StreamId, outbound: &Outbound<'_>) -> Result<Flow, ApplicationError>;

    /// Writes a part of the response that is in a file.
    fn submit_file(
        &self,
        id: StreamId,
        part: FilePart,
        more: bool,
    ) -> Result<Flow, ApplicationError>;

    /// Says whether `send()` must wait.
    fn is_congested(&self, id: StreamId) -> bool;

    /// The application waits for the body: lets the client send it, and reads what has come.
    fn want_body(&self, id: StreamId);

    /// The application has taken so many bytes of the body and is likely to take the rest.
    fn body_taken(&self, id: StreamId, bytes: usize);

    /// The response cannot be completed: the stream ends where it is.
    fn abort(&self, id: StreamId);

    /// The application's coroutine has come to a stop for now: what it sent goes out.
    fn step_ended(&self, id: StreamId);

    /// Something was sent or taken outside of a step of the request's own coroutine.
    fn attend_soon(&self, id: StreamId);

    /// Has what the stream carries called when the time has come.
    fn wake_at(&self, id: StreamId, at: Instant);

    /// The application has ended.
    fn ended(&self, key: usize);

    /// A future of the event loop.
    fn new_future(&self) -> Result<Object, Raised>;
}

/// Gives a whole answer in an application's place, and ends the connection (of HTTP/1.1) with it.
///
/// # Errors
/// The stream has an answer already.
pub fn answer(
    streams: &dyn Streams,
    id: StreamId,
    status: u16,
    body: &[u8],
    field: Option<(&[u8], &[u8])>,
) -> Result<(), ApplicationError> {
    let length = body.len().to_string();
    let headers: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", length.as_bytes()),
        (b"connection", b"close"),
    ];
    let headers: SmallVec<[(&[u8], &[u8]); 4]> = headers.into_iter().chain(field).collect();
    streams.submit(id, &Outbound::Start { status, headers: &headers })?;
    streams.submit(id, &Outbound::Body { data: body.into(), more: false }).map(drop)
}
