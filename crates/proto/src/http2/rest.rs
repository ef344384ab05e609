//! Bodies that still come, though their requests are answered.
//!
//! Nobody is going to read them. A peer is told to stop sending one (RFC 9113, 8.1) when it has had
//! the time to see the answer: some clients take the one for a reason to drop the other.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::http2::driver::context;
use crate::http2::meter::WINDOW_BYTES_MAX;
use crate::limits::Limits;

/// How long a peer has to end one by itself.
const REST_TIME: Duration = Duration::from_secs(1);

/// The rests of a connection, by their streams' numbers.
#[derive(Default)]
pub struct Rests {
    rests: BTreeMap<u32, Rest>,
    /// What they have in the connection's window.
    held_bytes: usize,
}

struct Rest {
    body: RecvStream,
    /// The answer, all of which is with `h2`.
    answer: SendStream<Bytes>,
    until: Instant,
    held_bytes: usize,
    /// What the peer has added to the answer's window, of which `h2` takes no note any more.
    added_bytes: u32,
}

impl Rests {
    /// Takes a body of which `held_bytes` have come that nobody has taken.
    pub fn add(
        &mut self,
        now: Instant,
        number: u32,
        body: RecvStream,
        answer: SendStream<Bytes>,
        held_bytes: usize,
    ) {
        let rest = Rest { body, answer, until: now + REST_TIME, held_bytes, added_bytes: 0 };
        self.rests.insert(number, rest);
        self.held_bytes += held_bytes;
    }

    /// Drops what has come of one. Its window stays closed; when they together keep more than half
    /// of the connection's from others, they have had their time.
    pub fn receive(&mut self, number: u32, limits: &Limits) {
        let Some(rest) = self.rests.get_mut(&number) else { return };
        let held_bytes = rest.held_bytes;
        let is_coming = rest.receive();
        self.held_bytes += rest.held_bytes - held_bytes;
        if !is_coming {
            self.remove(number);
        }
        if self.held_bytes > limits.http2.connection_window_bytes as usize / 2 {
            self.rests.clear();
            self.held_bytes = 0;
        }
    }

    /// The peer adds so many bytes to an answer's window, which must not become too large (RFC 9113,
    /// 6.9.1). Says whether there is such a rest.
    pub fn widen(&mut self, number: u32, bytes: u32) -> bool {
        let Some(rest) = self.rests.get_mut(&number) else { return false };
        rest.added_bytes = rest.added_bytes.saturating_add(bytes);
        if rest.added_bytes > WINDOW_BYTES_MAX {
            rest.answer.send_reset(Reason::FLOW_CONTROL_ERROR);
            self.remove(number);
        }
        true
    }

    fn remove(&mut self, number: u32) {
        let removed = self.rests.remove(&number);
        self.held_bytes -= removed.map_or(0, |rest| rest.held_bytes);
    }

    /// When the next one has had its time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.rests.values().map(|rest| rest.until).min()
    }

    /// Lets go of those that have had their time, for which `h2` tells the peer to stop.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rests.retain(|_, rest| rest.until > now);
        self.held_bytes = self.rests.values().map(|rest| rest.held_bytes).sum();
    }
}

impl Rest {
    /// Says whether there is more to come.
    fn receive(&mut self) -> bool {
        loop {
            match self.body.poll_data(&mut context()) {
                Poll::Ready(Some(Ok(data))) => self.held_bytes += data.len(),
                Poll::Pending => return true,
                Poll::Ready(None | Some(Err(_))) => return false,
            }
        }
    }
}
