//! The access log: lines formatted here and written in batches, as long as nobody would notice.
//!
//! `pronghorn.access_log.AccessLog` says whether the access logger is as Pronghorn sets it up. Then a
//! line is built from the scope as `logging` would build it, and given to the stream at most 100 ms
//! later. As soon as somebody attaches a handler, a filter or a formatter, each response makes an
//! ordinary record again.

use std::cell::{Cell, RefCell};

use crate::ffi::call::call;
use crate::ffi::containers::{as_u16, get_item, integer, is_true, pair_items};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text::{as_bytes, as_str, bytes};
use crate::settings::ACCESS_LOG_BYTES_MAX;

/// The control plane's functions.
pub struct AccessLogHooks {
    /// `record(scope, status)`
    pub record: Object,
    /// `is_plain()`
    pub is_plain: Object,
    /// `write(lines)`
    pub write: Object,
}

/// The access log of one server.
pub struct AccessLog {
    hooks: AccessLogHooks,
    is_plain: Cell<bool>,
    lines: RefCell<Vec<u8>>,
    /// The line being built: an odd key of a scope can run Python code meanwhile.
    line: RefCell<Vec<u8>>,
}

impl AccessLog {
    pub fn new(hooks: AccessLogHooks) -> Self {
        Self {
            hooks,
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

    /// A response with this status has begun.
    pub fn response_started(&self, scope: &Object, status: u16) {
        if self.is_plain.get() && self.add_line(scope, status) {
            return;
        }
        let recorded = integer(u64::from(status))
            .and_then(|status| call(&self.hooks.record, &[scope, &status]));
        if let Err(raised) = recorded {
            raised.report(Some(&self.hooks.record));
        }
    }

    fn add_line(&self, scope: &Object, status: u16) -> bool {
        let mut line = self.line.take();
        line.clear();
        let is_written = write_line(&mut line, scope, status).is_some();
        if is_written {
            self.lines.borrow_mut().extend_from_slice(&line);
        }
        self.line.replace(line);
        if self.lines.borrow().len() > ACCESS_LOG_BYTES_MAX {
            self.flush();
        }
        is_written
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

/// Writes Uvicorn's line. `None` where the scope is not as the server made it: then Python tells
/// what to make of it.
fn write_line(lines: &mut Vec<u8>, scope: &Object, status: u16) -> Option<()> {
    let names = names();
    let entry = |key| get_item(scope, key).unwrap_or_else(Raised::forget);
    lines.extend_from_slice(b"INFO:     ");
    let client = entry(&names.client)?;
    if !client.is_none() {
        let (host, port) = pair_items(&client)?;
        lines.extend_from_slice(printable(as_str(&host)?)?);
        lines.push(b':');
        lines.extend_from_slice(
            itoa::Buffer::new().format(as_u16(&port).unwrap_or_else(Raised::forget)?).as_bytes(),
        );
    }
    lines.extend_from_slice(b" - \"");
    lines.extend_from_slice(printable(as_str(&entry(&names.method)?)?)?);
    lines.push(b' ');
    write_quoted(lines, as_str(&entry(&names.path)?)?.as_bytes(), is_safe_in_path);
    let query = entry(&names.query_string)?;
    let query = as_bytes(&query)?;
    if !query.is_empty() {
        lines.push(b'?');
        write_quoted(lines, query, |byte| matches!(byte, 0x21 | 0x23..=0x7e));
    }
    lines.extend_from_slice(b" HTTP/");
    lines.extend_from_slice(printable(as_str(&entry(&names.http_version)?)?)?);
    lines.extend_from_slice(b"\" ");
    lines.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    lines.push(b' ');
    lines.extend_from_slice(pronghorn_proto::http1::reason_phrase(status).as_bytes());
    lines.push(b'\n');
    Some(())
}

fn printable(text: &str) -> Option<&[u8]> {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)).then_some(text.as_bytes())
}

/// What `urllib.parse.quote` leaves as it is.
fn is_safe_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~' | b'/')
}

fn write_quoted(lines: &mut Vec<u8>, source: &[u8], is_safe: fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in source {
        if is_safe(byte) {
            lines.push(byte);
        } else {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            lines.extend_from_slice(&[b'%', high, low]);
        }
    }
}
