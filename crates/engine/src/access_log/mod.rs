//! The access log: lines formatted here and written in batches, as long as nobody would notice.
//!
//! `pronghorn.access_log.AccessLog` says whether the access logger is as Pronghorn sets it up. Then a
//! line is built as `logging` would build it, and given to the stream at most 100 ms later. As soon as
//! somebody attaches a handler, a filter or a formatter, each response makes an ordinary record again.
//! Uvicorn's line is written when the response starts; a line after the operator's own template when
//! it ends, since it may tell its size and how long it took.

/// Uvicorn's line, and how text of the client's is shown.
mod line;
/// The operator's own format, and JSON.
mod template;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

pub use crate::access_log::line::websocket_line;
use crate::access_log::line::write_line;
pub use crate::access_log::template::{Escape, Template};
use crate::ffi::call::call;
use crate::ffi::containers::{float, integer, is_true};
use crate::ffi::error::Raised;
use crate::ffi::native::Visitor;
use crate::ffi::object::Object;
use crate::ffi::text::bytes;
use crate::settings::ACCESS_LOG_BYTES_MAX;

/// The control plane's functions.
pub struct AccessLogHooks {
    /// `record(scope, status)`
    pub record: Object,
    /// `record_line(scope, status, line, byte_count, duration_s)`
    pub record_line: Object,
    /// `is_plain()`
    pub is_plain: Object,
    /// `write(lines)`
    pub write: Object,
}

/// The access log of one server.
pub struct AccessLog {
    hooks: AccessLogHooks,
    /// `None` for Uvicorn's line.
    template: Option<Template>,
    is_plain: Cell<bool>,
    lines: RefCell<Vec<u8>>,
    /// The line being built: an odd key of a scope can run Python code meanwhile.
    line: RefCell<Vec<u8>>,
}

/// A response that is to be logged.
pub struct Entry {
    scope: Object,
    /// The application's header fields, where the template asks for one.
    headers: Option<Object>,
    status: u16,
    byte_count: u64,
    since: Option<Instant>,
    /// From then to the end of the response.
    duration: Duration,
}

impl Entry {
    /// Bytes of the response's body were sent.
    pub fn add_bytes(&mut self, count: u64) {
        self.byte_count += count;
    }

    pub fn traverse(&self, visitor: &mut Visitor) {
        visitor.visit(&self.scope);
        self.headers.iter().for_each(|headers| visitor.visit(headers));
    }
}

impl AccessLog {
    pub fn new(hooks: AccessLogHooks, template: Option<Template>) -> Self {
        Self {
            hooks,
            template,
            is_plain: Cell::new(false),
            lines: RefCell::new(Vec::new()),
            line: RefCell::new(Vec::new()),
        }
    }

    /// Looks whether the logger is still as it was set up.
    pub fn refresh(&self) -> Result<(), Raised> {
        let is_plain = is_true(&call(&self.hooks.is_plain, &[])?)?;
        if self.is_plain.replace(is_plain) && !is_plain {
            self.flush();
        }
        Ok(())
    }

    /// When a request has come, if the template wants to know.
    pub fn request_begun(&self) -> Option<Instant> {
        self.template.as_ref().map(|_| Instant::now())
    }

    /// A response has begun. What is returned is to be given back when it ends.
    pub fn response_started(
        &self,
        scope: Object,
        since: Option<Instant>,
        status: u16,
        headers: Option<&Object>,
    ) -> Option<Entry> {
        let headers = headers.filter(|_| self.shows_response_headers()).cloned();
        let entry =
            Entry { scope, headers, status, byte_count: 0, since, duration: Duration::ZERO };
        if self.template.is_none() {
            self.write_or_record(&entry);
            return None;
        }
        Some(entry)
    }

    /// The template asks for header fields of responses.
    pub fn shows_response_headers(&self) -> bool {
        self.template.as_ref().is_some_and(Template::shows_response_headers)
    }

    /// A response has ended, whole or not.
    pub fn response_ended(&self, mut entry: Entry) {
        let Some(template) = &self.template else { return };
        entry.duration = entry.since.map_or(Duration::ZERO, |since| since.elapsed());
        let mut line = self.line.take();
        line.clear();
        template.write(&mut line, &entry);
        if self.is_plain.get() {
            self.add(&line);
        } else {
            self.record_line(&line, &entry);
        }
        self.line.replace(line);
    }

    fn write_or_record(&self, entry: &Entry) {
        if self.is_plain.get() && self.add_line(entry) {
            return;
        }
        let recorded = integer(u64::from(entry.status))
            .and_then(|status| call(&self.hooks.record, &[&entry.scope, &status]));
        if let Err(raised) = recorded {
            raised.report(Some(&self.hooks.record));
        }
    }

    fn record_line(&self, line: &[u8], entry: &Entry) {
        let record = || {
            let status = integer(u64::from(entry.status))?;
            let byte_count = integer(entry.byte_count)?;
            let duration = float(entry.duration.as_secs_f64())?;
            let line = bytes(line.strip_suffix(b"\n").unwrap_or(line))?;
            call(&self.hooks.record_line, &[&entry.scope, &status, &line, &byte_count, &duration])
        };
        if let Err(raised) = record() {
            raised.report(Some(&self.hooks.record_line));
        }
    }

    fn add_line(&self, entry: &Entry) -> bool {
        let mut line = self.line.take();
        line.clear();
        let is_written = write_line(&mut line, &entry.scope, entry.status).is_some();
        if is_written {
            self.add(&line);
        }
        self.line.replace(line);
        is_written
    }

    fn add(&self, line: &[u8]) {
        self.lines.borrow_mut().extend_from_slice(line);
        if self.lines.borrow().len() > ACCESS_LOG_BYTES_MAX {
            self.flush();
        }
    }

    pub fn has_lines(&self) -> bool {
        !self.lines.borrow().is_empty()
    }

    /// Gives the stream what has gathered.
    pub fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if lines.is_empty() {
            return;
        }
        let batch = bytes(&lines);
        lines.clear();
        drop(lines);
        if let Err(raised) = batch.and_then(|batch| call(&self.hooks.write, &[&batch])) {
            raised.report(Some(&self.hooks.write));
        }
    }
}
