//! What becomes of what has come: bytes are understood as far as the application keeps up, messages
//! wait until it takes them.

use std::time::Instant;

use pronghorn_proto::event::Input;
use pronghorn_proto::websocket::{Event, MessageKind};

use crate::asgi::exchange::Exchange;
use crate::asgi::websocket::{Stage, WebSocket};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::stream::Flow;

impl Exchange<WebSocket> {
    /// Understands what could not be understood when it came. Says whether there was anything.
    pub(super) fn understand_unread(&self, up_to_message: bool) -> bool {
        let mut unread = self.kind.unread.take();
        if unread.len() == 0 {
            return false;
        }
        let mut input = Input::new(&unread.bytes[unread.understood..]);
        self.understand(&mut input, Instant::now(), up_to_message);
        let consumed = input.consumed();
        unread.understood += consumed;
        if unread.len() > 0 {
            *self.kind.unread.borrow_mut() = unread;
        } else if let Some(common) = self.websockets() {
            common.keep_buffer(unread.bytes);
        }
        consumed > 0
    }

    /// Understands more of what a client that is gone said before. Says whether there was anything.
    pub(super) fn understand_last(&self) -> bool {
        let has_left = matches!(*self.kind.stage.borrow(), Stage::Left(_));
        has_left && self.understand_unread(true)
    }

    /// Understands `input` as far as the application keeps up, or `up_to_message`.
    pub(super) fn understand(&self, input: &mut Input<'_>, now: Instant, up_to_message: bool) {
        let Some(common) = self.websockets() else { return };
        let start = input.consumed();
        let mut result = Ok(());
        let must_wait = || self.kind.is_held_back.get() || self.kind.is_full(common);
        while result.is_ok() && !must_wait() && !input.rest().is_empty() {
            if up_to_message && !self.kind.queue.borrow().is_empty() {
                break;
            }
            let before = input.consumed();
            let understood = self.write(|socket, common, out| {
                let mut shared = common.shared.borrow_mut();
                let event = socket.receive(now, &common.limits, input, &mut shared, out);
                let noted = event.map(|event| self.note(&event));
                drop(shared);
                self.kind.is_held_back.set(out.flow() == Flow::Congested);
                noted
            });
            match understood {
                Some(Some(noted)) => result = noted,
                _ if input.consumed() == before => break,
                _ => {}
            }
        }
        if let Err(raised) = result {
            raised.report(None);
            self.abort_stream();
        }
        if input.consumed() > start {
            self.streams.body_taken(self.stream(), input.consumed() - start);
        }
    }

    /// Takes an event. Making `str` and `bytes` runs no Python code: the collector does not track
    /// them.
    fn note(&self, event: &Event<'_>) -> Result<(), Raised> {
        match event {
            Event::Message { kind, payload } => {
                let content = match kind {
                    MessageKind::Text => text::utf8(payload)?,
                    MessageKind::Binary => text::bytes(payload)?,
                };
                self.kind.queued_bytes.set(self.kind.queued_bytes.get() + payload.len());
                self.kind.queue.borrow_mut().push_back((*kind, content));
            }
            Event::Closed { code, reason } => {
                let mut end = self.kind.end.borrow_mut();
                end.get_or_insert_with(|| (*code, Some((*reason).into())));
            }
        }
        Ok(())
    }

    /// The message that has waited longest.
    pub(super) fn take_queued(&self) -> Result<Object, Raised> {
        let taken = self.kind.queue.borrow_mut().pop_front();
        let (kind, content) = taken.ok_or_else(|| Raised::runtime_error("no message"))?;
        let bytes = text::as_bytes(&content)
            .or_else(|| text::as_str(&content).map(str::as_bytes))
            .map_or(0, <[u8]>::len);
        self.kind.queued_bytes.set(self.kind.queued_bytes.get().saturating_sub(bytes));
        self.count(bytes);
        let is_last = self.kind.queue.borrow().is_empty();
        if is_last && (self.owes_answer() || self.kind.has_left.get()) {
            // Unless the application asks for more before, it has the rest of this turn to answer.
            self.streams.wake_at(self.stream(), Instant::now());
        }
        let common = self.websockets().ok_or_else(|| Raised::runtime_error("no WebSockets"))?;
        common.received_messages.make(kind, &content)
    }
}
