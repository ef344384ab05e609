//! One connection: its socket, its protocol state, what waits in either direction.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::deadline::SlowReader;
use pronghorn_proto::limits::Limits;
use pronghorn_proto::proxy_protocol::{self, BINARY_BYTES_MAX, Malformed, Source};
use smallvec::SmallVec;

use crate::asgi::carried::Carried;
use crate::asgi::scope::Origin;
use crate::ffi::ring::Send;
use crate::listener::Address;
use crate::outbox::{Outbox, Sink};
use crate::protocol::Protocol;
use crate::secured::{Secured, Stage};
use crate::settings::{
    HIGH_WATER_BYTES, LINGER, LINGER_MAX, LOW_WATER_BYTES, PIPELINE_BYTES_MAX, READ_BYTES,
    WRITTEN_TOGETHER_MAX,
};
use crate::stream::StreamId;
use crate::tls::HEADROOM_BYTES;
use crate::transport::{Received, Transport};

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
    /// What TLS makes of it, if it speaks that.
    pub secured: Option<Box<Secured>>,
    pub protocol: Protocol,
    /// Received and not yet understood.
    pub pending: Vec<u8>,
    outbox: Outbox,
    /// `pending` has not been looked at since a response ended.
    pub is_pending_fresh: bool,
    pub peer: Address,
    pub local: Address,
    /// Made for the first request.
    pub origin: Option<Rc<Origin>>,
    pub closing: Closing,
    /// Bytes are being understood further up the stack.
    pub is_processing: bool,
    /// What is unsent goes out with that of others, before the turn is over.
    pub is_gathered: bool,
    /// It is on the list of connections to attend to.
    pub is_listed: bool,
    /// A proxy tells of its origin before anything else.
    pub awaits_proxy_header: bool,
    /// The peer takes what is sent more slowly than it comes.
    slow_reader: Option<SlowReader>,
    /// The earliest entry in the timers.
    pub armed: Option<Instant>,
}

impl Connection {
    pub fn new(
        generation: u32,
        transport: Transport,
        secured: Option<Box<Secured>>,
        protocol: Protocol,
        peer: Address,
        local: Address,
    ) -> Self {
        Self {
            generation,
            transport,
            secured,
            protocol,
            pending: Vec::new(),
            is_pending_fresh: false,
            outbox: Outbox::default(),
            peer,
            local,
            origin: None,
            closing: Closing::No,
            is_processing: false,
            is_gathered: false,
            is_listed: false,
            awaits_proxy_header: false,
            slow_reader: None,
            armed: None,
        }
    }

    /// Protocol state and where it writes.
    pub fn writing(&mut self) -> (&mut Protocol, Sink<'_>) {
        (&mut self.protocol, Sink::new(&mut self.outbox))
    }

    /// Reads the PROXY protocol header that is due, and nothing behind it: below TLS as well. Says
    /// whether it has come.
    pub fn take_proxy_header(&mut self) -> Result<bool, Malformed> {
        let mut buffer = [0; BINARY_BYTES_MAX];
        let count = match self.transport.peek(&mut buffer) {
            Received::Bytes(count) => count,
            Received::End => {
                self.closing = Closing::AfterFlush { linger: false };
                return Ok(false);
            }
            _ => return Ok(false),
        };
        let Some((source, length)) = proxy_protocol::read(&buffer[..count])? else {
            if !self.transport.wait_for_more() {
                self.closing = Closing::AfterFlush { linger: false };
            }
            return Ok(false);
        };
        // What has been looked at is there.
        self.transport.discard(&mut buffer[..length]);
        match source {
            Source::Proxy => {}
            Source::Inet { client, server } => {
                self.peer = Address::Inet(client);
                self.local = Address::Inet(server);
            }
            Source::Unix { server } => {
                self.peer = Address::Unix(None);
                self.local = Address::Unix(Some(server).filter(|path| !path.is_empty()));
            }
        }
        self.awaits_proxy_header = false;
        Ok(true)
    }

    /// What was received is at the start of `buffer`, or behind its headroom with TLS.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match &mut self.secured {
            None => self.transport.receive(buffer),
            Some(secured) => {
                if secured.take_untold_end() {
                    return Received::End;
                }
                self.transport.receive(&mut buffer[HEADROOM_BYTES..])
            }
        }
    }

    /// There may be something to read, and it can be read now.
    pub fn is_readable(&self) -> bool {
        match &self.secured {
            None => self.transport.is_readable(),
            Some(secured) => {
                (self.transport.is_readable() || secured.has_untold_end()) && !secured.is_away()
            }
        }
    }

    /// The peer has ended its side.
    pub fn has_ended(&self) -> bool {
        let secured = self.secured.as_ref();
        self.transport.has_ended() || secured.is_some_and(|secured| secured.has_peer_ended())
    }

    /// A request that is not going to hear of the peer's end from a read: it began behind it, or the
    /// end is behind what has been pipelined, which is not read now.
    pub fn unaware_of_end(&self) -> Option<&Carried> {
        let stays_unread = self.transport.is_ending()
            && !self.wants_input()
            && !self.protocol.expects_body(StreamId::ONLY);
        let is_unaware = |carried: &&Carried| !carried.has_left();
        let carried = self.protocol.carried(StreamId::ONLY).filter(is_unaware);
        carried.filter(|_| self.has_ended() || stays_unread)
    }

    /// Reading is of use now: the application keeps up.
    pub fn wants_input(&self) -> bool {
        match (self.closing, &self.protocol) {
            (Closing::AfterFlush { .. }, _) => false,
            (Closing::No, _) if self.is_session_backed_up() => false,
            (Closing::No, Protocol::Http1(http1)) => match &http1.carried {
                // What comes through a tunnel may make answers that nobody asked for.
                Some(_) if http1.state.is_tunnel() && self.is_above_high_water(StreamId::ONLY) => {
                    false
                }
                Some(carried) if http1.state.expects_body() => carried.inbox_bytes() < READ_BYTES,
                Some(_) => self.pending.len() < PIPELINE_BYTES_MAX,
                // A head has limits of its own.
                None => !self.is_pending_fresh && !self.is_above_high_water(StreamId::ONLY),
            },
            // Its windows bound the bodies.
            (Closing::No, Protocol::Http2(http2)) => !http2.state.is_backed_up(),
            (Closing::Lingering { .. }, _) => true,
        }
    }

    /// A request waits that may begin: the answers before it are taken.
    pub fn may_go_on(&self) -> bool {
        self.is_pending_fresh && !self.is_above_high_water(StreamId::ONLY)
    }

    fn is_session_backed_up(&self) -> bool {
        self.secured.as_ref().is_some_and(|secured| secured.unasked() > HIGH_WATER_BYTES)
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

    /// A TLS handshake is under way.
    pub fn is_shaking_hands(&self) -> bool {
        self.secured.as_ref().is_some_and(|secured| secured.stage == Stage::Handshake)
    }

    /// TLS has not been agreed on yet.
    pub fn is_before_agreement(&self) -> bool {
        self.secured.as_ref().is_some_and(|secured| secured.is_before_agreement())
    }

    /// The peer waits for the application, not the other way round.
    pub fn is_waiting_for_application(&self) -> bool {
        !self.wants_input()
    }

    /// What a stream carries, if that waits for room to send and there is some.
    pub fn sender_with_room(&self, number: u32) -> Option<Carried> {
        let carried = self.protocol.carried(number)?;
        (carried.waits_for_room() && !self.is_congested(number)).then(|| carried.clone())
    }

    /// The same of all streams.
    pub fn senders_with_room(&self) -> SmallVec<[Carried; 1]> {
        let numbers = self.protocol.all_carried().map(|(number, _)| number);
        numbers.filter_map(|number| self.sender_with_room(number)).collect()
    }

    pub fn unsent(&self) -> usize {
        self.outbox.unsent() + self.secured.as_ref().map_or(0, |secured| secured.unsent())
    }

    /// There is something to send, or TLS is at work.
    pub fn is_sending(&self) -> bool {
        self.unsent() > 0 || self.secured.as_ref().is_some_and(|secured| secured.is_away())
    }

    /// TLS is to tell the peer that nothing more comes, now that everything has been sent.
    pub fn owes_farewell(&self) -> bool {
        let Some(secured) = &self.secured else { return false };
        matches!(self.closing, Closing::AfterFlush { .. })
            && secured.owes_farewell()
            && secured.unsent() == 0
            && self.outbox.is_empty()
            && !self.transport.broken
    }

    /// Makes closing reset the connection, so that the peer cannot take the end for a clean one.
    pub fn reset_on_close(&mut self) {
        self.transport.reset_on_close();
        if let Some(secured) = &mut self.secured {
            secured.withhold_farewell();
        }
    }

    pub fn is_congested(&self, number: u32) -> bool {
        self.unsent_of(number) > LOW_WATER_BYTES && !self.transport.broken
    }

    pub fn is_above_high_water(&self, number: u32) -> bool {
        self.unsent_of(number) > HIGH_WATER_BYTES && !self.transport.broken
    }

    /// What has been written is too much to wait for what follows it.
    pub fn must_send(&self, number: u32) -> bool {
        let may_wait = matches!(self.protocol, Protocol::Http1(_)) && !self.transport.is_stuck();
        let bytes_max = if may_wait { WRITTEN_TOGETHER_MAX } else { HIGH_WATER_BYTES };
        self.unsent_of(number) > bytes_max && !self.transport.broken
    }

    /// What waits of a stream's answer.
    fn unsent_of(&self, number: u32) -> usize {
        match &self.protocol {
            Protocol::Http1(_) => self.unsent(),
            Protocol::Http2(http2) => http2.state.unsent(number),
        }
    }

    /// Has HTTP/2 put its frames where they can be sent.
    pub fn transmit(&mut self, now: Instant, limits: &Limits) {
        if let Protocol::Http2(http2) = &mut self.protocol {
            http2.transmit(now, limits, self.outbox.buffer());
        }
    }

    /// The same if what was there has been sent. Says whether there was more.
    pub fn transmit_more(&mut self, now: Instant, limits: &Limits) -> bool {
        if self.unsent() > 0 {
            return false;
        }
        let Protocol::Http2(http2) = &mut self.protocol else { return false };
        let has_more = http2.has_more();
        if has_more {
            self.transmit(now, limits);
        }
        has_more
    }

    /// Gives the kernel what it takes, but no part of an open head. Says whether there is something
    /// that TLS must seal first.
    #[must_use]
    pub fn flush(&mut self, now: Instant, limits: &Limits) -> bool {
        let has_open_head = self.protocol.has_open_head();
        let outcome = match &mut self.secured {
            None if has_open_head => return false,
            None => self.outbox.flush(&mut self.transport).map(|sent| (sent, false)),
            Some(secured) => secured.flush(&mut self.transport, &self.outbox),
        };
        let Ok((sent, can_seal)) = outcome else {
            self.note_truncated();
            return false;
        };
        let must_seal = can_seal && !has_open_head;
        match &mut self.slow_reader {
            // How much the peer takes of what is sealed next is still to be seen.
            Some(reader) if must_seal => reader.count(sent),
            _ if must_seal => {}
            _ => self.note_sent(sent, now, limits),
        }
        must_seal
    }

    /// All that waits, if it can go to the kernel as it is and with one call.
    pub fn sendable(&self) -> Option<Send<'_>> {
        let is_plain = self.secured.is_none() && !self.protocol.has_open_head();
        if !is_plain || self.transport.is_stuck() || self.outbox.is_empty() {
            return None;
        }
        let (parts, follows) = self.outbox.pieces();
        (!follows).then(|| Send { socket: self.transport.as_fd(), parts })
    }

    /// So much of what was sendable has been sent. The `flush` that must follow finds out why it was
    /// not more.
    pub fn note_sent_together(&mut self, sent: usize) {
        self.outbox.advance(sent);
        if let Some(reader) = &mut self.slow_reader {
            reader.count(sent);
        }
    }

    /// What was promised does not exist: the client must not take the end for a clean one.
    pub fn note_truncated(&mut self) {
        self.reset_on_close();
        self.transport.broken = true;
    }

    /// The kernel has taken so much of what was there to be sent.
    pub fn note_sent(&mut self, sent: usize, now: Instant, limits: &Limits) {
        if self.unsent() == 0 || !self.transport.is_blocked() {
            self.slow_reader = None;
            return;
        }
        match &mut self.slow_reader {
            Some(reader) => reader.count(sent),
            // What has just been sent is in the queue, and must not count twice.
            None => self.slow_reader = Some(SlowReader::new(now, limits, self.transport.queued())),
        }
    }

    /// There is more to send, which had to wait for others.
    pub fn has_sendable(&self) -> bool {
        let can_send = self.secured.as_ref().is_none_or(|secured| secured.can_send());
        can_send && self.unsent() > 0 && !self.transport.is_blocked() && !self.is_gathered
    }

    /// Whether the peer has taken too little for too long; else it gets another window.
    pub fn is_too_slow_a_reader(&mut self, now: Instant, limits: &Limits) -> bool {
        let Some(reader) = self.slow_reader.filter(|reader| reader.until() <= now) else {
            return false;
        };
        self.slow_reader = reader.renew(now, limits, self.transport.queued());
        self.slow_reader.is_none()
    }

    /// The session, and the plaintext that waits for it.
    pub fn sealing(&mut self) -> Option<(&mut Secured, &mut Outbox, &mut Transport)> {
        let secured = self.secured.as_deref_mut()?;
        Some((secured, &mut self.outbox, &mut self.transport))
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
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let reading = match self.closing {
            Closing::No if self.is_shaking_hands() => None,
            Closing::No => self.protocol.poll_timeout(limits),
            Closing::AfterFlush { .. } => None,
            Closing::Lingering { until, .. } => Some(until),
        };
        let agreeing = self.secured.as_ref().and_then(|secured| secured.deadline());
        let taking = self.slow_reader.map(|reader| reader.until());
        earlier(earlier(reading, agreeing), taking)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
