//! Everything the worker holds, by number.

use std::io;
use std::time::Instant;

use pronghorn_proto::head::RequestHead;
use pronghorn_proto::http1::DefaultHeaders;
use pronghorn_proto::timers::Timers;
use slab::Slab;

use crate::asgi::carried::Carried;
use crate::connection::Connection;
use crate::ffi::object::Object;
use crate::ffi::ring::Ring;
use crate::listener::{Address, Listener};
use crate::load::SharedLoad;
use crate::poll::{Poller, Ready};
use crate::protocol::Protocol;
use crate::secured::Secured;
use crate::settings::{
    ACCESS_LOG_DELAY, READ_BYTES, SPARE_BUFFERS_MAX, SPARE_OUTBOX_BYTES_MAX, SPARE_OUTBOXES_MAX,
};
use crate::stream::{ConnectionId, Handshakes, StreamId};
use crate::transport::Transport;

/// Listeners are registered under this number and up, connections under their slots.
pub const LISTENER_KEY: usize = usize::MAX / 2;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Connection(ConnectionId),
    Listener(usize),
    AccessLog,
    /// The time that a connection had for one last request while the server shuts down.
    Drained(ConnectionId),
    /// What a stream carries asked for it.
    Stream(StreamId),
    /// A listener whose connections were left to less loaded processes.
    Deferred(usize),
}

/// A request whose application has suspended.
pub struct Request {
    /// Keeps it alive: asyncio itself only knows its tasks weakly.
    pub carried: Carried,
    pub task: Object,
}

/// See the module.
pub struct Tables {
    pub poller: Poller,
    pub listeners: Vec<Listener>,
    pub connections: Slab<Connection>,
    generation: u32,
    pub requests: Slab<Request>,
    pub accepted_count: u64,
    /// Requests of HTTP/2 connections that have begun and are about to start.
    pub unstarted: usize,
    pub request_count: u64,
    pub defaults: DefaultHeaders,
    pub timers: Timers<Target>,
    /// The loop's timer: when, and its handle.
    timer: Option<(Instant, Object)>,
    is_access_log_armed: bool,
    /// Connections whose answers are written together; `None` while no turn handles any.
    pub gathered: Option<Vec<ConnectionId>>,
    pub ring: Ring,
    listed: Vec<ConnectionId>,
    is_attend_scheduled: bool,
    /// What the processes that share the listeners know of each other.
    pub load: Option<SharedLoad>,
    /// The server shuts down.
    pub draining: Option<Handshakes>,
    /// One of each, used for every request. `None` while one is being read.
    pub head: Option<Box<RequestHead>>,
    /// HTTP/2's heads, as lines.
    pub source: Vec<u8>,
    pub ready: Vec<Ready>,
    spare_buffers: Vec<Box<[u8]>>,
    spare_outboxes: Vec<Vec<u8>>,
}

impl Tables {
    pub fn new(defaults: DefaultHeaders, io_uring: bool) -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            listeners: Vec::new(),
            connections: Slab::new(),
            generation: 0,
            requests: Slab::new(),
            accepted_count: 0,
            unstarted: 0,
            request_count: 0,
            defaults,
            timers: Timers::default(),
            timer: None,
            is_access_log_armed: false,
            gathered: None,
            ring: if io_uring { Ring::new() } else { Ring::none() },
            listed: Vec::new(),
            is_attend_scheduled: false,
            load: None,
            draining: None,
            head: None,
            source: Vec::new(),
            ready: Vec::new(),
            spare_buffers: Vec::new(),
            spare_outboxes: Vec::new(),
        })
    }

    pub fn insert(
        &mut self,
        transport: Transport,
        secured: Option<Box<Secured>>,
        protocol: Protocol,
        peer: Address,
        local: Address,
    ) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let connection =
            Connection::new(self.generation, transport, secured, protocol, peer, local);
        let slot = self.connections.insert(connection);
        self.publish_load();
        let slot = u32::try_from(slot).expect("fewer connections than descriptors");
        ConnectionId { slot, generation: self.generation }
    }

    /// The connection, unless it has been closed.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections
            .get_mut(id.slot as usize)
            .filter(|connection| connection.generation == id.generation)
    }

    /// Tells the other processes how many connections there are here.
    fn publish_load(&self) {
        if let Some(load) = &self.load {
            load.publish(self.connections.len());
        }
    }

    /// Whether a process with fewer connections should have the next one.
    pub fn is_loaded(&self) -> bool {
        self.load.as_ref().is_some_and(|load| load.is_above_others(self.connections.len()))
    }

    /// Connections that have had their last answer, and whose peers have not closed yet.
    pub fn lingering_connections(&self) -> usize {
        self.connections.iter().filter(|(_, connection)| connection.is_lingering()).count()
    }

    /// Connections that may still have something to be answered.
    pub fn active_connections(&self) -> usize {
        self.connections.iter().filter(|(_, connection)| !connection.is_lingering()).count()
    }

    /// Whether there are at least so many. Every request may ask: they are only counted where that
    /// can make a difference.
    pub fn has_active_connections(&self, count: usize) -> bool {
        self.connections.len() >= count && self.active_connections() >= count
    }

    /// Which connection has a slot now.
    pub fn id_at(&self, slot: usize) -> Option<ConnectionId> {
        let generation = self.connections.get(slot)?.generation;
        Some(ConnectionId { slot: u32::try_from(slot).ok()?, generation })
    }

    pub fn ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().filter_map(|(slot, _)| self.id_at(slot)).collect()
    }

    /// Takes a connection out; dropping it closes the socket.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.connection(id)?;
        let mut connection = self.connections.remove(id.slot as usize);
        if !self.listeners.is_empty() {
            self.publish_load();
        }
        connection.transport.forget(&self.poller);
        if let Some(outbox) = connection.take_spare_outbox() {
            self.keep_outbox(outbox);
        }
        Some(connection)
    }

    /// Puts a connection on the list of those to attend to. Says whether the loop must be told.
    pub fn list(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        if !std::mem::replace(&mut connection.is_listed, true) {
            self.listed.push(id);
        }
        self.schedule_attend()
    }

    /// Says whether the loop must be told to attend.
    pub fn schedule_attend(&mut self) -> bool {
        !std::mem::replace(&mut self.is_attend_scheduled, true)
    }

    pub fn take_listed(&mut self) -> Vec<ConnectionId> {
        self.is_attend_scheduled = false;
        let listed = std::mem::take(&mut self.listed);
        for id in &listed {
            if let Some(connection) = self.connection(*id) {
                connection.is_listed = false;
            }
        }
        listed
    }

    /// Has what the access log gathered written soon.
    pub fn arm_access_log(&mut self) {
        if !std::mem::replace(&mut self.is_access_log_armed, true) {
            self.timers.add(Instant::now() + ACCESS_LOG_DELAY, Target::AccessLog);
        }
    }

    /// The time for it has come.
    pub fn disarm_access_log(&mut self) {
        self.is_access_log_armed = false;
    }

    /// When the loop must call back, if it is not going to by then.
    pub fn timer_to_set(&self) -> Option<Instant> {
        let next = self.timers.next()?;
        self.timer.as_ref().is_none_or(|(at, _)| next < *at).then_some(next)
    }

    /// Notes the loop's timer, and gives back the one that it replaces.
    pub fn set_timer(&mut self, at: Instant, handle: Object) -> Option<Object> {
        self.timer.replace((at, handle)).map(|(_, handle)| handle)
    }

    pub fn take_timer(&mut self) -> Option<Object> {
        self.timer.take().map(|(_, handle)| handle)
    }

    pub fn take_buffer(&mut self) -> Box<[u8]> {
        self.spare_buffers.pop().unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice())
    }

    pub fn keep_buffer(&mut self, buffer: Box<[u8]>) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            self.spare_buffers.push(buffer);
        }
    }

    /// A connection and a place to write to.
    pub fn writable_connection(
        &mut self,
        id: ConnectionId,
    ) -> Option<(&mut Connection, &DefaultHeaders)> {
        let connection = self
            .connections
            .get_mut(id.slot as usize)
            .filter(|connection| connection.generation == id.generation)?;
        connection.lend_outbox(|| self.spare_outboxes.pop());
        Some((connection, &self.defaults))
    }

    pub fn keep_outbox(&mut self, mut outbox: Vec<u8>) {
        if outbox.capacity() <= SPARE_OUTBOX_BYTES_MAX
            && self.spare_outboxes.len() < SPARE_OUTBOXES_MAX
        {
            outbox.clear();
            self.spare_outboxes.push(outbox);
        }
    }
}
