//! What a connection speaks, and what its streams carry.
//!
//! An HTTP/1.1 connection has one stream at a time, in place; HTTP/2 has many, by their numbers.
//! Above this, streams are told apart by their numbers only.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pronghorn_proto::error::{ApplicationError, Reject};
use pronghorn_proto::event::{Inbound, Outbound, Transmit};
use pronghorn_proto::head::RequestHead;
use pronghorn_proto::limits::Limits;
use pronghorn_proto::{http1, http2};

use crate::asgi::carried::Carried;
use crate::ffi::error::Raised;
use crate::file::FilePart;
use crate::settings::{
    DRAINED_HEAD_GRACE, FRAME_FILE_BYTES, TAKEN_FIRST_BYTES_MIN, TRANSMIT_BYTES_MAX,
};
use crate::stream::StreamId;

/// What a connection speaks.
pub enum Protocol {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// HTTP/1.0 or HTTP/1.1.
pub struct Http1 {
    pub state: http1::Connection,
    /// The request in progress.
    pub carried: Option<Carried>,
}

/// HTTP/2.
pub struct Http2 {
    pub state: http2::Connection,
    /// The requests in progress.
    pub carried: BTreeMap<u32, Carried>,
    /// What the next detached bytes of a stream are, in order.
    files: BTreeMap<u32, VecDeque<FilePart>>,
    /// An application should get its turn before more is read (`TAKEN_FIRST_BYTES_MIN`).
    pub must_take_first: bool,
}

/// What is left to do for a stream whose answer cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The stream has been reset; the others go on.
    Stream,
    /// The connection ends.
    Close,
    /// So it does, but its end would look like that of a complete answer: it must be reset.
    Reset,
}

/// What has come for one of many streams.
pub enum Multiplexed {
    /// A request's head.
    Head(u32),
    /// Something that whoever waits for it must be told of.
    News(u32),
    /// Nobody waits for the answer any more.
    Gone(Carried),
    Refused(u32, Reject),
}

impl Protocol {
    /// A connection just accepted: HTTP/1.1, unless its first bytes tell otherwise.
    pub fn http1(now: Instant, limits: &Limits) -> Self {
        Self::Http1(Http1 { state: http1::Connection::new(now, limits), carried: None })
    }

    pub fn http2(now: Instant, limits: &Limits) -> Self {
        let state = http2::Connection::new(now, limits);
        Self::Http2(Box::new(Http2 {
            state,
            carried: BTreeMap::new(),
            files: BTreeMap::new(),
            must_take_first: false,
        }))
    }

    /// What a stream carries.
    pub fn carried(&self, number: u32) -> Option<&Carried> {
        match self {
            Self::Http1(http1) => http1.carried.as_ref(),
            Self::Http2(http2) => http2.carried.get(&number),
        }
    }

    /// What all streams carry, with their numbers.
    pub fn all_carried(&self) -> impl Iterator<Item = (u32, &Carried)> {
        let (one, many) = match self {
            Self::Http1(http1) => (http1.carried.as_ref(), None),
            Self::Http2(http2) => (None, Some(http2.carried.iter())),
        };
        let one = one.into_iter().map(|carried| (StreamId::ONLY, carried));
        one.chain(many.into_iter().flatten().map(|(&number, carried)| (number, carried)))
    }

    /// Has a stream carry something; gives back what it carried before.
    pub fn carry(&mut self, number: u32, carried: Carried) -> Option<Carried> {
        match self {
            Self::Http1(http1) => http1.carried.replace(carried),
            Self::Http2(http2) => http2.carried.insert(number, carried),
        }
    }

    /// Answers a refused request. Gives back what its stream carried.
    pub fn reject(
        &mut self,
        number: u32,
        reject: Reject,
        defaults: &[u8],
        out: &mut impl Transmit,
    ) -> Option<Carried> {
        match self {
            Self::Http1(http1) => {
                http1.state.reject(reject, defaults, out);
                http1.carried.take()
            }
            Self::Http2(http2) => {
                http2.state.reject(number, reject, defaults);
                http2.carried.remove(&number)
            }
        }
    }

    /// Writes what an application answers.
    pub fn submit(
        &mut self,
        number: u32,
        limits: &Limits,
        defaults: &[u8],
        outbound: &Outbound<'_>,
        out: &mut impl Transmit,
    ) -> Result<(), ApplicationError> {
        match self {
            Self::Http1(http1) => http1.state.submit(limits, defaults, outbound, out),
            Self::Http2(http2) => http2.state.submit(number, defaults, outbound),
        }
    }

    /// The detached bytes just submitted are these, where the sink did not take them.
    pub fn carry_file(&mut self, number: u32, file: FilePart) {
        if let Self::Http2(http2) = self
            && file.remaining() > 0
            && http2.state.unsent(number) > 0
        {
            http2.files.entry(number).or_default().push_back(file);
        }
    }

    /// The application asks for the body. Says whether there is something to send.
    pub fn wants_body(&mut self, number: u32, out: &mut impl Transmit) -> bool {
        match self {
            Self::Http1(http1) => http1.state.wants_body(out),
            // What has been taken may be worth telling the peer.
            Self::Http2(http2) => {
                http2.state.wants_body(number) || http2.state.expects_body(number)
            }
        }
    }

    /// The application has taken so many bytes of the body.
    pub fn body_taken(&mut self, number: u32, bytes: usize) {
        match self {
            Self::Http1(http1) => http1.state.body_taken(),
            Self::Http2(http2) => http2.state.body_taken(number, bytes),
        }
    }

    /// What was written last is a head that may still be taken back or changed.
    pub fn has_open_head(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.state.has_open_head(),
            // It writes one when it is asked what to transmit.
            Self::Http2(_) => false,
        }
    }

    /// The body is still coming.
    pub fn expects_body(&self, number: u32) -> bool {
        match self {
            Self::Http1(http1) => http1.state.expects_body(),
            Self::Http2(http2) => http2.state.expects_body(number),
        }
    }

    /// The answer cannot be completed.
    pub fn abort(&mut self, number: u32, out: &mut impl Transmit) -> Aborted {
        match self {
            Self::Http1(http1) => {
                if http1.state.abort(out) {
                    Aborted::Reset
                } else {
                    Aborted::Close
                }
            }
            Self::Http2(http2) => {
                http2.state.abort(number);
                Aborted::Stream
            }
        }
    }

    /// Requests that have begun are the last ones, or one that comes within `idle_grace`. HTTP/2
    /// tells its peer, which then knows by itself.
    pub fn drain(&mut self, now: Instant, idle_grace: Duration) {
        match self {
            Self::Http1(http1) => http1.state.drain(now, idle_grace),
            Self::Http2(http2) => http2.state.drain(now, DRAINED_HEAD_GRACE),
        }
    }

    /// No request has begun, as far as bytes that were understood tell, and closing now would be
    /// understood.
    pub fn is_between_requests(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.state.is_between_requests(),
            // It says by itself when it has ended.
            Self::Http2(_) => false,
        }
    }

    /// Until when the peer has time.
    pub fn poll_timeout(&self, limits: &Limits) -> Option<Instant> {
        match self {
            Self::Http1(http1) => http1.state.poll_timeout(),
            Self::Http2(http2) => http2.state.poll_timeout(limits),
        }
    }
}

impl Http2 {
    /// Writes what is to be sent to the end of `out`, as much as it has room for.
    pub fn transmit(&mut self, now: Instant, limits: &Limits, out: &mut Vec<u8>) {
        self.read_files();
        self.state.poll_transmit(now, limits, out, TRANSMIT_BYTES_MAX);
    }

    /// More can be sent once there is room.
    pub fn has_more(&mut self) -> bool {
        let Self { state, files, .. } = self;
        state.has_more() || files.keys().any(|&number| state.room_for_detached(number) > 0)
    }

    /// Gives streams what their windows have room for of the files that they are made of.
    fn read_files(&mut self) {
        let Self { state, files, .. } = self;
        files.retain(|&number, parts| {
            let mut buffer = [0; FRAME_FILE_BYTES];
            while let Some(part) = parts.front_mut() {
                let room = state.room_for_detached(number).min(buffer.len());
                if room == 0 {
                    return state.unsent(number) > 0;
                }
                let Ok(read) = part.read(&mut buffer[..room]) else {
                    // What was promised does not exist.
                    state.abort(number);
                    return false;
                };
                state.give_detached(number, &buffer[..read]);
                if part.remaining() == 0 {
                    parts.pop_front();
                }
            }
            false
        });
    }

    /// The next event; body events go to their request right here. A head goes into `head`, as
    /// ranges of `source`.
    pub fn poll_event(
        &mut self,
        now: Instant,
        limits: &Limits,
        accepts: bool,
        head: &mut RequestHead,
        source: &mut Vec<u8>,
    ) -> Option<Multiplexed> {
        let (number, event) = self.state.poll_event(now, limits, accepts, head, source)?;
        Some(match (event, self.carried.get(&number)) {
            (Err(reject), _) => Multiplexed::Refused(number, reject),
            (Ok(Inbound::Head(_)), _) => Multiplexed::Head(number),
            (Ok(Inbound::Reset), Some(_)) => match self.carried.remove(&number) {
                Some(carried) => Multiplexed::Gone(carried),
                None => Multiplexed::News(number),
            },
            (Ok(Inbound::Body(data)), Some(carried)) => {
                // Making `bytes` runs no Python code: they are not tracked by the collector.
                if carried.push_body(data).is_err() {
                    Raised.report(None);
                    self.state.abort(number);
                }
                self.must_take_first |= carried.inbox_bytes() >= TAKEN_FIRST_BYTES_MIN;
                Multiplexed::News(number)
            }
            (Ok(Inbound::End), Some(carried)) => {
                carried.end_body();
                Multiplexed::News(number)
            }
            (Ok(_), _) => Multiplexed::News(number),
        })
    }
}
