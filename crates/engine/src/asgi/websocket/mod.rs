//! The `websocket` scope: one WebSocket above its stream.
//!
//! The stream's bytes come to `push_body` and are understood outside of the worker's tables, when
//! the worker tells that there is news or when the application asks; frames go out as what the
//! stream carries. The order of ASGI's messages is decided by `pronghorn_proto::asgi::websocket`,
//! everything about frames by `pronghorn_proto::websocket`. Which HTTP version made the stream is
//! known to neither.

/// Messages between dictionaries and what they mean.
mod message;
/// What the application's messages lead to.
mod sending;
/// Where frames are written to.
mod tunnel;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::asgi::Ended;
use pronghorn_proto::asgi::websocket::{self as order, Conclusion, Received};
use pronghorn_proto::event::Input;
use pronghorn_proto::websocket::handshake::Handshake;
use pronghorn_proto::websocket::{self, Event, Expired, MessageKind};

use crate::access_log::websocket_line;
use crate::asgi::application::{Application, Level, WebSockets};
use crate::asgi::exchange::{Exchange, Kind};
use crate::asgi::websocket::tunnel::Tunnel;
use crate::ffi::error::Raised;
use crate::ffi::native::{Ref, TypeSlot, Visitor};
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::settings::READ_BYTES;
use crate::stream::{Flow, Handshakes, StreamId, Streams};

/// What an exchange has for a `websocket` scope.
pub struct WebSocket {
    order: Cell<order::Exchange>,
    stage: RefCell<Stage>,
    /// What has come and is not understood: the application lags, or a few bytes of a frame.
    unread: RefCell<Unread>,
    /// Messages that the application has not taken, and how long they are together.
    queue: RefCell<VecDeque<(MessageKind, Object)>>,
    queued_bytes: Cell<usize>,
    /// What `websocket.disconnect` will say: a code, and a reason where there is one.
    end: RefCell<Option<(u16, Option<Box<str>>)>>,
    /// The stream has ended on the client's side.
    has_left: Cell<bool>,
    /// The earliest time that the worker was asked for.
    armed: Cell<Option<Instant>>,
}

/// Bytes that have come and are not understood.
#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    understood: usize,
}

impl Unread {
    fn len(&self) -> usize {
        self.bytes.len() - self.understood
    }
}

/// How far the WebSocket has come.
enum Stage {
    /// The application has not accepted it.
    Handshake(Box<Handshake>),
    Open(Box<websocket::WebSocket>),
    /// The stream is over.
    Over,
}

static EXCHANGE_TYPE: TypeSlot = TypeSlot::new();
static WAITER_TYPE: TypeSlot = TypeSlot::new();

impl Kind for WebSocket {
    const EXCHANGE_NAME: &'static std::ffi::CStr = c"pronghorn._engine.WebSocketExchange";
    const WAITER_NAME: &'static std::ffi::CStr = c"pronghorn._engine.WebSocketWaiter";

    fn exchange_type() -> &'static TypeSlot {
        &EXCHANGE_TYPE
    }

    fn waiter_type() -> &'static TypeSlot {
        &WAITER_TYPE
    }

    /// `str` and `bytes` are not part of cycles.
    fn traverse(&self, _: &mut Visitor) {}

    fn clear(&self) {}

    fn take_message(exchange: &Exchange<Self>) -> Result<Option<Object>, Raised> {
        let this = &exchange.kind;
        let mut asked = false;
        loop {
            let has_message = !this.queue.borrow().is_empty();
            match this.change(|order| order.receive(has_message)) {
                Received::Connect => return message::connect().map(Some),
                Received::Message => return exchange.take_queued().map(Some),
                Received::Disconnect => {
                    exchange.tell_of_disconnect();
                    let end = this.end.borrow();
                    let (code, reason) = end.as_ref().map_or((1006, None), |(code, reason)| {
                        (*code, reason.as_deref().map(ToOwned::to_owned))
                    });
                    drop(end);
                    return message::disconnect(code, reason.as_deref()).map(Some);
                }
                Received::Wait if exchange.understand_unread(true) || exchange.answer_close() => {}
                Received::Wait if asked => return Ok(None),
                Received::Wait => {
                    asked = true;
                    exchange.streams.want_body(exchange.stream());
                }
            }
        }
    }

    /// It waits for a message of its own.
    fn substitute(_: &Exchange<Self>) -> Result<Option<Object>, Raised> {
        Ok(None)
    }

    fn send(exchange: &Exchange<Self>, message: &Object) -> Result<Flow, Raised> {
        sending::send(exchange, message)
    }

    fn is_disconnected(&self) -> bool {
        self.order.get().is_disconnected()
    }

    /// An application that sends to a client that has gone need not know about it.
    fn expects(exchange: &Exchange<Self>, raised: Raised) -> bool {
        exchange.websockets().is_some_and(|common| raised.is(&common.disconnected))
    }

    fn conclude(exchange: &Exchange<Self>, ended: Ended, value: &Object) {
        match exchange.kind.order.get().conclude(ended) {
            Conclusion::Nothing { log } => exchange.log_ended(log, value),
            Conclusion::Answer500 { log } => {
                exchange.log_ended(log, value);
                exchange.refuse(500, b"Internal Server Error");
            }
            Conclusion::Abort { log } => {
                exchange.log_ended(log, value);
                exchange.end(1006, None);
                exchange.finish();
            }
        }
    }
}

impl WebSocket {
    fn change<R>(&self, transition: impl FnOnce(&mut order::Exchange) -> R) -> R {
        let mut order = self.order.get();
        let result = transition(&mut order);
        self.order.set(order);
        result
    }

    /// The application lags.
    fn is_full(&self, common: &WebSockets) -> bool {
        self.queue.borrow().len() >= common.queue_max || self.queued_bytes.get() >= READ_BYTES
    }
}

/// What the stream does with it.
impl Exchange<WebSocket> {
    pub fn for_handshake(
        application: Rc<Application>,
        streams: Rc<dyn Streams>,
        stream: StreamId,
        scope: Object,
        handshake: Handshake,
    ) -> Result<Ref<Self>, Raised> {
        let kind = WebSocket {
            order: Cell::new(order::Exchange::new()),
            stage: RefCell::new(Stage::Handshake(Box::new(handshake))),
            unread: RefCell::default(),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            end: RefCell::new(None),
            has_left: Cell::new(false),
            armed: Cell::new(None),
        };
        let logged = Some(scope.clone());
        Self::new(kind, application, streams, stream, scope, logged)
    }

    /// Bytes have come, which `bytes_came` understands. Runs no Python code.
    #[allow(clippy::unnecessary_wraps, reason = "as for a request's body")]
    pub fn push_body(&self, data: &[u8]) -> Result<(), Raised> {
        let mut unread = self.kind.unread.borrow_mut();
        if unread.bytes.capacity() == 0
            && let Some(common) = self.websockets()
        {
            unread.bytes = common.take_buffer();
        }
        let understood = std::mem::take(&mut unread.understood);
        unread.bytes.drain(..understood);
        unread.bytes.extend_from_slice(data);
        Ok(())
    }

    /// Bytes that wait; as many as make reading pause if the application lags.
    pub fn inbox_bytes(&self) -> usize {
        let is_full = self.websockets().is_some_and(|common| self.kind.is_full(common));
        if is_full { READ_BYTES } else { self.kind.unread.borrow().len() }
    }

    /// The client sends no more. Runs no Python code.
    pub fn end_body(&self) {
        self.kind.has_left.set(true);
    }

    /// Bytes have come outside of the worker's tables: understands them where they are.
    pub fn receive_bytes(&self, data: &[u8], now: Instant) -> Result<(), Raised> {
        if self.kind.unread.borrow().len() > 0 {
            self.push_body(data)?;
            self.bytes_came();
            return Ok(());
        }
        let mut input = Input::new(data);
        let someone_waits = self.has_receivers();
        self.understand(&mut input, now, someone_waits);
        if !input.rest().is_empty() {
            self.push_body(input.rest())?;
        }
        if someone_waits && !self.kind.queue.borrow().is_empty() {
            self.step_receivers();
            self.bytes_came();
        } else {
            self.settle_end();
        }
        Ok(())
    }

    /// Understands what has come, and tells the application. One that waits for a message gets each
    /// before what comes behind it is looked at, so that answers leave in the order of questions.
    pub fn bytes_came(&self) {
        loop {
            let someone_waits = self.has_receivers();
            self.understand_unread(someone_waits);
            if !someone_waits || self.kind.queue.borrow().is_empty() {
                break;
            }
            self.step_receivers();
        }
        self.settle_end();
    }

    /// Ends the stream if the client has, unless the application is to answer messages first.
    fn settle_end(&self) {
        if self.kind.has_left.get() {
            return self.leave();
        }
        let is_queue_empty = self.kind.queue.borrow().is_empty();
        if is_queue_empty && !self.answer_close() && self.is_closed() {
            self.finish();
        }
    }

    /// The client has ended its side: no close frame can come any more.
    pub fn leave(&self) {
        self.end(1006, None);
        self.finish();
    }

    /// The client is gone. It may have said why in what is not understood yet.
    pub fn disconnect(&self) {
        self.understand_unread(false);
        self.end(1006, None);
        self.close_stage();
    }

    /// The server is shutting down.
    pub fn shut_down(&self, handshakes: Handshakes) {
        let is_handshake = matches!(*self.kind.stage.borrow(), Stage::Handshake(_));
        if is_handshake {
            if handshakes == Handshakes::Refused && !self.kind.order.get().is_answered() {
                self.refuse(503, b"Service Unavailable");
            }
            return;
        }
        let now = Instant::now();
        let Some(common) = self.websockets() else { return };
        let mut limits = common.limits.clone();
        limits.close_timeout = crate::settings::DRAINED_CLOSE_GRACE;
        self.write(|socket, _, out| {
            // It may be closing already.
            let _ = socket.close(now, &limits, 1012, "", out);
        });
        self.end(1012, None);
        self.arm();
    }

    /// A time that `arm` asked for has come.
    pub fn handle_timeout(&self, now: Instant) {
        self.kind.armed.set(None);
        let Some(common) = self.websockets() else { return };
        let waiting = self.inbox_bytes() >= READ_BYTES;
        let expired =
            self.write(|socket, _, out| socket.handle_timeout(now, &common.limits, waiting, out));
        match expired {
            None => {}
            Some(Expired::NotYet) => {
                let is_queue_empty = self.kind.queue.borrow().is_empty();
                if !is_queue_empty || !self.answer_close() {
                    self.arm();
                }
            }
            Some(Expired::Over) => self.finish(),
            Some(Expired::Failed(failure)) => {
                self.end(failure.code, Some(failure.reason));
                self.finish();
            }
        }
    }
}

/// What becomes of what has come.
impl Exchange<WebSocket> {
    fn websockets(&self) -> Option<&WebSockets> {
        self.application.websockets.as_ref()
    }

    /// Understands what could not be understood when it came. Says whether there was anything.
    fn understand_unread(&self, up_to_message: bool) -> bool {
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

    /// Understands `input` as far as the application keeps up, or `up_to_message`.
    fn understand(&self, input: &mut Input<'_>, now: Instant, up_to_message: bool) {
        let Some(common) = self.websockets() else { return };
        let start = input.consumed();
        let mut result = Ok(());
        while result.is_ok() && !self.kind.is_full(common) && !input.rest().is_empty() {
            if up_to_message && !self.kind.queue.borrow().is_empty() {
                break;
            }
            let before = input.consumed();
            let understood = self.write(|socket, common, out| {
                let mut shared = common.shared.borrow_mut();
                let event = socket.receive(now, &common.limits, input, &mut shared, out);
                event.map(|event| self.note(&event))
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
    fn take_queued(&self) -> Result<Object, Raised> {
        let taken = self.kind.queue.borrow_mut().pop_front();
        let (kind, content) = taken.ok_or_else(|| Raised::runtime_error("no message"))?;
        let bytes = text::as_bytes(&content)
            .or_else(|| text::as_str(&content).map(str::as_bytes))
            .map_or(0, <[u8]>::len);
        self.kind.queued_bytes.set(self.kind.queued_bytes.get().saturating_sub(bytes));
        self.count(bytes);
        let is_last = self.kind.queue.borrow().is_empty();
        if is_last && self.owes_answer() {
            // Unless the application asks for more before, it has the rest of this turn to answer.
            self.streams.wake_at(self.stream(), Instant::now());
        }
        message::receive(kind, &content)
    }
}

/// How it ends, and what is written on the way.
impl Exchange<WebSocket> {
    /// Does something to the open WebSocket that may write frames. `None` if it is not open.
    fn write<R>(
        &self,
        change: impl FnOnce(&mut websocket::WebSocket, &WebSockets, &mut Tunnel<'_>) -> R,
    ) -> Option<R> {
        let common = self.websockets()?;
        let mut stage = self.kind.stage.borrow_mut();
        let Stage::Open(socket) = &mut *stage else { return None };
        let mut tunnel = Tunnel::new(&*self.streams, self.stream(), common.take_buffer());
        let result = change(socket, common, &mut tunnel);
        common.keep_buffer(tunnel.finish());
        Some(result)
    }

    fn owes_answer(&self) -> bool {
        matches!(&*self.kind.stage.borrow(), Stage::Open(socket) if socket.owes_answer())
    }

    /// Sends a close frame that is owed, and ends the stream with it. Says whether there was one.
    fn answer_close(&self) -> bool {
        let owes_answer = self.owes_answer();
        if owes_answer {
            self.finish();
        }
        owes_answer
    }

    /// Close frames have gone both ways.
    fn is_closed(&self) -> bool {
        matches!(&*self.kind.stage.borrow(), Stage::Open(socket) if socket.is_closed())
    }

    /// Notes why nothing comes any more; the first reason counts.
    fn end(&self, code: u16, reason: Option<&str>) {
        self.kind.change(order::Exchange::disconnect);
        self.kind.end.borrow_mut().get_or_insert_with(|| (code, reason.map(Into::into)));
    }

    /// Ends the stream, once what has been written is out.
    fn finish(&self) {
        self.write(|socket, _, out| socket.answer(out));
        if self.close_stage() {
            tunnel::end(&*self.streams, self.stream());
        } else {
            self.abort_stream();
        }
    }

    /// Tells everybody that it is over. Says whether the stream is a tunnel that is to be ended.
    fn close_stage(&self) -> bool {
        let stage = self.kind.stage.replace(Stage::Over);
        let was_open = matches!(stage, Stage::Open(_));
        if was_open {
            self.application.log(Level::Info, "connection closed");
        }
        self.kind.change(order::Exchange::disconnect);
        self.wake_receivers();
        self.wake_senders();
        was_open
    }

    /// Has the worker call `handle_timeout` in time.
    fn arm(&self) {
        let due = match &*self.kind.stage.borrow() {
            Stage::Open(socket) => socket.poll_timeout(),
            Stage::Handshake(_) | Stage::Over => None,
        };
        if let Some(at) = due
            && self.kind.armed.get().is_none_or(|armed| at < armed)
        {
            self.kind.armed.set(Some(at));
            self.streams.wake_at(self.stream(), at);
        }
    }

    /// Writes the line that Uvicorn writes for the outcome of a handshake.
    fn log_outcome(&self, outcome: &str) {
        if let Some(scope) = self.take_scope() {
            self.application.log(Level::Info, &websocket_line(&scope, outcome));
        }
    }
}
