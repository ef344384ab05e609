//! What happens when nothing does: deadlines that have come.

use std::time::Instant;

use pronghorn_proto::deadline::Expired;
use pronghorn_proto::error::Reject;
use smallvec::SmallVec;

use crate::asgi::carried::Carried;
use crate::connection::Closing;
use crate::protocol::Protocol;
use crate::settings::READ_BUDGET;
use crate::stream::{ConnectionId, Handshakes, StreamId};
use crate::worker::Worker;
use crate::worker::tables::Target;

impl Worker {
    /// The loop's timer has fired.
    pub fn on_timer(&self) {
        let now = self.begin_turn();
        let fired = self.tables.borrow_mut().take_timer();
        drop(fired);
        self.application.tasks.begin_turn();
        loop {
            let due = self.tables.borrow_mut().timers.pop(now);
            match due {
                Some((at, Target::Connection(id))) => self.deadline_came(id, at, now),
                Some((_, Target::Listener(index))) => self.listener_rested(index, now),
                Some((_, Target::Drained(id))) => self.drained_long_enough(id, now),
                Some((_, Target::Stream(id))) => self.stream_deadline_came(id, now),
                Some((_, Target::Deferred(index))) => self.deferred_long_enough(index, now),
                Some((_, Target::AccessLog)) => {
                    self.tables.borrow_mut().disarm_access_log();
                    self.application.flush_access_log();
                }
                None => break,
            }
        }
        self.application.tasks.end_turn();
        self.end_turn();
    }

    fn stream_deadline_came(&self, id: StreamId, now: Instant) {
        let carried = {
            let mut tables = self.tables.borrow_mut();
            let connection = tables.connection(id.connection);
            connection.and_then(|connection| connection.protocol.carried(id.number).cloned())
        };
        if let Some(carried) = carried {
            self.read_late(id.connection, now);
            carried.handle_timeout(now);
            self.settle(id.connection, now, false);
            self.rest(id.connection, now);
        }
    }

    /// What came in time counts, even if the loop was too busy to look.
    fn read_late(&self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.tables.borrow_mut().connection(id) {
            connection.transport.note(true, false);
        }
        // One by one: whoever has enough to take does not keep others from being heard.
        for _ in 0..READ_BUDGET {
            self.read_once(id, now);
        }
    }

    fn drained_long_enough(&self, id: ConnectionId, now: Instant) {
        let (is_partial, all): (bool, SmallVec<[Carried; 1]>) = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            connection.transport.broken |= connection.is_before_agreement();
            let all = connection.protocol.all_carried();
            let all = all.map(|(_, carried)| carried.clone()).collect();
            (connection.has_partial_head(), all)
        };
        for carried in all {
            carried.shut_down(Handshakes::Refused);
        }
        if is_partial {
            self.reject(StreamId::only(id), Reject::with_status(408, "shutting down"), now);
        }
        self.rest(id, now);
    }

    fn deadline_came(&self, id: ConnectionId, at: Instant, now: Instant) {
        {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            if connection.armed != Some(at) {
                return;
            }
            connection.armed = None;
        }
        self.read_late(id, now);
        if let Expired::RequestTimeout(reason) = self.judge(id, now) {
            self.reject(StreamId::only(id), Reject::with_status(408, reason), now);
        }
        self.judge_streams(id, now);
        self.rest(id, now);
    }

    /// Whether the peer has used up its time.
    fn judge(&self, id: ConnectionId, now: Instant) -> Expired {
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id) else { return Expired::NotYet };
        let agreement_due = connection.secured.as_ref().and_then(|secured| secured.deadline());
        let shakes_hands_too_long = agreement_due.is_some_and(|until| until <= now);
        let lingers_too_long =
            matches!(connection.closing, Closing::Lingering { until, .. } if until <= now);
        if lingers_too_long || shakes_hands_too_long {
            connection.transport.broken = true;
        }
        if connection.is_too_slow_a_reader(now, &self.settings.limits) {
            // The kernel would go on for it with what it holds.
            connection.transport.reset_on_close();
            connection.transport.broken = true;
        }
        if connection.closing != Closing::No || connection.is_shaking_hands() {
            return Expired::NotYet;
        }
        let waiting = connection.is_waiting_for_application();
        let Protocol::Http1(http1) = &mut connection.protocol else { return Expired::NotYet };
        let expired = http1.state.handle_timeout(now, &self.settings.limits, waiting);
        if expired != Expired::NotYet && connection.is_before_agreement() {
            // It could not be told anything.
            connection.transport.broken = true;
            return Expired::NotYet;
        }
        if expired == Expired::Close {
            // A request that crosses our end on its way meets no reset: its client sees that
            // nothing was answered, and may send it again (RFC 9112, 9.3.1).
            connection.closing = Closing::AfterFlush { linger: true };
        }
        expired
    }
}
