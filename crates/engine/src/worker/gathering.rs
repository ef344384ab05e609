//! Answers of one turn, written together: each write may wake its reader, and enters the kernel.

use std::time::Instant;

use smallvec::SmallVec;

use crate::ffi::forks;
use crate::ffi::ring::SENDS_MAX;
use crate::settings::{GATHERING_TIME, SENDS_MIN};
use crate::stream::ConnectionId;
use crate::worker::Worker;
use crate::worker::tables::Tables;

impl Worker {
    /// Handles each of `items`, and writes the answers that come of it together.
    pub(super) fn gathering<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        now: Instant,
        handle: impl Fn(T),
    ) {
        // A nested loop may have come back in the middle of another turn.
        let outer = self.tables.borrow_mut().gathered.replace(Vec::new());
        let forks = forks::count();
        let mut until = now + GATHERING_TIME;
        for item in items {
            handle(item);
            if forks::count() != forks {
                // In a child, which an application has just forked off: its parent goes on with all
                // of this.
                self.tables.borrow_mut().gathered = None;
                break;
            }
            if self.must_flush_gathered(until) {
                let now = Instant::now();
                self.flush_gathered(now);
                until = now + GATHERING_TIME;
            }
        }
        self.flush_gathered(now);
        self.tables.borrow_mut().gathered = outer;
    }

    /// What has been gathered is enough, or has waited long enough.
    fn must_flush_gathered(&self, until: Instant) -> bool {
        let count = self.tables.borrow().gathered.as_ref().map_or(0, Vec::len);
        count >= SENDS_MAX || count > 0 && Instant::now() > until
    }

    fn flush_gathered(&self, now: Instant) {
        let gathered = self.tables.borrow_mut().gathered.as_mut().map(std::mem::take);
        let gathered = gathered.unwrap_or_default();
        for ids in gathered.chunks(SENDS_MAX).filter(|ids| ids.len() >= SENDS_MIN) {
            self.send_together(ids);
        }
        for id in gathered {
            if let Some(connection) = self.tables.borrow_mut().connection(id) {
                connection.is_gathered = false;
            }
            // What is left: all of it, where it could not be sent together.
            self.flush(id, now);
            self.rest(id, now);
        }
    }

    /// Sends what the kernel takes at once of what connections have to send, with one call, if that
    /// is possible.
    fn send_together(&self, ids: &[ConnectionId]) {
        let mut tables = self.tables.borrow_mut();
        if !tables.ring.is_available() {
            return;
        }
        for (id, count) in send_all(&mut tables, ids) {
            if let Some(connection) = tables.connection(id) {
                connection.note_sent_together(count);
            }
        }
    }
}

type Sent = SmallVec<[(ConnectionId, usize); SENDS_MAX]>;

fn send_all(tables: &mut Tables, ids: &[ConnectionId]) -> Sent {
    let Tables { connections, ring, .. } = tables;
    let (senders, sends): (SmallVec<[_; SENDS_MAX]>, SmallVec<[_; SENDS_MAX]>) = ids
        .iter()
        .filter_map(|id| {
            let connection = connections.get(id.slot as usize)?;
            let is_same = connection.generation == id.generation;
            Some((*id, connection.sendable().filter(|_| is_same)?))
        })
        .unzip();
    senders.into_iter().zip(ring.send(&sends)).collect()
}
