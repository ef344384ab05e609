//! One call of the application: the coroutine that its task runs, and its `receive` and `send`.
//!
//! Here is what every kind of scope has in common, and what the stream and the waiters do with it;
//! the application's side is in `running` and `sending`. What a kind makes of its messages is in
//! `http` and `websocket`.

/// The coroutine that wraps the application's own.
mod running;
/// `receive` and `send`.
mod sending;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;

use pronghorn_proto::asgi::Ended;
use smallvec::SmallVec;

use crate::asgi::application::{Application, Level};
use crate::asgi::task;
use crate::ffi::error::Raised;
use crate::ffi::native::{Native, Ref, TypeSlot, Visitor};
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::settings::{UNINTERRUPTED_BYTES_MAX, UNINTERRUPTED_MESSAGE_BYTES};
use crate::stream::{Flow, StreamId, Streams};

/// What one kind of scope makes of an exchange.
pub trait Kind: Sized + 'static {
    /// The native types' qualified names, and where they are kept once they are made.
    const EXCHANGE_NAME: &'static CStr;
    const WAITER_NAME: &'static CStr;
    fn exchange_type() -> &'static TypeSlot;
    fn waiter_type() -> &'static TypeSlot;

    /// Shows the collector every object that it holds.
    fn traverse(&self, visitor: &mut Visitor);

    /// Releases what could be part of a cycle.
    fn clear(&self);

    /// The next message, `None` when there is none yet.
    fn take_message(exchange: &Exchange<Self>) -> Result<Option<Object>, Raised>;

    /// What a waiter gets whose message another one took; `None` where it waits on.
    fn substitute(exchange: &Exchange<Self>) -> Result<Option<Object>, Raised>;

    /// The application sends `message`.
    fn send(exchange: &Exchange<Self>, message: &Object) -> Result<Flow, Raised>;

    /// Nobody is there to send to.
    fn is_disconnected(&self) -> bool;

    /// An exception that ends the application and is nothing to report.
    fn expects(_: &Exchange<Self>, _: Raised) -> bool {
        false
    }

    /// The application has ended: with `value`, or with that exception.
    fn conclude(exchange: &Exchange<Self>, ended: Ended, value: &Object);
}

/// What others wait on: one as a rule, which takes no allocation.
type Futures = SmallVec<[Object; 1]>;

enum Coroutine {
    /// The application has not been called.
    Ready {
        scope: Object,
    },
    Running {
        iterator: Object,
    },
    Ended,
}

/// A call of the application in progress.
pub struct Exchange<K: Kind> {
    pub(super) kind: K,
    pub(super) application: Rc<Application>,
    pub(super) streams: Rc<dyn Streams>,
    stream: StreamId,
    /// The number under which the connections know this request once it has suspended.
    key: Cell<Option<usize>>,
    coroutine: RefCell<Coroutine>,
    receivers: RefCell<Futures>,
    senders: RefCell<Futures>,
    /// For the access log; released when the response starts.
    scope: RefCell<Option<Object>>,
    in_step: Cell<bool>,
    /// The stream is over for this request: its connection goes on without it.
    is_released: Cell<bool>,
    /// The message that tells of the end has been received.
    was_told_of_disconnect: Cell<bool>,
    /// Bytes sent or received since the coroutine last gave way.
    uninterrupted_bytes: Cell<usize>,
}

impl<K: Kind> Native for Exchange<K> {
    const NAME: &'static CStr = K::EXCHANGE_NAME;

    fn slot() -> &'static TypeSlot {
        K::exchange_type()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        self.kind.traverse(visitor);
        if let Ok(coroutine) = self.coroutine.try_borrow() {
            match &*coroutine {
                Coroutine::Ready { scope } => visitor.visit(scope),
                Coroutine::Running { iterator } => visitor.visit(iterator),
                Coroutine::Ended => {}
            }
        }
        if let Ok(scope) = self.scope.try_borrow() {
            scope.iter().for_each(|scope| visitor.visit(scope));
        }
        for futures in [&self.receivers, &self.senders] {
            if let Ok(futures) = futures.try_borrow() {
                futures.iter().for_each(|future| visitor.visit(future));
            }
        }
    }

    fn clear(&self) {
        self.kind.clear();
        drop(self.coroutine.replace(Coroutine::Ended));
        drop(self.scope.take());
        drop(self.receivers.take());
        drop(self.senders.take());
    }
}

/// What the stream that carries it does with it.
impl<K: Kind> Exchange<K> {
    /// `logged` is the scope if there will be something to log.
    pub fn new(
        kind: K,
        application: Rc<Application>,
        streams: Rc<dyn Streams>,
        stream: StreamId,
        scope: Object,
        logged: Option<Object>,
    ) -> Result<Ref<Self>, Raised> {
        Ref::new(Self {
            kind,
            application,
            streams,
            stream,
            key: Cell::new(None),
            coroutine: RefCell::new(Coroutine::Ready { scope }),
            receivers: RefCell::default(),
            senders: RefCell::default(),
            scope: RefCell::new(logged),
            in_step: Cell::new(false),
            is_released: Cell::new(false),
            was_told_of_disconnect: Cell::new(false),
            uninterrupted_bytes: Cell::new(0),
        })
    }

    pub fn set_key(&self, key: usize) {
        self.key.set(Some(key));
    }

    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Somebody waits for room to send.
    pub fn has_senders(&self) -> bool {
        !self.senders.borrow().is_empty()
    }

    /// The application has returned or raised.
    pub fn has_ended(&self) -> bool {
        matches!(*self.coroutine.borrow(), Coroutine::Ended)
    }

    /// The response is complete, and the connection goes on without this request.
    pub fn release(&self) {
        self.is_released.set(true);
        self.wake_senders();
    }

    pub fn abort_stream(&self) {
        if !self.is_released.get() {
            self.streams.abort(self.stream);
        }
    }

    pub fn wake_receivers(&self) {
        wake_all(self.receivers.take());
    }

    /// Has those who wait for a message go on right now, where that is possible.
    pub fn step_receivers(&self) {
        for future in self.receivers.take() {
            if let Err(raised) = self.application.tasks.step(&future) {
                raised.report(Some(&future));
            }
        }
    }

    /// Somebody waits for a message.
    pub fn has_receivers(&self) -> bool {
        !self.receivers.borrow().is_empty()
    }

    pub fn wake_senders(&self) {
        wake_all(self.senders.take());
    }

    /// The scope, for what is logged once.
    pub fn take_scope(&self) -> Option<Object> {
        self.scope.take()
    }

    /// Writes a line about how the application ended; one that ends within a sentence goes on with
    /// what it returned.
    pub fn log_ended(&self, line: Option<&str>, value: &Object) {
        match line {
            Some(line) if value.is_none() => self.application.log(Level::Error, line),
            Some(line) => {
                let value = text::of(value).unwrap_or_default();
                self.application.log(Level::Error, &format!("{line} '{value}'."));
            }
            None => {}
        }
    }
}

/// What the waiters ask.
impl<K: Kind> Exchange<K> {
    /// The message that tells of the end is about to be received.
    pub fn tell_of_disconnect(&self) {
        self.was_told_of_disconnect.set(true);
    }

    /// Counts a message that is sent or received towards the application's share.
    pub fn count(&self, bytes: usize) {
        let before = self.uninterrupted_bytes.get();
        self.uninterrupted_bytes.set(before + bytes + UNINTERRUPTED_MESSAGE_BYTES);
    }

    /// How the application may go on after it has sent so much.
    pub fn interrupted_at_times(&self, flow: Flow, bytes: usize) -> Flow {
        self.count(bytes);
        if flow == Flow::Free && self.is_due_to_give_way() { Flow::Yield } else { flow }
    }

    /// An application that has had its share gives way before it waits for the next message.
    pub fn is_due_to_give_way(&self) -> bool {
        let is_due = self.uninterrupted_bytes.get() > UNINTERRUPTED_BYTES_MAX;
        if is_due {
            self.uninterrupted_bytes.set(0);
        }
        is_due
    }

    /// An application that goes on asking would never let the others have a turn.
    pub fn was_told_of_disconnect(&self) -> bool {
        self.was_told_of_disconnect.get()
    }

    /// A future to wait on for the next message.
    pub fn new_receiver(&self) -> Result<Object, Raised> {
        let future = self.streams.new_future()?;
        self.receivers.borrow_mut().push(future.clone());
        if !self.in_step.get() {
            // No step of ours ends here: somebody must look at what the last read has left.
            self.streams.attend_soon(self.stream);
        }
        Ok(future)
    }

    /// A future to wait on for room.
    pub fn new_sender(&self) -> Result<Object, Raised> {
        let future = self.streams.new_future()?;
        self.senders.borrow_mut().push(future.clone());
        Ok(future)
    }

    pub fn must_wait_for_room(&self) -> bool {
        !self.is_released.get()
            && !self.kind.is_disconnected()
            && self.streams.is_congested(self.stream)
    }

    /// A waiter has given up.
    pub fn forget_waiter(&self, future: &Object) {
        for futures in [&self.receivers, &self.senders] {
            let position = futures.borrow().iter().position(|other| other.is(future));
            if let Some(position) = position {
                let removed = futures.borrow_mut().swap_remove(position);
                drop(removed);
            }
        }
    }
}

fn wake_all(futures: Futures) {
    for future in futures {
        if let Err(raised) = task::wake(&future) {
            raised.report(Some(&future));
        }
    }
}
