//! What happens when nothing does: deadlines that have come.

use std::time::Instant;

use pronghorn_proto::deadline::Expired;
use pronghorn_proto::error::Reject;

use crate::connection::Closing;
use crate::ffi::error::Raised;
use crate::stream::ConnectionId;
use crate::worker::Worker;
use crate::worker::tables::Target;

impl Worker {
    /// The loop's timer has fired.
    pub fn on_timer(&self) -> Result<(), Raised> {
        let now = self.begin_turn()?;
        let fired = self.tables.borrow_mut().take_timer();
        drop(fired);
        loop {
            let due = self.tables.borrow_mut().timers.pop(now);
            match due {
                Some((at, Target::Connection(id))) => self.deadline_came(id, at, now),
                Some((_, Target::Listener(index))) => self.listener_rested(index, now),
                Some((_, Target::DrainedHead(id))) => self.head_was_too_late(id, now),
                Some((_, Target::AccessLog)) => {
                    self.tables.borrow_mut().disarm_access_log();
                    self.application.flush_access_log();
                }
                None => break,
            }
        }
        self.end_turn();
        Ok(())
    }

    fn head_was_too_late(&self, id: ConnectionId, now: Instant) {
        let is_partial = self
            .tables
            .borrow_mut()
            .connection(id)
            .is_some_and(|connection| connection.has_partial_head());
        if is_partial {
            self.reject(id, Reject::with_status(408, "shutting down"), now);
            self.rest(id, now);
        }
    }

    fn deadline_came(&self, id: ConnectionId, at: Instant, now: Instant) {
        let expired = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            if connection.armed != Some(at) {
                return;
            }
            connection.armed = None;
            let is_due = |deadline: Option<Instant>| deadline.is_some_and(|until| until <= now);
            let lingers_too_long =
                matches!(connection.closing, Closing::Lingering { until, .. } if until <= now);
            if lingers_too_long || is_due(connection.write_deadline) {
                connection.transport.broken = true;
            }
            let waiting = connection.is_waiting_for_application();
            let expired = connection.protocol.handle_timeout(now, &self.settings.limits, waiting);
            if expired == Expired::Close {
                connection.closing = Closing::AfterFlush { linger: false };
            }
            expired
        };
        if let Expired::RequestTimeout(reason) = expired {
            self.reject(id, Reject::with_status(408, reason), now);
        }
        self.rest(id, now);
    }
}
