//! The `websocket` scope: one WebSocket above its stream.
//!
//! The stream's bytes come to `push_body` and are understood outside of the worker's tables, when
//! the worker tells that there is news or when the application asks; frames go out as what the
//! stream carries. The order of ASGI's messages is decided by `pronghorn_proto::asgi::websocket`,
//! everything about frames by `pronghorn_proto::websocket`. Which HTTP version made the stream is
//! known to neither.

/// Messages between dictionaries and what they mean.
mod message;
/// What becomes of what has come.
mod receiving;
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
use pronghorn_proto::websocket::{self, Expired, MessageKind};

use crate::access_log::websocket_line;
use crate::asgi::application::{Application, Level, WebSockets};
use crate::asgi::exchange::{Exchange, Kind};
use crate::asgi::websocket::tunnel::Tunnel;
use crate::ffi::error::Raised;
use crate::ffi::native::{Ref, TypeSlot, Visitor};
use crate::ffi::object::Object;
use crate::settings::{DRAINED_CLOSE_GRACE, READ_BYTES};
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
    /// The client does not take the answers to its pings: nothing is understood before it has.
    is_held_back: Cell<bool>,
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
    /// The client is gone, and not all that came before has been understood. What is written now
    /// reaches nobody.
    Left(Box<websocket::WebSocket>),
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
                Received::Disconnect if exchange.understand_last() => {}
                Received::Disconnect => {
                    exchange.tell_of_disconnect();
                    let end = this.end.borrow();
                    let (code, reason) = end.as_ref().map_or((1006, None), |(code, reason)| {
                        (*code, reason.as_deref().map(ToOwned::to_owned))
                    });
                    drop(end);
                    return message::disconnect(code, reason.as_deref()).map(Some);
                }
                Received::Wait if exchange.understand_unread(true) || exchange.settle_end() => {}
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
            is_held_back: Cell::new(false),
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

    /// Ends the stream if everything is said, unless the application is to answer messages first.
    /// Says whether it did.
    fn settle_end(&self) -> bool {
        let is_queue_empty = self.kind.queue.borrow().is_empty();
        if self.has_fallen_silent() {
            self.end(1006, None);
        } else if !(is_queue_empty && (self.owes_answer() || self.is_closed())) {
            return false;
        }
        self.finish();
        true
    }

    /// The client has ended its side, and no close frame can come any more: what has not been
    /// understood though the application keeps up will never be whole.
    fn has_fallen_silent(&self) -> bool {
        let has_all = || {
            self.kind.unread.borrow().len() == 0
                || !self.kind.is_held_back.get()
                    && self.websockets().is_some_and(|common| !self.kind.is_full(common))
        };
        let is_over = matches!(*self.kind.stage.borrow(), Stage::Left(_) | Stage::Over);
        self.kind.has_left.get() && !is_over && !self.owes_answer() && has_all()
    }

    /// Something is to be done once there is room to send.
    pub fn waits_for_room(&self) -> bool {
        self.kind.is_held_back.get() || self.has_senders()
    }

    /// There is room to send.
    pub fn room_came(&self) {
        self.wake_senders();
        if self.kind.is_held_back.take() {
            self.bytes_came();
            self.streams.attend_soon(self.stream());
        }
    }

    /// The client has ended its side. What came before is still to be understood.
    pub fn leave(&self) {
        self.kind.has_left.set(true);
        self.bytes_came();
    }

    pub fn has_left(&self) -> bool {
        self.kind.has_left.get()
    }

    /// The client is gone. What it said before can still be told, and why it went may be part of it.
    pub fn disconnect(&self) {
        self.kind.is_held_back.set(false);
        let stage = self.kind.stage.replace(Stage::Over);
        let was_open = matches!(stage, Stage::Open(_));
        match stage {
            Stage::Open(socket) if self.kind.unread.borrow().len() > 0 => {
                self.kind.stage.replace(Stage::Left(socket));
                self.kind.change(order::Exchange::disconnect);
            }
            _ => self.end(1006, None),
        }
        self.tell_of_end(was_open);
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
        self.write(|socket, _, out| {
            // It may be closing already.
            let _ = socket.close(now, &common.limits, 1012, "", out);
            socket.hasten(now, DRAINED_CLOSE_GRACE);
        });
        self.end(1012, None);
        self.arm();
    }

    /// A time that `arm` asked for has come.
    pub fn handle_timeout(&self, now: Instant) {
        self.kind.armed.set(None);
        // A pong may be among what has come.
        self.bytes_came();
        let Some(common) = self.websockets() else { return };
        let waiting = self.inbox_bytes() >= READ_BYTES;
        let expired =
            self.write(|socket, _, out| socket.handle_timeout(now, &common.limits, waiting, out));
        match expired {
            None => {}
            Some(Expired::NotYet) => self.arm(),
            Some(Expired::Over) => self.finish(),
            Some(Expired::Failed(failure)) => {
                self.end(failure.code, Some(failure.reason));
                self.finish();
            }
        }
    }
}

/// How it ends, and what is written on the way.
impl Exchange<WebSocket> {
    fn websockets(&self) -> Option<&WebSockets> {
        self.application.websockets.as_ref()
    }

    /// Does something to the WebSocket that may write frames. `None` if there is none.
    fn write<R>(
        &self,
        change: impl FnOnce(&mut websocket::WebSocket, &WebSockets, &mut Tunnel<'_>) -> R,
    ) -> Option<R> {
        let common = self.websockets()?;
        let mut stage = self.kind.stage.borrow_mut();
        let (Stage::Open(socket) | Stage::Left(socket)) = &mut *stage else { return None };
        let mut tunnel = Tunnel::new(&*self.streams, self.stream(), common.take_buffer());
        let result = change(socket, common, &mut tunnel);
        common.keep_buffer(tunnel.finish());
        Some(result)
    }

    fn owes_answer(&self) -> bool {
        matches!(&*self.kind.stage.borrow(), Stage::Open(socket) if socket.owes_answer())
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
        let stage = self.kind.stage.replace(Stage::Over);
        self.tell_of_end(matches!(stage, Stage::Open(_)));
        match stage {
            Stage::Open(_) => tunnel::end(&*self.streams, self.stream()),
            Stage::Handshake(_) => self.abort_stream(),
            // It has ended, and what was written may still be on its way.
            Stage::Left(_) | Stage::Over => {}
        }
    }

    /// Tells everybody that it is over.
    fn tell_of_end(&self, was_open: bool) {
        if was_open {
            self.application.log(Level::Info, "connection closed");
        }
        self.kind.change(order::Exchange::disconnect);
        self.wake_receivers();
        self.wake_senders();
    }

    /// Has the worker call `handle_timeout` in time.
    fn arm(&self) {
        let due = match &*self.kind.stage.borrow() {
            Stage::Open(socket) => socket.poll_timeout(),
            Stage::Handshake(_) | Stage::Left(_) | Stage::Over => None,
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
