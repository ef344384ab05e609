//! From bytes received to a running application.

use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::error::Reject;
use pronghorn_proto::event::{Inbound, Input};
use pronghorn_proto::head::RequestHead;
use pronghorn_proto::http1::Next;
use pronghorn_proto::websocket::handshake;
use smallvec::SmallVec;

use crate::asgi::application::Level;
use crate::asgi::carried::Carried;
use crate::asgi::exchange::Exchange;
use crate::asgi::scope::{Origin, address_object};
use crate::connection::Closing;
use crate::ffi::call::call;
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::listener::Address;
use crate::poll::Ready;
use crate::protocol::Protocol;
use crate::settings::{READ_BUDGET, READ_BYTES, REQUEST_BUDGET};
use crate::stream::{ConnectionId, StreamId, Streams, answer};
use crate::transport::Received;
use crate::worker::Worker;
use crate::worker::tables::Request;

/// Who asks for bytes to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The loop: applications may be started.
    Loop,
    /// An application that waits for its body.
    Application,
}

impl Worker {
    pub(super) fn connection_ready(&self, event: Ready, now: Instant) {
        let id = {
            let mut tables = self.tables.borrow_mut();
            let Some(id) = tables.id_at(event.key) else { return };
            let Some(connection) = tables.connection(id) else { return };
            connection.transport.note(event.readable, event.ended);
            if event.broken {
                connection.transport.note_unwritable();
            }
            if event.writable {
                connection.transport.unblock();
            }
            if event.urgent {
                connection.transport.note_urgent();
            }
            if event.broken && !connection.wants_input() {
                // Nobody is going to read the error.
                connection.transport.broken = true;
            }
            id
        };
        if event.writable {
            self.settle(id, now, false);
        }
        self.read(id, now);
        self.rest(id, now);
    }

    /// Goes on with a connection: answers that wait go out, requests that wait begin.
    pub(super) fn attend_to(&self, id: ConnectionId, now: Instant) {
        if self.is_multiplexed(id) {
            self.understand_streams(id, now, Caller::Loop);
        } else if !self.understand_pending(id, now) {
            self.settle(id, now, false);
        }
        self.read(id, now);
        self.rest(id, now);
    }

    /// Reads what there is, within the budget, as long as it can be used.
    pub(super) fn read(&self, id: ConnectionId, now: Instant) {
        self.read_for(id, now, Caller::Loop, READ_BUDGET);
    }

    /// The same with one read.
    pub(super) fn read_once(&self, id: ConnectionId, now: Instant) {
        self.read_for(id, now, Caller::Loop, 1);
    }

    /// Reads once for an application that waits for its body.
    pub(super) fn read_body(&self, id: ConnectionId, now: Instant) {
        self.read_for(id, now, Caller::Application, 1);
    }

    fn read_for(&self, id: ConnectionId, now: Instant, caller: Caller, budget: usize) {
        let mut buffer = None;
        let mut leaving = None;
        for reads in 0..=budget {
            let is_secured;
            let received = {
                let mut tables = self.tables.borrow_mut();
                let buffer = buffer.get_or_insert_with(|| tables.take_buffer());
                let Some(connection) = tables.connection(id) else { break };
                if !connection.is_readable() || !connection.wants_input() {
                    leaving = connection.unaware_of_end().cloned();
                    break;
                }
                if reads == budget {
                    // What the last read has brought may have ended the reading too: asked above.
                    break;
                }
                if caller == Caller::Loop && connection.is_processing {
                    // A nested loop: what comes now belongs behind what is being understood.
                    break;
                }
                if connection.awaits_proxy_header {
                    drop(tables);
                    if self.take_proxy_header(id) {
                        continue;
                    }
                    break;
                }
                connection.extend_linger(now);
                is_secured = connection.secured.is_some();
                connection.receive(buffer)
            };
            let received = match &mut buffer {
                Some(buffer) if is_secured => self.unseal(id, buffer, received, now),
                _ => received,
            };
            match received {
                Received::Bytes(count) => {
                    let must_stop = buffer
                        .as_mut()
                        .is_some_and(|buffer| self.received(id, buffer, count, now, caller));
                    // One that was exchanged may be of another size.
                    buffer.take_if(|buffer| buffer.len() != READ_BYTES);
                    if must_stop {
                        break;
                    }
                }
                Received::Overhead => {}
                Received::Empty | Received::Failed => break,
                Received::End => {
                    self.peer_ended(id);
                    if caller == Caller::Loop {
                        self.settle(id, now, false);
                    }
                    break;
                }
            }
        }
        if let Some(buffer) = buffer {
            self.tables.borrow_mut().keep_buffer(buffer);
        }
        if let Some(carried) = leaving {
            carried.leave();
        }
    }

    /// New bytes, behind those that could not be understood alone. HTTP/2 may keep the buffer, and
    /// say that no more should be read now.
    fn received(
        &self,
        id: ConnectionId,
        buffer: &mut Box<[u8]>,
        count: usize,
        now: Instant,
        caller: Caller,
    ) -> bool {
        if self.is_multiplexed(id) {
            return self.received_frames(id, buffer, count, now, caller);
        }
        self.understand(id, &buffer[..count], now, caller);
        false
    }

    /// Understands what was left over when a response, or others, had to come first. Says whether
    /// there was anything.
    fn understand_pending(&self, id: ConnectionId, now: Instant) -> bool {
        {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return false };
            if connection.is_processing || !connection.may_go_on() {
                return false;
            }
            connection.is_pending_fresh = false;
        }
        self.understand(id, &[], now, Caller::Loop);
        true
    }

    /// Understands what is pending and `bytes` behind it, starts the requests in them one after the
    /// other, and keeps what is left.
    fn understand(&self, id: ConnectionId, bytes: &[u8], now: Instant, caller: Caller) {
        let (joined, mut head, was_processing) = {
            let mut tables = self.tables.borrow_mut();
            let head = tables.head.take().unwrap_or_default();
            let Some(connection) = tables.connection(id) else { return };
            let joined = (!connection.pending.is_empty()).then(|| {
                connection.pending.extend_from_slice(bytes);
                std::mem::take(&mut connection.pending)
            });
            (joined, head, std::mem::replace(&mut connection.is_processing, true))
        };
        let mut input = Input::new(joined.as_deref().unwrap_or(bytes));
        self.events(id, &mut input, &mut head, now, caller);
        let mut tables = self.tables.borrow_mut();
        tables.head = Some(head);
        let Some(connection) = tables.connection(id) else { return };
        connection.is_processing = was_processing;
        if connection.closing == Closing::No {
            connection.pending.extend_from_slice(input.rest());
        }
    }

    fn events(
        &self,
        id: ConnectionId,
        input: &mut Input<'_>,
        head: &mut RequestHead,
        now: Instant,
        caller: Caller,
    ) {
        let stream = StreamId::only(id);
        let mut unstarted = None;
        let mut has_news = false;
        let mut requests = 0;
        loop {
            match self.next_event(id, input, head, now) {
                Ok(Some(Inbound::Head(source))) => match self.begin(stream, head, source) {
                    Ok(carried) => unstarted = carried,
                    Err(raised) => {
                        raised.report(None);
                        self.abort(stream);
                        return;
                    }
                },
                Ok(Some(Inbound::Body(data))) => {
                    has_news |= !self.tunnel_received(stream, data, now);
                }
                Ok(Some(Inbound::End | Inbound::Reset)) => has_news = true,
                Ok(Some(Inbound::Http2(_))) if self.settings.http2 => {
                    return self.switch_to_http2(id, input.take(usize::MAX), now);
                }
                Ok(None) => {
                    match unstarted.take() {
                        Some(carried) => self.start(&carried),
                        None if has_news => self.wake_receivers(stream),
                        None => {}
                    }
                    has_news = false;
                    if caller == Caller::Application {
                        return;
                    }
                    let input_waits = !input.rest().is_empty();
                    let next = self.settle(id, now, input_waits);
                    if !input_waits || !matches!(next, Next::Request | Next::Tunnel) {
                        return;
                    }
                    requests += 1;
                    if requests == REQUEST_BUDGET || self.has_too_much_to_send(id) {
                        return self.leave_for_later(id);
                    }
                }
                Ok(Some(Inbound::Http2(reject))) | Err(reject) => {
                    return self.reject(stream, reject, now);
                }
            }
        }
    }

    /// Who does not take its answers gets no more of them.
    fn has_too_much_to_send(&self, id: ConnectionId) -> bool {
        let mut tables = self.tables.borrow_mut();
        tables
            .connection(id)
            .is_some_and(|connection| connection.is_above_high_water(StreamId::ONLY))
    }

    /// Others get a turn before the rest of what this peer has pipelined.
    fn leave_for_later(&self, id: ConnectionId) {
        if let Some(connection) = self.tables.borrow_mut().connection(id) {
            connection.is_pending_fresh = true;
        }
    }

    /// The next event; body events go to their request right here.
    fn next_event<'i>(
        &self,
        id: ConnectionId,
        input: &mut Input<'i>,
        head: &mut RequestHead,
        now: Instant,
    ) -> Result<Option<Inbound<'i>>, Reject> {
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id) else { return Ok(None) };
        let Protocol::Http1(http1) = &mut connection.protocol else { return Ok(None) };
        let event = http1.state.receive(now, &self.settings.limits, input, head)?;
        match (&event, &http1.carried) {
            // It is given them outside of the tables.
            (Some(Inbound::Body(_)), Some(Carried::WebSocket(_))) => {}
            // Making `bytes` runs no Python code: they are not tracked by the collector.
            (Some(Inbound::Body(data)), Some(carried)) if carried.push_body(data).is_err() => {
                Raised.report(None);
                connection.transport.broken = true;
            }
            (Some(Inbound::End), Some(carried)) => carried.end_body(),
            // The start of a chunk line: what is read next belongs behind it.
            (None, _) if http1.state.expects_body() => {
                connection.pending.extend_from_slice(input.take(usize::MAX));
            }
            _ => {}
        }
        Ok(event)
    }

    /// Makes a request of a head. `None` when it is answered without the application.
    pub(super) fn begin(
        &self,
        id: StreamId,
        head: &RequestHead,
        source: &[u8],
    ) -> Result<Option<Carried>, Raised> {
        let is_websocket =
            self.application.websockets.is_some() && handshake::is_wanted(head, source);
        if is_websocket {
            self.end_after_handshake(id);
        }
        if self.serve_static(id, head, source)? {
            return Ok(None);
        }
        let origin = self.origin(id.connection)?;
        let mut scope = self.application.scopes.make(head, source, &origin)?;
        if is_websocket {
            scope = self.websocket_scope(head, source, scope)?;
        }
        if head.forwarded
            && let Some(trust_proxy) = &self.trust_proxy
        {
            call(trust_proxy, &[&scope])?;
        }
        if is_websocket {
            return self.begin_websocket(id, head, source, scope);
        }
        if head.upgrade.is_some() {
            self.application.log(Level::Warning, "Unsupported upgrade request.");
            if handshake::is_wanted(head, source) {
                let line = "No supported WebSocket library detected: `--ws none` was given.";
                self.application.log(Level::Warning, line);
            }
        }
        if self.is_at_limit(head.path.of(source)) {
            self.refuse_for_concurrency(id, &scope);
            return Ok(None);
        }
        let streams: Rc<dyn Streams> = self.this.upgrade().ok_or_else(closed)?;
        let exchange = Exchange::for_request(self.application.clone(), streams, id, scope)?;
        let carried = Carried::Http(exchange);
        self.carry(id, carried.clone());
        if head.framing == pronghorn_proto::head::Framing::None {
            carried.end_body();
        }
        Ok(Some(carried))
    }

    /// Has a stream carry what has been made of its request.
    pub(super) fn carry(&self, id: StreamId, carried: Carried) {
        let replaced = match self.tables.borrow_mut().connection(id.connection) {
            Some(connection) => connection.protocol.carry(id.number, carried),
            None => None,
        };
        drop(replaced);
    }

    /// What the scopes of a connection's requests say of it, made once.
    pub(super) fn origin(&self, id: ConnectionId) -> Result<Rc<Origin>, Raised> {
        let (local, peer, tls) = {
            let mut tables = self.tables.borrow_mut();
            let connection = tables.connection(id).ok_or_else(closed)?;
            if let Some(origin) = &connection.origin {
                return Ok(origin.clone());
            }
            let secured = connection.secured.as_ref();
            let tls = secured.and_then(|secured| secured.description().cloned());
            (connection.local.clone(), connection.peer.clone(), tls)
        };
        let peer = if matches!(peer, Address::Unix(_)) { Address::Unix(None) } else { peer };
        let (server, client) = (self.application.scopes.server(&local)?, address_object(&peer)?);
        let origin = Rc::new(Origin { server, client, tls });
        let replaced = match self.tables.borrow_mut().connection(id) {
            Some(connection) => connection.origin.replace(origin.clone()),
            None => None,
        };
        drop(replaced);
        Ok(origin)
    }

    /// There is no room for a request of this path.
    pub(super) fn is_at_limit(&self, path: &[u8]) -> bool {
        self.settings.concurrency_max.is_some_and(|max| {
            let tables = self.tables.borrow();
            let running = tables.requests.len() + tables.unstarted;
            (tables.has_active_connections(max) || running >= max)
                && !self.settings.is_exempt_from_concurrency(path)
        })
    }

    fn refuse_for_concurrency(&self, id: StreamId, scope: &Object) {
        self.application.log(Level::Warning, "Exceeded concurrency limit.");
        let body = b"Service Unavailable";
        if let Some(log) = &self.application.access_log
            && let Some(mut entry) =
                log.response_started(scope.clone(), log.request_begun(), 503, None)
        {
            entry.add_bytes(body.len() as u64);
            log.response_ended(entry);
        }
        if answer(self, id, 503, body, None).is_ok() {
            self.count_answer();
        } else {
            self.abort(id);
        }
    }

    /// Runs the application; where tasks start at once, up to its first suspension.
    pub(super) fn start(&self, carried: &Carried) {
        match self.application.tasks.spawn(carried.coroutine()) {
            Ok(task) if carried.has_ended() => drop(task),
            Ok(task) => {
                let request = Request { carried: carried.clone(), task };
                let key = self.tables.borrow_mut().requests.insert(request);
                carried.set_key(key);
            }
            Err(raised) => {
                raised.report(Some(carried.coroutine()));
                self.abort(carried.stream());
            }
        }
    }

    pub(super) fn wake_receivers(&self, id: StreamId) {
        let carried = {
            let mut tables = self.tables.borrow_mut();
            let connection = tables.connection(id.connection);
            connection.and_then(|connection| connection.protocol.carried(id.number).cloned())
        };
        if let Some(carried) = carried {
            carried.wake_receivers();
        }
    }

    /// Answers a request that is refused, and goes on from there.
    pub(super) fn reject(&self, id: StreamId, reject: Reject, now: Instant) {
        self.refuse(id, reject);
        self.settle(id.connection, now, false);
    }

    /// Answers a request that is refused, and ends its stream.
    pub(super) fn refuse(&self, id: StreamId, reject: Reject) {
        let (carried, peer) = {
            let mut tables = self.tables.borrow_mut();
            let Some((connection, defaults)) = tables.writable_connection(id.connection) else {
                return;
            };
            let defaults = defaults.lines();
            let (protocol, mut sink) = connection.writing();
            let carried = protocol.reject(id.number, reject, defaults, &mut sink);
            (carried, connection.peer.clone())
        };
        let level = if reject.status == 408 { Level::Debug } else { Level::Warning };
        let reason = reject.reason;
        self.application
            .log(level, &format!("Invalid HTTP request received. From {peer}: {reason}."));
        if let Some(carried) = carried {
            carried.disconnect();
        }
    }

    /// The peer sends no more. It may still read the answer.
    fn peer_ended(&self, id: ConnectionId) {
        let leaving: SmallVec<[Carried; 1]> = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            let all = connection.protocol.all_carried();
            let carried = all.map(|(_, carried)| carried.clone()).collect::<SmallVec<_>>();
            if carried.is_empty() && connection.closing == Closing::No {
                connection.closing = Closing::AfterFlush { linger: false };
            }
            carried
        };
        for carried in leaving {
            carried.leave();
        }
    }
}

pub(super) fn closed() -> Raised {
    Raised::runtime_error("the connection is closed")
}
