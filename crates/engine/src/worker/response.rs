//! From messages sent to bytes on their way, and to the end of a connection.

use std::time::{Duration, Instant, SystemTime};

use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;
use pronghorn_proto::http1::Next;
use smallvec::SmallVec;

use crate::asgi::carried::Carried;
use crate::connection::{Closing, Connection};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::ring::Ring;
use crate::file::FilePart;
use crate::protocol::{Aborted, Protocol};
use crate::settings::{DRAINED_HEAD_GRACE, LOW_WATER_BYTES};
use crate::stream::{ConnectionId, Flow, Handshakes, StreamId, Streams};
use crate::worker::Worker;
use crate::worker::tables::{Tables, Target};

impl Streams for Worker {
    fn submit(&self, id: StreamId, outbound: &Outbound<'_>) -> Result<Flow, ApplicationError> {
        let mut tables = self.tables.borrow_mut();
        let has_head = matches!(outbound, Outbound::Start { .. } | Outbound::Tunnel(_));
        if has_head && tables.gathered.is_none() {
            // A task answers, long after the last turn perhaps.
            tables.defaults.refresh(SystemTime::now());
        }
        let Some((connection, defaults)) = tables.writable_connection(id.connection) else {
            return Ok(Flow::Yield);
        };
        let (protocol, mut sink) = connection.writing();
        let (limits, defaults) = (&self.settings.limits, defaults.lines());
        protocol.submit(id.number, limits, defaults, outbound, &mut sink)?;
        if !connection.must_send(id.number) {
            return Ok(Flow::Free);
        }
        drop(tables);
        Ok(self.flow(id))
    }

    fn submit_file(
        &self,
        id: StreamId,
        part: FilePart,
        more: bool,
    ) -> Result<Flow, ApplicationError> {
        let mut tables = self.tables.borrow_mut();
        let Some((connection, defaults)) = tables.writable_connection(id.connection) else {
            return Ok(Flow::Yield);
        };
        let outbound = Outbound::Detached { length: part.remaining(), more };
        let file = part.clone();
        let (protocol, sink) = connection.writing();
        let mut sink = sink.with_file(part);
        let (limits, defaults) = (&self.settings.limits, defaults.lines());
        protocol.submit(id.number, limits, defaults, &outbound, &mut sink)?;
        protocol.carry_file(id.number, file);
        drop(tables);
        Ok(self.flow(id))
    }

    fn is_congested(&self, id: StreamId) -> bool {
        let mut tables = self.tables.borrow_mut();
        tables
            .connection(id.connection)
            .is_some_and(|connection| connection.is_congested(id.number))
    }

    fn want_body(&self, id: StreamId) {
        let now = Instant::now();
        let (must_seal, may_read) = {
            let mut tables = self.tables.borrow_mut();
            let Some((connection, _)) = tables.writable_connection(id.connection) else {
                return;
            };
            let (protocol, mut sink) = connection.writing();
            let owed = protocol.wants_body(id.number, &mut sink);
            let may_read = connection.protocol.expects_body(id.number) && connection.is_readable();
            if owed {
                connection.transmit(now, &self.settings.limits);
            }
            (owed && connection.flush(now, &self.settings.limits), may_read)
        };
        if must_seal {
            self.seal(id.connection, now);
        }
        if may_read {
            self.read_body(id.connection, now);
        }
    }

    fn body_taken(&self, id: StreamId, bytes: usize) {
        if let Some(connection) = self.tables.borrow_mut().connection(id.connection) {
            connection.protocol.body_taken(id.number, bytes);
        }
    }

    fn abort(&self, id: StreamId) {
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id.connection) else { return };
        if connection.closing != Closing::No {
            return;
        }
        let (protocol, mut sink) = connection.writing();
        let aborted = protocol.abort(id.number, &mut sink);
        if aborted == Aborted::Reset {
            connection.reset_on_close();
        }
        if aborted != Aborted::Stream {
            connection.closing = Closing::AfterFlush { linger: false };
        }
        drop(tables);
        self.list(id.connection);
    }

    fn step_ended(&self, id: StreamId) {
        let id = id.connection;
        {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            if connection.is_processing {
                return;
            }
            if matches!(connection.protocol, Protocol::Http2(_)) {
                drop(tables);
                // More of its streams are likely to come to a stop in this turn.
                return self.list(id);
            }
        }
        let now = Instant::now();
        self.settle(id, now, false);
        self.rest(id, now);
        self.end_turn();
    }

    fn attend_soon(&self, id: StreamId) {
        self.list(id.connection);
    }

    fn wake_at(&self, id: StreamId, at: Instant) {
        self.tables.borrow_mut().timers.add(at, Target::Stream(id));
    }

    fn ended(&self, key: usize) {
        let request = self.tables.borrow_mut().requests.try_remove(key);
        drop(request);
    }

    fn new_future(&self) -> Result<Object, Raised> {
        self.event_loop.futures.make()
    }
}

impl Worker {
    /// Sends what is too much to wait, and says whether there is still too much of it. A head that
    /// is open waits for what follows it in any case.
    fn flow(&self, id: StreamId) -> Flow {
        let is_high = || {
            let mut tables = self.tables.borrow_mut();
            tables.connection(id.connection).is_some_and(|connection| {
                connection.is_above_high_water(id.number) && !connection.protocol.has_open_head()
            })
        };
        if !is_high() {
            return Flow::Free;
        }
        let now = Instant::now();
        if let Some(connection) = self.tables.borrow_mut().connection(id.connection) {
            connection.transmit(now, &self.settings.limits);
        }
        self.flush(id.connection, now);
        if is_high() { Flow::Congested } else { Flow::Free }
    }

    /// Sends what waits, and finds out how the connection goes on. With `input_waits`, the next
    /// request has come already, and its answer is to share a write with this one.
    pub(super) fn settle(&self, id: ConnectionId, now: Instant, input_waits: bool) -> Next {
        let (next, ended, must_seal, mut sender) = {
            let mut tables = self.tables.borrow_mut();
            let is_gathering = tables.gathered.is_some();
            let Some(connection) = tables.connection(id) else { return Next::Response };
            if matches!(connection.protocol, Protocol::Http2(_)) {
                drop(tables);
                self.settle_streams(id, now);
                return Next::Response;
            }
            let (next, ended) = self.next(connection, now);
            let reads_on = matches!(next, Next::Request | Next::Tunnel);
            connection.is_pending_fresh |= reads_on && !connection.pending.is_empty();
            let is_due = next != Next::Request
                || !(input_waits || connection.is_pending_fresh)
                || connection.is_above_high_water(StreamId::ONLY);
            let waits = is_due && is_gathering && connection.unsent() <= LOW_WATER_BYTES;
            let is_gathered = waits && !std::mem::replace(&mut connection.is_gathered, waits);
            let must_seal = is_due && !waits && connection.flush(now, &self.settings.limits);
            let sender = connection.sender_with_room(StreamId::ONLY);
            tables.request_count += u64::from(ended.is_some());
            if is_gathered && let Some(gathered) = &mut tables.gathered {
                gathered.push(id);
            }
            (next, ended, must_seal, sender)
        };
        if must_seal {
            self.seal(id, now);
            let mut tables = self.tables.borrow_mut();
            if let Some(connection) = tables.connection(id) {
                sender = sender.or_else(|| connection.sender_with_room(StreamId::ONLY));
            }
        }
        if let Some(carried) = ended {
            carried.release();
        }
        if let Some(carried) = sender {
            carried.room_came();
        }
        next
    }

    /// A request has been answered without the application. Others count when they are over.
    pub(super) fn count_answer(&self) {
        self.tables.borrow_mut().request_count += 1;
    }

    /// How an HTTP/1.1 connection goes on, and what its stream no longer carries.
    fn next(&self, connection: &mut Connection, now: Instant) -> (Next, Option<Carried>) {
        if connection.closing != Closing::No {
            return (Next::Response, None);
        }
        let limits = &self.settings.limits;
        let (protocol, mut sink) = connection.writing();
        let Protocol::Http1(http1) = protocol else { return (Next::Response, None) };
        http1.state.flush(limits, &mut sink);
        let next = http1.state.next(now, limits);
        let ended = match next {
            Next::Request | Next::Close { .. } => http1.carried.take(),
            Next::Response | Next::Drain | Next::Tunnel => None,
        };
        let has_left = connection.has_ended() && connection.pending.is_empty();
        match next {
            Next::Close { linger } => connection.closing = Closing::AfterFlush { linger },
            Next::Request | Next::Drain if has_left => {
                connection.closing = Closing::AfterFlush { linger: false };
            }
            _ => {}
        }
        (next, ended)
    }

    /// Leaves a connection alone until something happens to it, or removes it.
    pub(super) fn rest(&self, id: ConnectionId, now: Instant) {
        let mut tables = self.tables.borrow_mut();
        match tables.connection(id) {
            Some(connection) if !connection.is_gathered => {
                if connection.owes_farewell() {
                    drop(tables);
                    self.say_farewell(id, now);
                    tables = self.tables.borrow_mut();
                }
            }
            _ => return,
        }
        let left = self.leave(&mut tables, id, now);
        drop(tables);
        match left {
            None => self.remove(id),
            // A request cannot start inside the task of another one, and others want a turn too.
            Some(goes_on) if goes_on => self.list(id),
            Some(_) => {}
        }
    }

    /// Has a connection watched, arms its deadline and gives spare buffers back. Says whether it
    /// goes on by itself, `None` if it has ended.
    fn leave(&self, tables: &mut Tables, id: ConnectionId, now: Instant) -> Option<bool> {
        let slot = id.slot as usize;
        let connection = tables.connections.get_mut(slot);
        let connection = connection.filter(|connection| connection.generation == id.generation)?;
        if is_finished(connection, now) || connection.transport.watch(&tables.poller, slot).is_err()
        {
            return None;
        }
        if let Some(at) = connection.deadline(&self.settings.limits)
            && connection.armed.is_none_or(|armed| at < armed)
        {
            connection.armed = Some(at);
            tables.timers.add(at, Target::Connection(id));
        }
        let goes_on = connection.may_go_on()
            || connection.has_sendable()
            || connection.is_readable() && connection.wants_input();
        if let Some(outbox) = connection.take_spare_outbox() {
            tables.keep_outbox(outbox);
        }
        Some(goes_on)
    }

    /// Closes a connection and tells its request.
    pub(super) fn remove(&self, id: ConnectionId) {
        let Some(connection) = self.tables.borrow_mut().remove(id) else { return };
        for (_, carried) in connection.protocol.all_carried() {
            carried.disconnect();
        }
    }

    /// Closes connections after the response that they are at. Idle ones wait for one more request
    /// for so long: one may be on its way, and closing now would lose it.
    pub fn drain(&self, idle_grace: Duration, handshakes: Handshakes) {
        let now = Instant::now();
        let ids = {
            let mut tables = self.tables.borrow_mut();
            tables.draining = Some(handshakes);
            tables.ids()
        };
        for id in ids {
            let all: SmallVec<[Carried; 1]> = {
                let mut tables = self.tables.borrow_mut();
                let Some(connection) = tables.connection(id) else { continue };
                connection.protocol.drain(now, idle_grace);
                connection.transport.note(true, false);
                let all = connection.protocol.all_carried();
                let all = all.map(|(_, carried)| carried.clone()).collect();
                tables.timers.add(now + idle_grace + DRAINED_HEAD_GRACE, Target::Drained(id));
                all
            };
            for carried in all {
                carried.shut_down(handshakes);
            }
            self.list(id);
        }
    }

    /// Tells every application that waits for its client to leave that it has: there is little time
    /// left. What it sends still goes out.
    pub fn announce_end(&self) {
        let all: Vec<_> = {
            let tables = self.tables.borrow();
            tables.requests.iter().map(|(_, request)| request.carried.clone()).collect()
        };
        for carried in all {
            carried.announce_end();
        }
    }

    /// Closes everything. The worker takes no part in anything after it.
    pub fn close(&self) {
        let callbacks = self.callbacks.take();
        self.application.tasks.close();
        let timer = self.tables.borrow_mut().take_timer();
        Self::cancel(timer);
        drop(callbacks);
        let listeners = std::mem::take(&mut self.tables.borrow_mut().listeners);
        drop(listeners);
        let ids = self.tables.borrow().ids();
        for id in ids {
            self.remove(id);
        }
        let requests = std::mem::take(&mut self.tables.borrow_mut().requests);
        drop(requests);
        let mut tables = self.tables.borrow_mut();
        tables.poller.close();
        // Whoever keeps something of a request keeps the worker, but no descriptor.
        tables.ring = Ring::none();
        drop(tables);
        self.application.flush_access_log();
    }
}

/// Whether the connection can be closed; begins the lingering end of those that need one.
fn is_finished(connection: &mut Connection, now: Instant) -> bool {
    if connection.transport.broken {
        return true;
    }
    match connection.closing {
        Closing::No => false,
        Closing::Lingering { .. } => connection.has_ended(),
        Closing::AfterFlush { .. } if connection.is_sending() => false,
        Closing::AfterFlush { linger } if !linger || connection.has_ended() => true,
        Closing::AfterFlush { .. } => {
            connection.linger(now);
            connection.transport.broken
        }
    }
}
