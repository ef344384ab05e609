//! One request: the coroutine that its task runs, and its `receive` and `send`.
//!
//! Here is what it holds, and what the connection and the waiters do with it; the application's side
//! is in `running` and `sending`. Everything about the order of messages is decided by
//! `pronghorn_proto::asgi::http`.

/// The coroutine that wraps the application's own.
mod running;
/// `receive` and `send`.
mod sending;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pronghorn_proto::asgi::http::{self, Received};

use crate::asgi::application::Application;
use crate::asgi::inbox::Inbox;
use crate::ffi::call::call_method;
use crate::ffi::containers::is_true;
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::native::{Native, Ref, TypeSlot, Visitor};
use crate::ffi::object::Object;
use crate::settings::UNINTERRUPTED_BYTES_MAX;
use crate::stream::{StreamId, Streams};

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

/// A request in progress.
pub struct Exchange {
    application: Rc<Application>,
    streams: Rc<dyn Streams>,
    stream: StreamId,
    /// The number under which the connections know this request once it has suspended.
    key: Cell<Option<usize>>,
    state: Cell<http::Exchange>,
    coroutine: RefCell<Coroutine>,
    inbox: RefCell<Inbox>,
    receivers: RefCell<Vec<Object>>,
    senders: RefCell<Vec<Object>>,
    /// For the access log; released when the response starts.
    scope: RefCell<Option<Object>>,
    in_step: Cell<bool>,
    /// The stream is over for this request: its connection goes on without it.
    is_released: Cell<bool>,
    /// `http.disconnect` has been received.
    was_told_of_disconnect: Cell<bool>,
    /// Bytes sent or received since the coroutine last gave way.
    uninterrupted_bytes: Cell<usize>,
}

static TYPE: TypeSlot = TypeSlot::new();

impl Native for Exchange {
    const NAME: &'static std::ffi::CStr = c"pronghorn._engine.Exchange";

    fn slot() -> &'static TypeSlot {
        &TYPE
    }

    fn traverse(&self, visitor: &mut Visitor) {
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
        drop(self.coroutine.replace(Coroutine::Ended));
        drop(self.scope.take());
        drop(self.receivers.take());
        drop(self.senders.take());
    }
}

/// What the stream that carries it does with a request.
impl Exchange {
    pub fn new(
        application: Rc<Application>,
        streams: Rc<dyn Streams>,
        stream: StreamId,
        scope: Object,
    ) -> Result<Ref<Self>, Raised> {
        let logged = application.access_log.is_some().then(|| scope.clone());
        Ref::new(Self {
            application,
            streams,
            stream,
            key: Cell::new(None),
            state: Cell::new(http::Exchange::new()),
            coroutine: RefCell::new(Coroutine::Ready { scope }),
            inbox: RefCell::new(Inbox::Empty),
            receivers: RefCell::new(Vec::new()),
            senders: RefCell::new(Vec::new()),
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

    /// Body bytes have come. Runs no Python code.
    pub fn push_body(&self, data: &[u8]) -> Result<(), Raised> {
        if self.state.get().is_complete() {
            return Ok(());
        }
        self.inbox.borrow_mut().push(data)
    }

    pub fn inbox_bytes(&self) -> usize {
        self.inbox.borrow().len()
    }

    /// The request is whole.
    pub fn end_body(&self) {
        self.change(http::Exchange::end_body);
    }

    /// The client has ended its side; what is sent may still reach it.
    pub fn leave(&self) {
        self.change(http::Exchange::leave);
        self.wake_receivers();
    }

    /// The client is gone.
    pub fn disconnect(&self) {
        self.change(http::Exchange::disconnect);
        self.wake_receivers();
        self.wake_senders();
    }

    /// The response is complete, and the connection goes on without this request.
    pub fn release(&self) {
        self.is_released.set(true);
        self.wake_senders();
    }

    fn abort_stream(&self) {
        if !self.is_released.get() {
            self.streams.abort(self.stream);
        }
    }

    pub fn wake_receivers(&self) {
        wake(self.receivers.take());
    }

    pub fn wake_senders(&self) {
        wake(self.senders.take());
    }

    fn change<R>(&self, transition: impl FnOnce(&mut http::Exchange) -> R) -> R {
        let mut state = self.state.get();
        let result = transition(&mut state);
        self.state.set(state);
        result
    }
}

/// What the waiters ask.
impl Exchange {
    /// The next message, `None` when there is none yet.
    pub fn take_message(&self) -> Result<Option<Object>, Raised> {
        let mut asked = false;
        loop {
            let has_body = !self.inbox.borrow().is_empty();
            match self.change(|state| state.receive(has_body)) {
                Received::Disconnect => {
                    self.was_told_of_disconnect.set(true);
                    return self.application.messages.disconnect().map(Some);
                }
                Received::Request { more_body } => {
                    let bytes = self.inbox_bytes();
                    if more_body {
                        self.streams.body_taken(self.stream, bytes);
                    }
                    self.uninterrupted_bytes.set(self.uninterrupted_bytes.get() + bytes);
                    let body = self.inbox.borrow_mut().take()?;
                    let message = self.application.messages.request(body.as_ref(), more_body)?;
                    return Ok(Some(message));
                }
                Received::Wait if asked => return Ok(None),
                Received::Wait => {
                    asked = true;
                    self.streams.want_body(self.stream);
                }
            }
        }
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

    /// The message for a waiter whose message another one took.
    pub fn empty_message(&self) -> Result<Object, Raised> {
        self.application.messages.request(None, self.state.get().more_body())
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
            && !self.state.get().is_disconnected()
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

fn wake(futures: Vec<Object>) {
    for future in futures {
        let names = names();
        let result = call_method(&future, &names.done, &[]).and_then(|done| {
            if is_true(&done)? {
                return Ok(());
            }
            call_method(&future, &names.set_result, &[&Object::none()]).map(drop)
        });
        if let Err(raised) = result {
            raised.report(Some(&future));
        }
    }
}
