//! HTTP/2 (RFC 9113), on top of the `h2` crate.
//!
//! `h2` knows frames, HPACK, stream states and flow control. It wants an asynchronous socket and an
//! executor; it gets two buffers (`pipe`) and is polled when there is something to do. What it has no
//! bound for is counted in front of it (`meter`). `state` holds the connection and its streams.

mod meter;
mod pipe;
mod driver;
mod request;
mod response;
mod queue;
mod rest;
mod receiving;
mod stream;
mod state;

pub use state::{Connection, Ended, Event, Expired};
