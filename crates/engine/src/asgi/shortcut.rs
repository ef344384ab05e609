//! What the FastAPI accelerator calls in the place of `receive` and `send`: a whole body, and a whole
//! JSON response, without the dictionaries in which ASGI has them.
//!
//! The accelerator can only do so where nothing has wrapped the two functions, which is why they are
//! what it hands over: anything but an engine's own function is declined with `None`, and so is what
//! cannot be done at once. Then the messages themselves are sent or received.

use pyo3::prelude::*;

use crate::asgi::exchange::Exchange;
use crate::asgi::http::Http;
use crate::ffi::function::{channel_of_receive, channel_of_send};
use crate::ffi::object::Object;

/// The rest of the request's body, if all of it has come; see `_engine.pyi`.
#[pyfunction]
pub fn whole_body<'py>(receive: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = receive.py();
    let Some(exchange) = channel_of_receive::<Exchange<Http>>(&Object::from_bound(receive)) else {
        return Ok(None);
    };
    let body = exchange.whole_body().map_err(|raised| raised.into_error(py))?;
    Ok(body.map(|body| body.into_bound(py)))
}

/// Sends a JSON response; see `_engine.pyi`.
#[pyfunction]
pub fn respond<'py>(
    send: &Bound<'py, PyAny>,
    status: u16,
    content: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = send.py();
    let Some(exchange) = channel_of_send::<Exchange<Http>>(&Object::from_bound(send)) else {
        return Ok(None);
    };
    let outcome = Exchange::respond(&exchange, status, &Object::from_bound(content));
    let awaitable = outcome.map_err(|raised| raised.into_error(py))?;
    Ok(awaitable.map(|awaitable| awaitable.into_bound(py)))
}
