//! When a slow peer is given up: a clock for what it sends and one for what it takes, neither of
//! which single bytes reset.

use std::time::{Duration, Instant};

use crate::limits::Limits;

/// A hundred years.
const TIMEOUT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What the connection waits for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Nothing is expected of the peer.
    None,
    /// The first byte of the next head.
    KeepAlive { until: Instant },
    /// The rest of a head. Runs from its first byte, or from accept.
    RequestHeader { until: Instant },
    /// A body: so many bytes within this window.
    RequestBody { until: Instant, received: u64 },
}

/// What to do with a peer that was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Not yet: there is a new deadline.
    NotYet,
    /// Close without a word (RFC 9112, 9.5).
    Close,
    /// Answer 408 if no response has started, then close.
    RequestTimeout(&'static str),
}

impl Deadline {
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::KeepAlive { until }
            | Self::RequestHeader { until }
            | Self::RequestBody { until, .. } => Some(*until),
        }
    }

    #[must_use]
    pub fn keep_alive(now: Instant, timeout: Duration) -> Self {
        Self::KeepAlive { until: after(now, timeout) }
    }

    /// That of an idle connection, at this time at the latest.
    #[must_use]
    pub fn idle_until(self, latest: Instant) -> Self {
        Self::KeepAlive { until: self.until().map_or(latest, |until| until.min(latest)) }
    }

    #[must_use]
    pub fn request_header(now: Instant, limits: &Limits) -> Self {
        Self::RequestHeader { until: after(now, limits.request_header_timeout) }
    }

    #[must_use]
    pub fn request_body(now: Instant, limits: &Limits) -> Self {
        Self::RequestBody { until: after(now, limits.request_body_timeout), received: 0 }
    }

    /// Counts the present window as made: the peer could not have sent anything in it.
    pub fn excuse(&mut self) {
        if let Self::RequestBody { received, .. } = self {
            *received = u64::MAX;
        }
    }

    /// Counts body bytes towards the present window.
    pub fn count(&mut self, bytes: usize) {
        if let Self::RequestBody { received, .. } = self {
            *received = received.saturating_add(bytes as u64);
        }
    }
}

/// A peer that lags behind what is sent to it: within each window it must take enough. What the
/// kernel holds for it is not taken yet, however readily the kernel took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowReader {
    until: Instant,
    /// What the kernel held when the window began, and what it was given since.
    owed: u64,
}

impl SlowReader {
    /// The first window: the kernel takes no more, and holds `queued` bytes.
    #[must_use]
    pub fn new(now: Instant, limits: &Limits, queued: u64) -> Self {
        Self { until: after(now, limits.write_timeout), owed: queued }
    }

    /// The end of the window.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// The kernel has been given more.
    pub fn count(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_add(bytes as u64);
    }

    /// The window is over and the kernel holds `queued` bytes: the next window, `None` when the
    /// peer has used up its time.
    #[must_use]
    pub fn renew(&self, now: Instant, limits: &Limits, queued: u64) -> Option<Self> {
        let taken = self.owed.saturating_sub(queued);
        (taken >= limits.write_window_bytes_min).then(|| Self::new(now, limits, queued))
    }
}

/// A timeout may be longer than the clock can tell.
pub(crate) fn after(now: Instant, timeout: Duration) -> Instant {
    now + timeout.min(TIMEOUT_MAX)
}
