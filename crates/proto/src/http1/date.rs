//! The header lines that every response carries: `date`, then `server` and what the operator set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Fri, 31 Dec 9999 23:59:59 GMT.
const SECOND_MAX: u64 = 253_402_300_799;

/// The block of default header lines, rendered again when the second changes.
#[derive(Debug)]
pub struct DefaultHeaders {
    fixed: Vec<u8>,
    with_date: bool,
    rendered: Vec<u8>,
    second: Option<u64>,
}

impl DefaultHeaders {
    /// `fixed` holds whole lines, each with its CRLF, already checked.
    #[must_use]
    pub fn new(fixed: Vec<u8>, with_date: bool) -> Self {
        let rendered = fixed.clone();
        Self { fixed, with_date, rendered, second: None }
    }

    /// Brings `date` to `now` (RFC 9110, 6.6.1).
    pub fn refresh(&mut self, now: SystemTime) {
        // A clock that is set wrong must not end the server: the format goes from 1970 to 9999.
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(SECOND_MAX);
        if !self.with_date || Some(second) == self.second {
            return;
        }
        self.second = Some(second);
        let date = UNIX_EPOCH + Duration::from_secs(second);
        self.rendered.clear();
        self.rendered.extend_from_slice(b"date: ");
        self.rendered.extend_from_slice(httpdate::fmt_http_date(date).as_bytes());
        self.rendered.extend_from_slice(b"\r\n");
        self.rendered.extend_from_slice(&self.fixed);
    }

    /// The lines as of the last refresh.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.rendered
    }
}
