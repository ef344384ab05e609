//! What all requests of one server share: the application, what makes its arguments, the logs.

use crate::access_log::AccessLog;
use crate::asgi::message::MessageMaker;
use crate::asgi::scope::ScopeMaker;
use crate::asgi::task::TaskMaker;
use crate::ffi::call::call;
use crate::ffi::containers::integer;
use crate::ffi::object::Object;
use crate::ffi::owner::Owner;
use crate::ffi::text;

/// What all requests of one server share.
pub struct Application {
    pub callable: Object,
    pub scopes: ScopeMaker,
    pub messages: MessageMaker,
    pub tasks: TaskMaker,
    pub ready: Object,
    pub log: Object,
    pub log_exception: Object,
    pub access_log: Option<AccessLog>,
    pub owner: Owner,
}

/// Levels of Python's `logging`.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    Debug = 10,
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
