//! The bridge to the application: heads become scopes, messages become events, requests tasks.

/// What is made of bytes that requests repeat.
mod repeating;
/// What scopes are copied from.
mod template;
/// The scope of a request.
pub mod scope;
/// Files in place of their bytes.
mod detached;
/// Messages between dictionaries and events.
pub mod message;
/// What a request has received and the application has not yet taken.
pub mod inbox;
/// What all requests of one server share.
pub mod application;
/// A call of the application: the coroutine that its task runs, and its two functions.
pub mod exchange;
/// What the `http` scope makes of it.
pub mod http;
/// Ways round messages.
pub mod shortcut;
/// What the `websocket` scope makes of it.
pub mod websocket;
/// What a stream carries.
pub mod carried;
/// What `receive()` and `send()` return.
pub mod awaitable;
/// Tasks of the running loop.
pub mod task;
