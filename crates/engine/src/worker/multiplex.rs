//! The many streams of an HTTP/2 connection: from bytes received to running applications, and from
//! what they sent to frames on their way.
//!
//! A read may hold something for each of them. All of it is understood before an application runs,
//! so that one that a peer has taken back in the same breath never starts, and what they answer goes
//! out together.

use std::time::{Duration, Instant};

use pronghorn_proto::head::RequestHead;
use pronghorn_proto::http2::Expired;
use smallvec::SmallVec;

use crate::asgi::carried::Carried;
use crate::connection::{Closing, Connection};
use crate::protocol::{Multiplexed, Protocol};
use crate::settings::LOW_WATER_BYTES;
use crate::stream::{ConnectionId, StreamId, Streams};
use crate::worker::Worker;
use crate::worker::request::Caller;

/// What a read has brought.
#[derive(Default)]
struct Batch {
    unstarted: SmallVec<[Carried; 8]>,
    /// Streams of which somebody must be told.
    news: SmallVec<[u32; 8]>,
    gone: SmallVec<[Carried; 1]>,
}

impl Worker {
    pub(super) fn is_multiplexed(&self, id: ConnectionId) -> bool {
        let mut tables = self.tables.borrow_mut();
        let connection = tables.connection(id);
        connection.is_some_and(|connection| matches!(connection.protocol, Protocol::Http2(_)))
    }

    /// The first bytes of a connection were HTTP/2's preface.
    pub(super) fn switch_to_http2(&self, id: ConnectionId, bytes: &[u8], now: Instant) {
        {
            let mut tables = self.tables.borrow_mut();
            let is_draining = tables.draining.is_some();
            let Some(connection) = tables.connection(id) else { return };
            connection.protocol = Protocol::http2(now, &self.settings.limits);
            if is_draining {
                connection.protocol.drain(now, Duration::ZERO);
            }
        }
        self.received_frames(id, &mut Box::from(bytes), bytes.len(), now, Caller::Loop);
    }

    /// So many bytes have come, at the start of `buffer`, which is exchanged for another one, or an
    /// empty one. Says whether an application should get its turn before more is read.
    pub(super) fn received_frames(
        &self,
        id: ConnectionId,
        buffer: &mut Box<[u8]>,
        count: usize,
        now: Instant,
        caller: Caller,
    ) -> bool {
        if let Some(connection) = self.tables.borrow_mut().connection(id)
            && let Protocol::Http2(http2) = &mut connection.protocol
            && connection.closing == Closing::No
        {
            http2.state.receive(now, buffer, count);
        }
        self.understand_streams(id, now, caller);
        let mut tables = self.tables.borrow_mut();
        let Some(connection) = tables.connection(id) else { return false };
        let Protocol::Http2(http2) = &mut connection.protocol else { return false };
        // Taken in any case, so that a connection does not keep one.
        if let Some(understood) = http2.state.take_buffer()
            && buffer.is_empty()
        {
            *buffer = understood;
        }
        std::mem::take(&mut http2.must_take_first)
    }

    /// Understands what has come and starts the requests in it.
    pub(super) fn understand_streams(&self, id: ConnectionId, now: Instant, caller: Caller) {
        let (mut head, mut source, was_processing) = {
            let mut tables = self.tables.borrow_mut();
            let head = tables.head.take().unwrap_or_default();
            let source = std::mem::take(&mut tables.source);
            let Some(connection) = tables.connection(id) else { return };
            (head, source, std::mem::replace(&mut connection.is_processing, true))
        };
        let batch = self.collect(id, &mut head, &mut source, now, caller);
        {
            let mut tables = self.tables.borrow_mut();
            (tables.head, tables.source) = (Some(head), source);
        }
        self.run(id, batch);
        if let Some(connection) = self.tables.borrow_mut().connection(id) {
            connection.is_processing = was_processing;
        }
        match caller {
            Caller::Loop => self.settle_streams(id, now),
            // Requests that came along start in a turn of their own.
            Caller::Application => self.list(id),
        }
    }

    fn collect(
        &self,
        id: ConnectionId,
        head: &mut RequestHead,
        source: &mut Vec<u8>,
        now: Instant,
        caller: Caller,
    ) -> Batch {
        let mut batch = Batch::default();
        let accepts = caller == Caller::Loop;
        while let Some(event) = self.next_of_streams(id, head, source, now, accepts) {
            match event {
                Multiplexed::Head(number) => {
                    let stream = StreamId { connection: id, number };
                    match self.begin(stream, head, source) {
                        Ok(Some(carried)) => {
                            self.tables.borrow_mut().unstarted += 1;
                            batch.unstarted.push(carried);
                        }
                        Ok(None) => {}
                        Err(raised) => {
                            raised.report(None);
                            self.abort(stream);
                        }
                    }
                }
                Multiplexed::News(number) if batch.news.last() == Some(&number) => {}
                Multiplexed::News(number) => batch.news.push(number),
                Multiplexed::Gone(carried) => batch.gone.push(carried),
                Multiplexed::Refused(number, reject) => {
                    self.refuse(StreamId { connection: id, number }, reject);
                }
            }
        }
        batch
    }

    fn next_of_streams(
        &self,
        id: ConnectionId,
        head: &mut RequestHead,
        source: &mut Vec<u8>,
        now: Instant,
        accepts: bool,
    ) -> Option<Multiplexed> {
        let mut tables = self.tables.borrow_mut();
        let Protocol::Http2(http2) = &mut tables.connection(id)?.protocol else { return None };
        http2.poll_event(now, &self.settings.limits, accepts, head, source)
    }

    fn run(&self, id: ConnectionId, batch: Batch) {
        for carried in batch.gone {
            carried.disconnect();
        }
        for carried in batch.unstarted {
            let mut tables = self.tables.borrow_mut();
            tables.unstarted -= 1;
            let is_wanted = tables
                .connection(id)
                .is_some_and(|c| c.protocol.carried(carried.stream().number).is_some());
            drop(tables);
            if is_wanted {
                self.start(&carried);
            }
        }
        for number in batch.news {
            self.wake_receivers(StreamId { connection: id, number });
        }
    }

    /// Puts what is to be sent on its way, and lets go of the streams that are over.
    pub(super) fn settle_streams(&self, id: ConnectionId, now: Instant) {
        let waits = {
            let mut tables = self.tables.borrow_mut();
            let is_gathering = tables.gathered.is_some();
            let Some((connection, _)) = tables.writable_connection(id) else { return };
            connection.transmit(now, &self.settings.limits);
            let waits = is_gathering && connection.unsent() <= LOW_WATER_BYTES;
            let is_gathered = waits && !std::mem::replace(&mut connection.is_gathered, waits);
            if is_gathered && let Some(gathered) = &mut tables.gathered {
                gathered.push(id);
            }
            waits
        };
        if !waits {
            self.flush(id, now);
        }
        let mut over = Over::default();
        let (senders, must_go_on) = {
            let mut tables = self.tables.borrow_mut();
            let Some(connection) = tables.connection(id) else { return };
            over.note(connection);
            let outcome = (connection.senders_with_room(), must_go_on(connection));
            tables.request_count += over.answered;
            outcome
        };
        if must_go_on {
            self.list(id);
        }
        over.ended.iter().for_each(Carried::release);
        over.gone.iter().for_each(Carried::disconnect);
        senders.iter().for_each(Carried::room_came);
    }

    /// Ends the streams whose peer has used up its time.
    pub(super) fn judge_streams(&self, id: ConnectionId, now: Instant) {
        loop {
            let expired = {
                let mut tables = self.tables.borrow_mut();
                let Some(connection) = tables.connection(id) else { return };
                let Protocol::Http2(http2) = &mut connection.protocol else { return };
                let Some(expired) = http2.state.handle_timeout(now, &self.settings.limits) else {
                    break;
                };
                match expired {
                    Expired::Request(number, reject) => Err((number, reject)),
                    Expired::Answer(number) => Ok(http2.carried.remove(&number)),
                }
            };
            match expired {
                Ok(carried) => carried.iter().for_each(Carried::disconnect),
                Err((number, reject)) => self.refuse(StreamId { connection: id, number }, reject),
            }
        }
        self.settle_streams(id, now);
    }
}

/// What streams carried that are over.
#[derive(Default)]
struct Over {
    ended: SmallVec<[Carried; 8]>,
    /// How many of them have been answered.
    answered: u64,
    /// Nobody waits for their answers any more.
    gone: SmallVec<[Carried; 1]>,
}

impl Over {
    /// Takes it, and begins the end of a connection that `h2` has ended, or whose peer sends no more.
    fn note(&mut self, connection: &mut Connection) {
        let peer_has_ended = connection.has_ended();
        let Protocol::Http2(http2) = &mut connection.protocol else { return };
        while let Some(stream) = http2.state.poll_ended() {
            let carried = http2.carried.remove(&stream.number);
            self.answered += u64::from(carried.is_some() && stream.is_answered);
            self.ended.extend(carried);
        }
        if connection.closing != Closing::No {
            return;
        }
        if http2.state.is_closed() {
            self.gone.extend(std::mem::take(&mut http2.carried).into_values());
            connection.closing = Closing::AfterFlush { linger: !peer_has_ended };
        } else if peer_has_ended && http2.carried.is_empty() && !http2.has_more() {
            connection.closing = Closing::AfterFlush { linger: false };
        }
    }
}

/// Something has been left for a next turn, and nothing else will tell of it.
fn must_go_on(connection: &mut Connection) -> bool {
    let is_empty = connection.unsent() == 0;
    let Protocol::Http2(http2) = &mut connection.protocol else { return false };
    connection.closing == Closing::No
        && (http2.state.has_news() || is_empty && !connection.is_gathered && http2.has_more())
}
