//! What all requests of one server share: the application, what makes its arguments, the logs.

use std::cell::RefCell;

use pronghorn_proto::limits::WebSocketLimits;
use pronghorn_proto::websocket::Shared;
use pronghorn_proto::websocket::deflate::DeflateLimits;

use crate::access_log::AccessLog;
use crate::asgi::message::{MessageMaker, ReceivedMessages};
use crate::asgi::scope::ScopeMaker;
use crate::asgi::task::TaskMaker;
use crate::ffi::call::call;
use crate::ffi::containers::integer;
use crate::ffi::function::SpareFunctions;
use crate::ffi::object::Object;
use crate::ffi::owner::Owner;
use crate::ffi::text;
use crate::settings::{READ_BYTES, SPARE_BUFFERS_MAX};

/// What all requests of one server share.
pub struct Application {
    pub callable: Object,
    pub scopes: ScopeMaker,
    pub messages: MessageMaker,
    pub tasks: TaskMaker,
    pub ready: Object,
    pub spare_functions: SpareFunctions,
    pub log: Object,
    pub log_exception: Object,
    pub access_log: Option<AccessLog>,
    pub owner: Owner,
    /// `on_loop(function, *arguments)`: a coroutine for the loop that calls and awaits it.
    pub on_loop: Object,
    /// `None` where an upgrade to WebSocket is not supported.
    pub websockets: Option<WebSockets>,
}

/// What every `WebSocket` of one server has in common.
pub struct WebSockets {
    pub limits: WebSocketLimits,
    pub deflate: Option<DeflateLimits>,
    /// Messages that wait for the application before reading pauses.
    pub queue_max: usize,
    pub shared: RefCell<Shared>,
    /// Buffers for what has come or is to be sent, empty.
    pub spare_buffers: RefCell<Vec<Vec<u8>>>,
    pub received_messages: ReceivedMessages,
    /// What sending to a client that has gone raises.
    pub disconnected: Object,
}

impl WebSockets {
    pub fn take_buffer(&self) -> Vec<u8> {
        self.spare_buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub fn keep_buffer(&self, mut buffer: Vec<u8>) {
        let mut spares = self.spare_buffers.borrow_mut();
        if buffer.capacity() <= READ_BYTES && spares.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            spares.push(buffer);
        }
    }
}

/// Levels of Python's `logging`.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    Debug = 10,
    Info = 20,
    Warning = 30,
    Error = 40,
}

impl Application {
    /// Writes a line to the error log.
    pub fn log(&self, level: Level, message: &str) {
        self.flush_access_log();
        let result = integer(level as u64)
            .and_then(|level| call(&self.log, &[&level, &text::utf8_lossy(message.as_bytes())?]));
        if let Err(raised) = result {
            raised.report(Some(&self.log));
        }
    }

    /// What happened before an error stands before it.
    pub fn flush_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.flush();
        }
    }

    /// Writes a line with the exception's traceback to the error log.
    pub fn report(&self, message: &str, exception: &Object) {
        self.flush_access_log();
        let result = text::utf8_lossy(message.as_bytes())
            .and_then(|message| call(&self.log_exception, &[&message, exception]));
        if let Err(raised) = result {
            raised.report(Some(&self.log_exception));
        }
    }
}
