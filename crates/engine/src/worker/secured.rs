//! Connections that speak TLS: between the bytes of the socket and those of the protocol.
//!
//! Each step takes the session out of the tables, lets go of them, calls (which may run Python code
//! that comes back in), and puts the session back. Who finds it away leaves its work to whoever has
//! it: bytes stay in the outbox or in the kernel, and are looked at once it is back.

use std::time::Instant;

use pronghorn_proto::error::Reject;
use smallvec::SmallVec;

use crate::asgi::application::Level;
use crate::connection::{Closing, Connection};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::file::Truncated;
use crate::protocol::Protocol;
use crate::secured::{Load, Stage};
use crate::settings::{DRAINED_HEAD_GRACE, SEALED_PER_TURN, SEALED_TOGETHER_MAX, TRANSMIT_BUDGET};
use crate::stream::{ConnectionId, StreamId};
use crate::tls::{Alpn, End, HEADROOM_BYTES, Progress, Session};
use crate::transport::Received;
use crate::worker::Worker;

/// What is to be done with bytes that were received.
enum Found {
    Session(Session),
    /// The first bytes: a session must be made.
    Greeting,
    PlainText,
    /// Nobody wants them.
    Unwanted,
}

impl Worker {
    /// Makes plaintext of what a connection has received, at the start of `buffer`.
    pub(super) fn unseal(
        &self,
        id: ConnectionId,
        buffer: &mut [u8],
        received: Received,
        now: Instant,
    ) -> Received {
        let count = match received {
            Received::Bytes(count) => count,
            Received::End => return self.secured_end(id),
            other => return other,
        };
        let found = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return Received::Failed };
            find(connection, buffer.get(HEADROOM_BYTES).copied())
        };
        let mut session = match found {
            Found::Session(session) => session,
            Found::Greeting => match self.open_session(id) {
                Some(session) => session,
                None => return Received::Failed,
            },
            Found::PlainText => {
                self.refuse_plain_text(id, now);
                return Received::Failed;
            }
            Found::Unwanted => return Received::Overhead,
        };
        let progress = session.receive(buffer, count);
        self.received_sealed(id, session, &progress, now)
    }

    /// The end of the bytes. Without `close_notify` before it, something may be missing.
    fn secured_end(&self, id: ConnectionId) -> Received {
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id) else { return Received::Failed };
        let is_clean = connection.secured.as_ref().is_none_or(|secured| secured.has_peer_ended());
        if is_clean || connection.is_lingering() {
            return Received::End;
        }
        connection.transport.broken = true;
        Received::Failed
    }

    fn open_session(&self, id: ConnectionId) -> Option<Session> {
        let tls = {
            let mut tables = self.tables.borrow_mut();
            let secured = tables.connection(id)?.secured.as_mut()?;
            secured.begin();
            secured.tls.clone()
        };
        match Session::open(&tls) {
            Ok(session) => Some(session),
            Err(raised) => {
                raised.report(None);
                if let Some(connection) = self.tables.borrow_mut().connection(id) {
                    connection.transport.broken = true;
                }
                None
            }
        }
    }

    /// Puts a session back that has read, and goes on with what it has read.
    fn received_sealed(
        &self,
        id: ConnectionId,
        session: Session,
        progress: &Progress,
        now: Instant,
    ) -> Received {
        let (must_seal, failure) = {
            let mut tables = self.tables.borrow_mut();
            let is_draining = tables.draining.is_some();
            let Some(connection) = tables.connection(id) else {
                drop(tables);
                return Received::Failed;
            };
            if let Some(alpn) = progress.established {
                // Its clock begins now.
                connection.protocol = match alpn {
                    Alpn::Http2 => Protocol::http2(now, &self.settings.limits),
                    Alpn::Http1 => Protocol::http1(now, &self.settings.limits),
                };
                if is_draining {
                    connection.protocol.drain(now, DRAINED_HEAD_GRACE);
                }
            }
            let failure = note_progress(connection, session, progress);
            (connection.flush(now, &self.settings.limits), failure)
        };
        if must_seal {
            self.seal(id, now);
        }
        if let Some((peer, reason)) = failure {
            self.log_failure(&peer, &reason);
            return Received::Failed;
        }
        match progress.plaintext {
            0 => Received::Overhead,
            count => Received::Bytes(count),
        }
    }

    fn log_failure(&self, peer: &str, reason: &str) {
        self.application.log(Level::Debug, &format!("TLS with {peer} failed: {reason}"));
    }

    /// Answers a client that does not speak TLS in its own language.
    fn refuse_plain_text(&self, id: ConnectionId, now: Instant) {
        let secured = match self.tables.borrow_mut().connection(id) {
            Some(connection) => connection.secured.take(),
            None => None,
        };
        drop(secured);
        let reject = Reject::bad_request("it is plain HTTP, and this port speaks TLS");
        self.reject(
            StreamId::only(id),
            reject.with_text("This port speaks HTTPS, and the request is plain HTTP."),
            now,
        );
    }

    /// Gives the kernel what it takes of what a connection has to send.
    pub(super) fn flush(&self, id: ConnectionId, now: Instant) {
        let limits = &self.settings.limits;
        for _ in 0..TRANSMIT_BUDGET {
            let must_seal = {
                let mut tables = self.tables.borrow_mut();
                let Some(connection) = tables.connection(id) else { return };
                connection.flush(now, limits)
            };
            if must_seal {
                self.seal(id, now);
            }
            let mut tables = self.tables.borrow_mut();
            let connection = tables.connection(id);
            if !connection.is_some_and(|connection| connection.transmit_more(now, limits)) {
                return;
            }
        }
    }

    /// Encrypts and sends what waits, as long as the kernel takes it.
    pub(super) fn seal(&self, id: ConnectionId, now: Instant) {
        let Some((session, waiting)) = ({
            let mut tables = self.tables.borrow_mut();
            let sealing = tables.connection(id).and_then(Connection::sealing);
            sealing.and_then(|(secured, outbox, _)| secured.take_for_sealing(outbox))
        }) else {
            return;
        };
        self.seal_load(id, session, Load::new(waiting), now);
    }

    fn seal_load(&self, id: ConnectionId, mut session: Session, mut load: Load, now: Instant) {
        let mut sent = 0;
        loop {
            let records = records(&mut session, &mut load);
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            let has_open_head = connection.protocol.has_open_head();
            let Some((secured, outbox, transport)) = connection.sealing() else { return };
            if let Ok(records) = &records {
                sent += secured.send(records, transport);
                let goes_on = secured.is_wire_clear() && !transport.is_stuck();
                if goes_on && load.is_empty() && !has_open_head && !outbox.is_empty() {
                    // What has been written meanwhile.
                    load = Load::new(secured.take_more(outbox));
                }
                if goes_on && !load.is_empty() && !records.is_empty() && sent < SEALED_PER_TURN {
                    continue;
                }
            }
            let spare = secured.put_back_with(session, load.into_outbox());
            let mut interrupter = None;
            match records {
                Ok(_) => connection.note_sent(sent, now, &self.settings.limits),
                Err(Fault::Truncated) => connection.note_truncated(),
                Err(Fault::Reported) => connection.transport.broken = true,
                Err(Fault::Interrupted) => {
                    connection.transport.broken = true;
                    interrupter = Some(connection.peer.to_string());
                }
            }
            if let Some(spare) = spare {
                tables.keep_outbox(spare);
            }
            drop(tables);
            if let Some(peer) = interrupter {
                self.log_failure(&peer, "a handshake has begun within an answer");
            }
            return;
        }
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn say_farewell(&self, id: ConnectionId, now: Instant) {
        let session = {
            let mut tables = self.tables.borrow_mut();
            let secured = tables.connection(id).and_then(|connection| connection.secured.as_mut());
            secured.and_then(|secured| secured.take_for_farewell())
        };
        let Some(mut session) = session else { return };
        let farewell = session.end();
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id) else {
            drop(tables);
            return;
        };
        let Some((secured, _, transport)) = connection.sealing() else { return };
        let sent = match &farewell {
            Ok(Some(record)) => secured.send(std::slice::from_ref(record), transport),
            Ok(None) | Err(Raised) => 0,
        };
        transport.broken |= farewell.is_err();
        secured.put_back(session);
        connection.note_sent(sent, now, &self.settings.limits);
        drop(tables);
        if let Err(raised) = farewell {
            raised.forget::<()>();
        }
    }
}

/// What a connection does with bytes that begin with `first`.
fn find(connection: &mut Connection, first: Option<u8>) -> Found {
    let is_over = connection.is_lingering();
    let Some(secured) = &mut connection.secured else { return Found::Unwanted };
    if is_over || secured.has_peer_ended() || secured.stage == Stage::Failed {
        return Found::Unwanted;
    }
    if secured.stage == Stage::Silent {
        let is_plain = first.is_some_and(pronghorn_proto::tls::begins_plain_text);
        return if is_plain { Found::PlainText } else { Found::Greeting };
    }
    secured.take().map_or(Found::Unwanted, Found::Session)
}

/// Notes what a session has read. Gives back who is at its other end and why, if it has failed.
fn note_progress(
    connection: &mut Connection,
    session: Session,
    progress: &Progress,
) -> Option<(String, String)> {
    let peer = &connection.peer;
    let failure = match &progress.end {
        End::Failed(reason) => Some((peer.to_string(), reason.clone())),
        End::No | End::Ended => None,
    };
    let (secured, _, transport) = connection.sealing()?;
    let was_agreed = !secured.is_before_agreement();
    secured.put_back(session);
    if let Some(output) = &progress.output {
        secured.answer(output, transport);
    }
    if progress.established.is_some() {
        secured.stage = Stage::Open;
    }
    match progress.end {
        End::No => {}
        End::Ended => secured.note_peer_end(),
        End::Failed(_) => secured.stage = Stage::Failed,
    }
    if failure.is_some() && was_agreed {
        transport.broken = true;
    } else if failure.is_some() {
        // So that the alert is not destroyed by bytes that nobody reads.
        connection.closing = Closing::AfterFlush { linger: true };
    }
    failure
}

/// Why nothing can be sealed.
enum Fault {
    /// An exception, which has been reported.
    Reported,
    /// The peer has begun a handshake, or half a change of its keys, and would have to go on before
    /// it can be sent anything. Clients do either at once or not at all.
    Interrupted,
    /// A file has become shorter.
    Truncated,
}

impl Fault {
    /// What `seal` has raised.
    fn of(session: &Session, raised: Raised) -> Self {
        if session.is_interrupted(raised) {
            raised.forget::<()>();
            return Self::Interrupted;
        }
        raised.report(None);
        Self::Reported
    }
}

impl From<Truncated> for Fault {
    fn from(Truncated: Truncated) -> Self {
        Self::Truncated
    }
}

/// The next records to be sent, of up to `SEALED_TOGETHER_MAX` bytes.
fn records(session: &mut Session, load: &mut Load) -> Result<SmallVec<[Object; 4]>, Fault> {
    let mut records = SmallVec::new();
    let mut sealed = 0;
    while sealed < SEALED_TOGETHER_MAX {
        let plaintext = load.next()?;
        if plaintext.is_empty() {
            break;
        }
        let outcome = session.seal(plaintext);
        let (count, output) = outcome.map_err(|raised| Fault::of(session, raised))?;
        load.advance(count);
        sealed += count;
        records.extend(output);
    }
    Ok(records)
}
