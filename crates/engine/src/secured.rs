//! The TLS side of a connection: its session, and the bytes on their way through it.
//!
//! Encrypting and decrypting may run Python code, so the worker takes the session away, lets go of
//! its tables, calls, and puts the session back (`worker/secured.rs`). What is known of the
//! connection meanwhile is here. Plaintext to be sent goes from the connection's outbox to `load`,
//! from there through the session, and to `wire` when the kernel does not take it at once.

use std::io::IoSlice;
use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::tls::PLAINTEXT_BYTES_MAX;
use smallvec::SmallVec;

use crate::ffi::kept;
use crate::ffi::object::Object;
use crate::file::Truncated;
use crate::outbox::Outbox;
use crate::settings::{FILE_BYTES_PER_TURN, SEALED_AT_ONCE_MAX};
use crate::tls::{Session, Tls};
use crate::transport::Transport;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The client has not said anything.
    Silent,
    Handshake,
    Open,
    /// The session cannot be used any more.
    Failed,
}

/// Whether the peer has ended its side (`close_notify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerEnd {
    No,
    /// It has, behind what was read last.
    Untold,
    Told,
}

/// Whether the peer is told that nothing more comes, before the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    Owed,
    Said,
    /// The end is not a clean one.
    Withheld,
}

#[derive(Debug)]
enum Place {
    /// It has not been made.
    Nowhere,
    Here(Session),
    /// The worker uses it, and so many bytes of plaintext are with it.
    Away(usize),
}

/// See the module.
#[derive(Debug)]
pub struct Secured {
    pub tls: Rc<Tls>,
    pub stage: Stage,
    session: Place,
    /// What the ASGI scope says of the session, once the handshake is over.
    description: Option<Object>,
    /// By then, the handshake must be over.
    handshake_deadline: Instant,
    peer_end: PeerEnd,
    farewell: Farewell,
    load: Outbox,
    wire: Outbox,
    /// So much of what the session has said by itself has met a wire that was not clear, since it
    /// last was.
    unasked: usize,
}

impl Secured {
    pub fn new(tls: Rc<Tls>, now: Instant) -> Self {
        let handshake_deadline = now + tls.handshake_timeout;
        Self {
            tls,
            stage: Stage::Silent,
            session: Place::Nowhere,
            description: None,
            handshake_deadline,
            peer_end: PeerEnd::No,
            farewell: Farewell::Owed,
            load: Outbox::default(),
            wire: Outbox::default(),
            unasked: 0,
        }
    }

    pub fn description(&self) -> Option<&Object> {
        self.description.as_ref()
    }

    /// By when the client must have come to an agreement with us, as long as it has not.
    pub fn deadline(&self) -> Option<Instant> {
        self.is_before_agreement().then_some(self.handshake_deadline)
    }

    pub fn is_before_agreement(&self) -> bool {
        matches!(self.stage, Stage::Silent | Stage::Handshake)
    }

    /// The worker uses the session.
    pub fn is_away(&self) -> bool {
        matches!(self.session, Place::Away(_))
    }

    /// Plaintext can be encrypted.
    fn can_seal(&self) -> bool {
        self.stage == Stage::Open && matches!(self.session, Place::Here(_))
    }

    /// What waits can go on its way.
    pub fn can_send(&self) -> bool {
        !self.wire.is_empty() || self.can_seal()
    }

    /// Takes the session away.
    pub fn take(&mut self) -> Option<Session> {
        match std::mem::replace(&mut self.session, Place::Away(0)) {
            Place::Here(session) => Some(session),
            before => {
                self.session = before;
                None
            }
        }
    }

    /// The same together with what is to be sealed: what had been taken before and was left, else
    /// `plaintext`.
    pub fn take_for_sealing(&mut self, plaintext: &mut Outbox) -> Option<(Session, Outbox)> {
        if !self.can_seal() {
            return None;
        }
        let session = self.take()?;
        let source = if self.load.is_empty() { plaintext } else { &mut self.load };
        let load = std::mem::take(source);
        self.session = Place::Away(load.unsent());
        Some((session, load))
    }

    /// What has been written while the session was away.
    pub fn take_more(&mut self, plaintext: &mut Outbox) -> Outbox {
        self.session = Place::Away(plaintext.unsent());
        std::mem::take(plaintext)
    }

    /// The session is being made.
    pub fn begin(&mut self) {
        self.stage = Stage::Handshake;
        self.session = Place::Away(0);
    }

    /// Puts the session back.
    pub fn put_back(&mut self, session: Session) {
        if self.description.is_none() {
            self.description = session.description().cloned();
        }
        self.session = Place::Here(session);
    }

    /// The same with what was not sealed. Gives back memory that nobody needs.
    pub fn put_back_with(&mut self, session: Session, mut rest: Outbox) -> Option<Vec<u8>> {
        self.put_back(session);
        let spare = rest.take_spare();
        if !rest.is_empty() {
            self.load = rest;
        }
        spare
    }

    /// Bytes to be sent that have left the connection's outbox.
    pub fn unsent(&self) -> usize {
        let away = if let Place::Away(bytes) = self.session { bytes } else { 0 };
        self.load.unsent() + self.wire.unsent() + away
    }

    /// Gives the kernel what has been sealed. Tells how much that was, and whether there is
    /// something that can be sealed next, `plaintext` included.
    pub fn flush(
        &mut self,
        transport: &mut Transport,
        plaintext: &Outbox,
    ) -> Result<(usize, bool), Truncated> {
        let mut sent = 0;
        if !self.wire.is_empty() {
            sent = self.wire.flush(transport)?;
            if self.wire.is_empty() {
                self.unasked = 0;
            }
        }
        let has_load = !self.load.is_empty() || !plaintext.is_empty();
        let must_seal = has_load && !transport.is_stuck() && self.wire.is_empty();
        Ok((sent, must_seal && self.can_seal()))
    }

    /// Sends records, and keeps what the kernel does not take. Tells how much it took.
    pub fn send(&mut self, records: &[Object], transport: &mut Transport) -> usize {
        let payloads = || records.iter().map(kept::payload);
        let mut sent = 0;
        if self.wire.is_empty() {
            let mut slices: SmallVec<[IoSlice<'_>; 4]> =
                payloads().map(|payload| IoSlice::new(payload.bytes)).collect();
            sent = transport.send_all(&mut slices, false);
        }
        let mut skipped = sent;
        for payload in payloads() {
            let skip = skipped.min(payload.bytes.len());
            skipped -= skip;
            if skip < payload.bytes.len() {
                self.wire.push_kept(payload.to_bytes().slice(skip..));
            }
        }
        sent
    }

    /// The same for what the session says by itself.
    pub fn answer(&mut self, output: &Object, transport: &mut Transport) {
        self.send(std::slice::from_ref(output), transport);
        if !self.wire.is_empty() {
            self.unasked += kept::payload(output).bytes.len();
        }
    }

    /// Bytes that the peer makes the session say (new keys, alerts), and that wait for it to listen.
    pub fn unasked(&self) -> usize {
        self.unasked
    }

    /// All that was sealed has gone to the kernel.
    pub fn is_wire_clear(&self) -> bool {
        self.wire.is_empty()
    }

    /// The peer has said that it sends no more.
    pub fn note_peer_end(&mut self) {
        self.peer_end = PeerEnd::Untold;
    }

    /// Whether that is still to be told.
    pub fn has_untold_end(&self) -> bool {
        self.peer_end == PeerEnd::Untold
    }

    /// Says once that the peer has ended its side.
    pub fn take_untold_end(&mut self) -> bool {
        let is_untold = self.has_untold_end();
        if is_untold {
            self.peer_end = PeerEnd::Told;
        }
        is_untold
    }

    pub fn has_peer_ended(&self) -> bool {
        self.peer_end != PeerEnd::No
    }

    /// The end of this connection must not look like a clean one.
    pub fn withhold_farewell(&mut self) {
        self.farewell = Farewell::Withheld;
    }

    pub fn owes_farewell(&self) -> bool {
        self.farewell == Farewell::Owed && self.can_seal()
    }

    /// Takes the session away to say farewell.
    pub fn take_for_farewell(&mut self) -> Option<Session> {
        self.farewell = Farewell::Said;
        self.take()
    }
}

/// Plaintext about to be sealed.
#[derive(Debug)]
pub struct Load {
    waiting: Outbox,
    /// So much of files may be read yet.
    budget: u64,
    /// Where pieces are put together that would not fill a record.
    joined: Vec<u8>,
}

impl Load {
    pub fn new(waiting: Outbox) -> Self {
        Self { waiting, budget: FILE_BYTES_PER_TURN, joined: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What is to be sealed next, nothing when the rest must wait for others. Whole records, if there
    /// is so much.
    pub fn next(&mut self) -> Result<&[u8], Truncated> {
        self.waiting.read_files(PLAINTEXT_BYTES_MAX, &mut self.budget)?;
        let (first, unsent) = (self.waiting.first(), self.waiting.unsent());
        if first.len() == unsent {
            return Ok(first);
        }
        if first.len() >= PLAINTEXT_BYTES_MAX {
            return Ok(&first[..first.len() - first.len() % PLAINTEXT_BYTES_MAX]);
        }
        self.joined.clear();
        self.joined.reserve_exact(unsent.min(SEALED_AT_ONCE_MAX));
        self.waiting.join(PLAINTEXT_BYTES_MAX, &mut self.joined);
        Ok(&self.joined)
    }

    /// So many bytes of `next` have been sealed.
    pub fn advance(&mut self, count: usize) {
        self.waiting.advance(count);
    }

    /// What is left.
    pub fn into_outbox(self) -> Outbox {
        self.waiting
    }
}
