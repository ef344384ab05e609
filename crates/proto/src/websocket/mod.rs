//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692), on any stream that carries bytes.
//!
//! `handshake` judges a request head and writes what accepts it; from then on a `WebSocket` takes the
//! stream's bytes and gives messages, and turns messages into bytes. Which HTTP version made the
//! stream is known to `handshake` alone.

/// The opening handshake.
pub mod handshake;
/// Headers of frames.
mod frame;
/// Payloads without their mask.
mod mask;
/// The content of a message that does not come whole in one frame.
mod pieces;
/// permessage-deflate.
pub mod deflate;
/// A message under way, and what every `WebSocket` of a server shares for theirs.
mod message;
/// Pings and their pongs.
mod keepalive;
/// One WebSocket and all its transitions.
mod state;

pub use frame::{HEADER_BYTES_MAX, Opcode};
pub use message::Shared;
pub use pieces::MessageKind;
pub use state::{CloseError, Event, Expired, WebSocket};
