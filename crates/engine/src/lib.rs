//! The native engine of Pronghorn, `pronghorn._engine`.
//!
//! It has no thread and no runtime of its own: it lives on the asyncio thread, behind one
//! descriptor. The modules stand in the order in which they build on each other; each uses only
//! those before it.

/// The only unsafe code: CPython objects as owned values.
mod ffi;
/// What the control plane decided, and the engine's own bounds.
mod settings;
/// The set of all sockets.
mod poll;
/// Parts of files.
mod file;
/// Static files.
mod static_files;
/// One connected socket.
mod transport;
/// TLS sessions.
mod tls;
/// What waits to be sent.
mod outbox;
/// The load of processes that share listeners.
mod load;
/// Listening sockets and addresses.
mod listener;
/// The access log.
mod access_log;
/// What a request asks of its stream.
mod stream;
/// The bridge to the application.
mod asgi;
/// What a connection speaks, and its streams.
mod protocol;
/// The TLS side of a connection.
mod secured;
/// One connection.
mod connection;
/// All connections, and the only place that knows both sides.
mod worker;
/// The engine as Python sees it.
mod engine;
/// Signs of life that need no interpreter.
mod pulse;
/// Whether classes and attributes have been changed.
mod snapshot;

use pyo3::prelude::*;

/// The module. It needs the interpreter's lock: on a free-threaded build, importing it brings the
/// lock back.
#[pymodule(gil_used = true)]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    ffi::names::initialise().map_err(|raised| raised.into_error(module.py()))?;
    module.add_function(wrap_pyfunction!(pulse::start_pulse, module)?)?;
    module.add_function(wrap_pyfunction!(pulse::exit_after, module)?)?;
    module.add_function(wrap_pyfunction!(asgi::shortcut::respond, module)?)?;
    module.add_function(wrap_pyfunction!(asgi::shortcut::whole_body, module)?)?;
    module.add_class::<pulse::ExitTimer>()?;
    module.add_class::<snapshot::ClassVersions>()?;
    module.add_class::<snapshot::Snapshot>()?;
    module.add_class::<engine::Engine>()
}
