//! Where frames are written to: gathered in a buffer, then given to the stream in one piece. Longer
//! payloads go from the application's object to the stream without a copy.

use pronghorn_proto::event::{Outbound, Payload, Transmit};

use crate::settings::GATHERED_FRAME_BYTES_MAX;
use crate::stream::{Flow, StreamId, Streams};

/// What a stream that is a tunnel takes bytes through.
pub struct Tunnel<'s> {
    streams: &'s dyn Streams,
    stream: StreamId,
    buffer: Vec<u8>,
    flow: Flow,
}

impl<'s> Tunnel<'s> {
    pub fn new(streams: &'s dyn Streams, stream: StreamId, buffer: Vec<u8>) -> Self {
        Self { streams, stream, buffer, flow: Flow::Free }
    }

    /// Whether more may be sent, as of what has been submitted.
    pub fn flow(&mut self) -> Flow {
        self.submit_buffer();
        self.flow
    }

    /// Gives the stream what is left, and the buffer back.
    pub fn finish(mut self) -> Vec<u8> {
        self.submit_buffer();
        self.buffer
    }

    fn submit_buffer(&mut self) {
        if !self.buffer.is_empty() {
            let buffer = std::mem::take(&mut self.buffer);
            self.submit(buffer[..].into());
            self.buffer = buffer;
            self.buffer.clear();
        }
    }

    fn submit(&mut self, data: Payload<'_>) {
        // A stream that is over takes nothing, and the exchange will be told.
        let outbound = Outbound::Body { data, more: true };
        self.flow = self.streams.submit(self.stream, &outbound).unwrap_or(Flow::Yield);
    }
}

impl Transmit for Tunnel<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn payload(&mut self, data: Payload<'_>) {
        if data.bytes.len() <= GATHERED_FRAME_BYTES_MAX {
            self.buffer.extend_from_slice(data.bytes);
        } else {
            self.submit_buffer();
            self.submit(data);
        }
    }

    fn detached(&mut self, _: u64) {
        unreachable!("a frame has its payload with it");
    }
}

/// Ends the stream behind what has been written.
pub fn end(streams: &dyn Streams, stream: StreamId) {
    // One that is over already needs no end.
    let _ = streams.submit(stream, &Outbound::Body { data: (&[]).into(), more: false });
    streams.attend_soon(stream);
}
