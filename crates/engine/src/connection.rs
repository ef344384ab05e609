//! One connection: its socket, its protocol state, what waits in either direction.

use std::time::Instant;

use pronghorn_proto::deadline::SlowReader;
use pronghorn_proto::limits::Limits;
use smallvec::SmallVec;

use crate::asgi::carried::Carried;
use crate::ffi::object::Object;
use crate::listener::Address;
use crate::outbox::{Outbox, Sink};
use crate::protocol::Protocol;
use crate::settings::{
    HIGH_WATER_BYTES, LINGER, LINGER_MAX, LOW_WATER_BYTES, PIPELINE_BYTES_MAX, READ_BYTES,
};
use crate::transport::Transport;

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    No,
    /// What is unsent goes out first.
    AfterFlush {
        linger: bool,
    },
    /// Nothing is sent any more; what comes is dropped until then, or until the peer ends as well.
    /// The time is extended by what comes, up to a limit.
    Lingering {
        until: Instant,
        limit: Instant,
    },
}

/// An open connection.
#[allow(clippy::struct_excessive_bools, reason = "on which lists it is, in any combination")]
pub struct Connection {
    pub generation: u32,
    pub transport: Transport,
    pub protocol: Protocol,
    /// Received and not yet understood.
    pub pending: Vec<u8>,
    outbox: Outbox,
    /// `pending` has not been looked at since a response ended.
    pub is_pending_fresh: bool,
    pub peer: Address,
    pub local: Address,
    /// `scope["client"]` and `scope["server"]`, made for the first request.
    pub addresses: Option<(Object, Object)>,
    pub closing: Closing,
    /// Bytes are being understood further up the stack.
    pub is_processing: bool,
    /// What is unsent goes out with that of others, before the turn is over.
    pub is_gathered: bool,
    /// It is on the list of connections to attend to.
    pub is_listed: bool,
    /// The peer takes what is sent more slowly than it comes.
    slow_reader: Option<SlowReader>,
    /// The earliest entry in the timers.
    pub armed: Option<Instant>,
}

impl Connection {
    pub fn new(
        generation: u32,
        transport: Transport,
        protocol: Protocol,
        peer: Address,
        local: Address,
    ) -> Self {
        Self {
            generation,
            transport,
            protocol,
            pending: Vec::new(),
            is_pending_fresh: false,
            outbox: Outbox::default(),
            peer,
            local,
            addresses: None,
            closing: Closing::No,
            is_processing: false,
            is_gathered: false,
            is_listed: false,
            slow_reader: None,
            armed: None,
        }
    }

    /// Protocol state and where it writes.
    pub fn writing(&mut self) -> (&mut Protocol, Sink<'_>) {
        (&mut self.protocol, Sink::new(&mut self.outbox, &mut self.transport))
    }

    /// Reading is of use now: the application keeps up.
    pub fn wants_input(&self) -> bool {
        match (self.closing, &self.protocol) {
            (Closing::AfterFlush { .. }, _) => false,
            (Closing::No, Protocol::Http1(http1)) => match &http1.carried {
                // What comes through a tunnel may make answers that nobody asked for.
                Some(_) if http1.state.is_tunnel() && self.is_above_high_water() => false,
                Some(carried) if http1.state.expects_body() => carried.inbox_bytes() < READ_BYTES,
                Some(_) => self.pending.len() < PIPELINE_BYTES_MAX,
                // A head has limits of its own.
                None => !self.is_pending_fresh && !self.is_above_high_water(),
            },
            (Closing::Lingering { .. }, _) => true,
        }
    }

    /// A request waits that may begin: the answers before it are taken.
    pub fn may_go_on(&self) -> bool {
        self.is_pending_fresh && !self.is_above_high_water()
    }

    /// Ends our side and waits for the peer's.
    pub fn linger(&mut self, now: Instant) {
        self.transport.end();
        self.closing = Closing::Lingering { until: now + LINGER, limit: now + LINGER_MAX };
    }

    pub fn is_lingering(&self) -> bool {
        matches!(self.closing, Closing::Lingering { .. })
    }

    /// Something has come. While lingering, that earns the peer time.
    pub fn extend_linger(&mut self, now: Instant) {
        if let Closing::Lingering { until, limit } = &mut self.closing {
            *until = (now + LINGER).min(*limit);
        }
    }

    /// A head has begun and is not whole.
    pub fn has_partial_head(&self) -> bool {
        self.closing == Closing::No
            && self.protocol.is_between_requests()
            && !self.pending.is_empty()
    }

    /// The peer waits for the application, not the other way round.
    pub fn is_waiting_for_application(&self) -> bool {
        !self.wants_input()
    }

    /// What streams carry that wait for room to send, if there is some.
    pub fn senders_with_room(&self) -> SmallVec<[Carried; 1]> {
        let streams = self.protocol.all_carried().filter(|carried| carried.has_senders());
        streams.filter(|_| !self.is_congested()).cloned().collect()
    }

    pub fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    pub fn is_congested(&self) -> bool {
        self.outbox.unsent() > LOW_WATER_BYTES && !self.transport.broken
    }

    pub fn is_above_high_water(&self) -> bool {
        self.outbox.unsent() > HIGH_WATER_BYTES && !self.transport.broken
    }

    /// Gives the kernel what it takes.
    pub fn flush(&mut self, now: Instant, limits: &Limits) {
        let Ok(sent) = self.outbox.flush(&mut self.transport) else {
            // What was promised does not exist: the client must not take the end for a clean one.
            self.transport.reset_on_close();
            self.transport.broken = true;
            return;
        };
        if self.outbox.unsent() == 0 || !self.transport.is_blocked() {
            self.slow_reader = None;
            return;
        }
        let transport = &self.transport;
        self.slow_reader
            .get_or_insert_with(|| SlowReader::new(now, limits, transport.queued()))
            .count(sent);
    }

    /// There is more to send, which had to wait for others.
    pub fn has_sendable(&self) -> bool {
        self.outbox.unsent() > 0 && !self.transport.is_blocked() && !self.is_gathered
    }

    /// Whether the peer has taken too little for too long; else it gets another window.
    pub fn is_too_slow_a_reader(&mut self, now: Instant, limits: &Limits) -> bool {
        let Some(reader) = self.slow_reader.filter(|reader| reader.until() <= now) else {
            return false;
        };
        self.slow_reader = reader.renew(now, limits, self.transport.queued());
        self.slow_reader.is_none()
    }

    /// Lets go of buffers that an idle connection does not need.
    pub fn take_spare_outbox(&mut self) -> Option<Vec<u8>> {
        self.outbox.take_spare()
    }

    /// Gives it a buffer to write to, if it has none.
    pub fn lend_outbox(&mut self, spare: impl FnOnce() -> Option<Vec<u8>>) {
        self.outbox.lend(spare);
    }

    /// The next time at which something is due.
    pub fn deadline(&self) -> Option<Instant> {
        let reading = match self.closing {
            Closing::No => self.protocol.poll_timeout(),
            Closing::AfterFlush { .. } => None,
            Closing::Lingering { until, .. } => Some(until),
        };
        let taking = self.slow_reader.map(|reader| reader.until());
        [reading, taking].into_iter().flatten().min()
    }
}
