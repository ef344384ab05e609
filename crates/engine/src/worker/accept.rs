//! New connections: accepted within a budget, read from at once, registered only if they stay.

use std::time::Instant;

use crate::asgi::application::Level;
use crate::ffi::forks;
use crate::listener::Accepted;
use crate::protocol::Protocol;
use crate::secured::Secured;
use crate::settings::{ACCEPT_BACK_OFF, ACCEPT_BUDGET, ACCEPT_DEFERRAL};
use crate::stream::ConnectionId;
use crate::transport::Transport;
use crate::worker::Worker;
use crate::worker::tables::Target;

/// How an attempt to accept ended, for its caller.
enum Outcome {
    Connection(ConnectionId),
    Retry,
    Stop,
}

impl Worker {
    pub(super) fn listener_ready(&self, index: usize, now: Instant) {
        let may_accept = match self.tables.borrow_mut().listeners.get_mut(index) {
            Some(listener) => {
                listener.readable = !listener.is_resting;
                listener.readable
            }
            None => false,
        };
        if may_accept {
            self.accept(index, now);
        }
    }

    /// A listener that had run out of descriptors tries again.
    pub(super) fn listener_rested(&self, index: usize, now: Instant) {
        if let Some(listener) = self.tables.borrow_mut().listeners.get_mut(index) {
            listener.is_resting = false;
        }
        self.listener_ready(index, now);
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

    /// The processes with fewer connections have had their chance.
    pub(super) fn deferred_long_enough(&self, index: usize, now: Instant) {
        if let Some(listener) = self.tables.borrow_mut().listeners.get_mut(index) {
            listener.turns.waited();
        }
        self.accept(index, now);
    }

    /// Leaves the next connection to a process that has fewer, for a moment.
    fn leave_to_others(&self, index: usize, now: Instant) -> bool {
        let mut tables = self.tables.borrow_mut();
        let is_loaded = tables.is_loaded();
        let Some(listener) = tables.listeners.get_mut(index) else { return true };
        if listener.turns.is_ours(is_loaded) {
            return false;
        }
        listener.readable = false;
        if listener.turns.wait() {
            tables.timers.add(now + ACCEPT_DEFERRAL, Target::Deferred(index));
        }
        true
    }

    fn accept(&self, index: usize, now: Instant) {
        let forks = forks::count();
        for _ in 0..ACCEPT_BUDGET {
            if self.leave_to_others(index, now) {
                return;
            }
            match self.accept_one(index, now) {
                Outcome::Connection(id) => {
                    self.expect_proxy_header(id);
                    // The first bytes are often there already, and a connection that one request
                    // ends never needs to be registered.
                    self.read(id, now);
                    self.rest(id, now);
                    if forks::count() != forks {
                        // Who else waits here waits for the parent of this child.
                        return;
                    }
                }
                Outcome::Retry => {}
                Outcome::Stop => return,
            }
        }
        if self.tables.borrow_mut().schedule_attend() {
            self.schedule_attend();
        }
    }

    fn accept_one(&self, index: usize, now: Instant) -> Outcome {
        let mut tables = self.tables.borrow_mut();
        let Some(listener) = tables.listeners.get_mut(index) else { return Outcome::Stop };
        match listener.accept() {
            Accepted::Connection(socket, peer) => {
                let local = listener.local_address(&socket);
                let secured = listener.tls.clone().map(|tls| Box::new(Secured::new(tls, now)));
                let protocol = Protocol::http1(now, &self.settings.limits);
                tables.accepted_count += 1;
                let transport = Transport::new(socket);
                Outcome::Connection(tables.insert(transport, secured, protocol, peer, local))
            }
            Accepted::Gone => Outcome::Retry,
            Accepted::Empty => Outcome::Stop,
            Accepted::Exhausted => {
                drop(tables);
                self.back_off(
                    index,
                    now,
                    "Too many open files: new connections wait. Raise the limit (`ulimit -n`) or \
                     lower `--limit-concurrency`.",
                );
                Outcome::Stop
            }
            Accepted::Failed(error) => {
                drop(tables);
                self.back_off(index, now, &format!("New connections cannot be accepted: {error}."));
                Outcome::Stop
            }
        }
    }

    /// Lets a listener rest, so that it does not spin while it cannot accept.
    fn back_off(&self, index: usize, now: Instant, reason: &str) {
        {
            let mut tables = self.tables.borrow_mut();
            if let Some(listener) = tables.listeners.get_mut(index) {
                listener.readable = false;
                listener.is_resting = true;
            }
            tables.timers.add(now + ACCEPT_BACK_OFF, Target::Listener(index));
        }
        self.application.log(Level::Error, reason);
    }

    /// Stops accepting. Who waits in the kernel's queue is taken first, as closing would reset them,
    /// unless other processes do. Their requests start in the loop's next turn, since this may be
    /// called inside a task.
    pub fn stop_listening(&self, leave_waiting: bool) {
        if !leave_waiting {
            self.accept_waiting();
        }
        let mut tables = self.tables.borrow_mut();
        if let Some(load) = &tables.load {
            load.withdraw();
        }
        for listener in std::mem::take(&mut tables.listeners) {
            // Closing it does the same.
            let _ = tables.poller.remove(&listener);
        }
    }

    fn accept_waiting(&self) {
        let now = Instant::now();
        let count = self.tables.borrow().listeners.len();
        for index in 0..count {
            loop {
                match self.accept_one(index, now) {
                    Outcome::Connection(id) => {
                        self.expect_proxy_header(id);
                        self.list(id);
                    }
                    Outcome::Retry => {}
                    Outcome::Stop => break,
                }
            }
        }
    }
}
