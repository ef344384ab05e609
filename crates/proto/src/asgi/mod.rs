//! What an ASGI application may send and receive, in which order (asgiref's HTTP & WebSocket spec).
//!
//! Pure state: the engine turns dictionaries into calls of these machines and drives coroutines.

pub mod http;
pub mod websocket;
