//! What Pronghorn knows of HTTP and ASGI: bytes and the time go in, events and bytes come out.
//!
//! Nothing here opens a socket, reads a clock or knows an interpreter, so every rule is tested and
//! fuzzed on its own. The modules stand in the order in which a request meets them.

#![forbid(unsafe_code)]

/// Every bound, with its reason.
pub mod limits;
/// Who erred, and with what answer.
pub mod error;
/// The frames of TLS records.
pub mod tls;
/// The vocabulary that all protocol versions share.
pub mod event;
/// When a slow peer is given up.
pub mod deadline;
/// The deadlines of many peers.
pub mod timers;
/// A request's head, as ranges of the bytes received.
pub mod head;
/// HTTP/1.0 and HTTP/1.1.
pub mod http1;
/// HTTP/2.
pub mod http2;
/// Where a connection behind a proxy really comes from.
pub mod proxy_protocol;
/// Static files.
pub mod files;
/// WebSocket, above a stream that carries bytes.
pub mod websocket;
/// What an ASGI application may send and receive, in which order.
pub mod asgi;
