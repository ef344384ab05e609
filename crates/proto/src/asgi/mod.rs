//! What an ASGI application may send and receive, in which order (asgiref's HTTP & WebSocket spec).
//!
//! Pure state: the engine turns dictionaries into calls of these machines and drives coroutines.

/// The `http` scope.
pub mod http;
/// The `websocket` scope.
pub mod websocket;

/// How an application's coroutine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Returned,
    /// It returned something else than `None`.
    ReturnedValue,
    Raised,
}
