//! New connections: accepted within a budget, read from at once, registered only if they stay.

use std::time::Instant;

use pronghorn_proto::http1;

use crate::asgi::exchange::Level;
use crate::listener::Accepted;
use crate::settings::{ACCEPT_BACK_OFF, ACCEPT_BUDGET};
use crate::stream::ConnectionId;
use crate::transport::Transport;
use crate::worker::Worker;
use crate::worker::tables::Target;

impl Worker {
    pub(super) fn listener_ready(&self, index: usize, now: Instant) {
        if let Some(listener) = self.tables.borrow_mut().listeners.get_mut(index) {
            listener.readable = true;
        }
        self.accept(index, now);
    }

    /// Goes on where the budget ended.
    pub(super) fn accept_rest(&self, now: Instant) {
        let count = self.tables.borrow().listeners.len();
        for index in 0..count {
            let is_readable =
                self.tables.borrow().listeners.get(index).is_some_and(|listener| listener.readable);
            if is_readable {
                self.accept(index, now);
            }
        }
    }

    fn accept(&self, index: usize, now: Instant) {
        for _ in 0..ACCEPT_BUDGET {
            match self.accept_one(index, now) {
                Some(Accepted::Exhausted) => return self.back_off(index, now),
                Some(Accepted::Empty) | None => return,
                Some(Accepted::Connection(..) | Accepted::Gone) => {}
            }
        }
        if self.tables.borrow_mut().schedule_attend() {
            self.schedule_attend();
        }
    }

    fn accept_one(&self, index: usize, now: Instant) -> Option<Accepted> {
        let mut tables = self.tables.borrow_mut();
        let listener = tables.listeners.get_mut(index)?;
        match listener.accept() {
            Accepted::Connection(socket, peer) => {
                let local = listener.local_address(&socket);
                let protocol = http1::Connection::new(now, &self.settings.limits);
                let id = tables.insert(Transport::new(socket), protocol, peer, local);
                drop(tables);
                self.begin_connection(id, now);
                Some(Accepted::Gone)
            }
            other => Some(other),
        }
    }

    /// The first bytes are often there already, and a connection that one request ends never needs
    /// to be registered.
    fn begin_connection(&self, id: ConnectionId, now: Instant) {
        self.read(id, now);
        self.rest(id, now);
    }

    /// Lets a listener rest, so that it does not spin while there are no descriptors.
    fn back_off(&self, index: usize, now: Instant) {
        {
            let mut tables = self.tables.borrow_mut();
            if let Some(listener) = tables.listeners.get_mut(index) {
                listener.readable = false;
            }
            tables.timers.add(now + ACCEPT_BACK_OFF, Target::Listener(index));
        }
        self.application.log(
            Level::Error,
            "Too many open files: new connections wait. Raise the limit (`ulimit -n`) or lower \
             `--limit-concurrency`.",
        );
    }

    /// Stops accepting. Who waits in the kernel's queue is served first: closing would reset them.
    pub fn stop_listening(&self) {
        let now = Instant::now();
        self.accept_rest_of_queue(now);
        let mut tables = self.tables.borrow_mut();
        for listener in std::mem::take(&mut tables.listeners) {
            // Closing it does the same.
            let _ = tables.poller.remove(&listener);
        }
        drop(tables);
        self.end_turn();
    }

    fn accept_rest_of_queue(&self, now: Instant) {
        let count = self.tables.borrow().listeners.len();
        for index in 0..count {
            self.accept(index, now);
        }
    }
}
