//! One request: the coroutine that its task runs, and its `receive` and `send`.
//!
//! The coroutine wraps the application's own, so that the end of a step (what was sent goes out)
//! and the end of the application (500, or an aborted response) are seen without callbacks.
//! Everything about the order of messages is decided by `pronghorn_proto::asgi::http`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pronghorn_proto::asgi::http::{self, Conclusion, Ended, Received, Sent};
use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;

use crate::access_log::AccessLog;
use crate::asgi::awaitable::Waiter;
use crate::asgi::inbox::Inbox;
use crate::asgi::message::{Message, MessageMaker, with_start};
use crate::asgi::scope::ScopeMaker;
use crate::asgi::task::TaskMaker;
use crate::ffi::call::{self, Step, call, call_method, end_of_iteration};
use crate::ffi::containers::{integer, is_true};
use crate::ffi::error::Raised;
use crate::ffi::function::{Channel, receive_of, send_of};
use crate::ffi::names::names;
use crate::ffi::native::{Native, Ref, Resumable, TypeSlot, Value, Visitor, attached};
use crate::ffi::object::Object;
use crate::ffi::owner::Owner;
use crate::ffi::text;
use crate::settings::UNINTERRUPTED_BYTES_MAX;
use crate::stream::{ConnectionId, Flow, Streams};

/// What all requests of one server share.
pub struct Application {
    pub callable: Object,
    pub scopes: ScopeMaker,
    pub messages: MessageMaker,
    pub tasks: TaskMaker,
    pub ready: Object,
    pub log: Object,
    pub log_exception: Object,
    pub access_log: Option<AccessLog>,
    pub owner: Owner,
}

/// Levels of Python's `logging`.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    Debug = 10,
    Warning = 30,
    Error = 40,
}

impl Application {
    /// Writes a line to the error log.
    pub fn log(&self, level: Level, message: &str) {
        self.flush_access_log();
        let result = integer(level as u64)
            .and_then(|level| call(&self.log, &[&level, &text::utf8_lossy(message.as_bytes())?]));
        if let Err(raised) = result {
            raised.report(Some(&self.log));
        }
    }

    /// What happened before an error stands before it.
    pub fn flush_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.flush();
        }
    }

    /// Writes a line with the exception's traceback to the error log.
    fn report(&self, message: &str, exception: &Object) {
        self.flush_access_log();
        let result = text::utf8_lossy(message.as_bytes())
            .and_then(|message| call(&self.log_exception, &[&message, exception]));
        if let Err(raised) = result {
            raised.report(Some(&self.log_exception));
        }
    }
}

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
    connection: ConnectionId,
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

/// What the connection does with a request.
impl Exchange {
    pub fn new(
        application: Rc<Application>,
        streams: Rc<dyn Streams>,
        connection: ConnectionId,
        scope: Object,
    ) -> Result<Ref<Self>, Raised> {
        let logged = application.access_log.is_some().then(|| scope.clone());
        Ref::new(Self {
            application,
            streams,
            connection,
            key: Cell::new(None),
            state: Cell::new(http::Exchange::new()),
            coroutine: RefCell::new(Coroutine::Ready { scope }),
            inbox: RefCell::new(Inbox::Empty),
            receivers: RefCell::new(Vec::new()),
            senders: RefCell::new(Vec::new()),
            scope: RefCell::new(logged),
            in_step: Cell::new(false),
            was_told_of_disconnect: Cell::new(false),
            uninterrupted_bytes: Cell::new(0),
        })
    }

    pub fn set_key(&self, key: usize) {
        self.key.set(Some(key));
    }

    pub fn connection(&self) -> ConnectionId {
        self.connection
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
                    if more_body {
                        self.streams.body_taken(self.connection);
                    }
                    let body = self.inbox.borrow_mut().take()?;
                    let message = self.application.messages.request(body.as_ref(), more_body)?;
                    return Ok(Some(message));
                }
                Received::Wait if asked => return Ok(None),
                Received::Wait => {
                    asked = true;
                    self.streams.want_body(self.connection);
                }
            }
        }
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
        Ok(future)
    }

    /// A future to wait on for room.
    pub fn new_sender(&self) -> Result<Object, Raised> {
        let future = self.streams.new_future()?;
        self.senders.borrow_mut().push(future.clone());
        Ok(future)
    }

    pub fn must_wait_for_room(&self) -> bool {
        !self.state.get().is_disconnected() && self.streams.is_congested(self.connection)
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

impl Channel for Exchange {
    fn receive(this: &Ref<Self>) -> Result<Object, Raised> {
        this.check_thread()?;
        Waiter::for_message(this)
    }

    fn send(this: &Ref<Self>, message: &Object) -> Result<Object, Raised> {
        this.check_thread()?;
        let message = Message::read(message)?;
        let flow = match this.accept(&message) {
            Ok(Some(flow)) => flow,
            Ok(None) => Flow::Yield,
            Err(error) => return Err(Raised::runtime_error(&error.text(message.kind()))),
        };
        if !this.in_step.get() {
            this.streams.attend_soon(this.connection);
        }
        match flow {
            Flow::Free => Ok(this.application.ready.clone()),
            Flow::Yield => Waiter::for_turn(this),
            Flow::Congested => Waiter::for_room(this),
        }
    }
}

/// Sending.
impl Exchange {
    fn check_thread(&self) -> Result<(), Raised> {
        if self.application.owner.is_current() {
            return Ok(());
        }
        Err(Raised::runtime_error(
            "ASGI receive and send must be called on the thread of their event loop",
        ))
    }

    /// Passes a message on, `None` when nobody is there to read it.
    fn accept(&self, message: &Message) -> Result<Option<Flow>, ApplicationError> {
        let flow = match message {
            Message::Start { status, headers } => match self.change(http::Exchange::start)? {
                Sent::Ignored => return Ok(None),
                Sent::Submit => {
                    self.log_access(*status);
                    with_start(*status, headers, |start| self.submit(start))?
                }
            },
            Message::Body { data, more } => match self.change(|state| state.body(*more))? {
                Sent::Ignored => return Ok(None),
                Sent::Submit => {
                    let data = data.as_ref().and_then(text::as_bytes).unwrap_or_default();
                    let flow = self.submit(&Outbound::Body { data, more: *more })?;
                    if !more {
                        // What it has not taken is of no use to it any more.
                        drop(self.inbox.take());
                        self.wake_receivers();
                    }
                    self.interrupted_at_times(flow, data.len())
                }
            },
            Message::Other { .. } => return Err(self.state.get().unexpected()),
        };
        Ok(Some(flow))
    }

    /// A message that breaks its own declaration ends the connection where it is.
    fn submit(&self, outbound: &Outbound<'_>) -> Result<Flow, ApplicationError> {
        let result = self.streams.submit(self.connection, outbound);
        if result.is_err() {
            self.disconnect();
            self.streams.abort(self.connection);
        }
        result
    }

    fn interrupted_at_times(&self, flow: Flow, bytes: usize) -> Flow {
        let total = self.uninterrupted_bytes.get() + bytes;
        let is_due = flow == Flow::Free && total > UNINTERRUPTED_BYTES_MAX;
        self.uninterrupted_bytes.set(if is_due { 0 } else { total });
        if is_due { Flow::Yield } else { flow }
    }

    fn log_access(&self, status: u16) {
        let scope = self.scope.take();
        if let (Some(scope), Some(log)) = (scope, &self.application.access_log) {
            log.response_started(&scope, status);
        }
    }
}

impl Resumable for Exchange {
    fn resume(this: &Ref<Self>, value: &Value) -> Result<Step, Raised> {
        this.in_step.set(true);
        this.uninterrupted_bytes.set(0);
        let outcome =
            Self::iterator(this).and_then(|iterator| call::send(&iterator, value.as_ptr()));
        Ok(this.step_ended(outcome))
    }

    fn throw(this: &Ref<Self>, exception: Object) -> Result<Step, Raised> {
        this.in_step.set(true);
        let running = match &*this.coroutine.borrow() {
            Coroutine::Running { iterator } => Some(iterator.clone()),
            _ => None,
        };
        let outcome = match running {
            Some(iterator) => match call_method(&iterator, &names().throw, &[&exception]) {
                Ok(yielded) => Ok(Step::Yielded(yielded)),
                Err(Raised) => end_of_iteration(attached()),
            },
            // Cancelled before the first step: the application is never called.
            None => Err(Raised::restore(attached(), exception)),
        };
        Ok(this.step_ended(outcome))
    }

    fn close(this: &Ref<Self>) -> Result<(), Raised> {
        let coroutine = this.coroutine.replace(Coroutine::Ended);
        if let Coroutine::Running { iterator } = coroutine {
            call_method(&iterator, &names().close, &[])?;
        }
        Ok(())
    }

    fn delegate(&self) -> Option<Object> {
        match &*self.coroutine.try_borrow().ok()? {
            Coroutine::Running { iterator } => Some(iterator.clone()),
            _ => None,
        }
    }
}

/// Running.
impl Exchange {
    /// The application's coroutine; the first time, the application is called for it.
    fn iterator(this: &Ref<Self>) -> Result<Object, Raised> {
        let scope = match &*this.coroutine.borrow() {
            Coroutine::Running { iterator } => return Ok(iterator.clone()),
            Coroutine::Ready { scope } => scope.clone(),
            Coroutine::Ended => {
                return Err(Raised::runtime_error("cannot reuse already awaited coroutine"));
            }
        };
        let awaitable =
            call(&this.application.callable, &[&scope, &receive_of(this)?, &send_of(this)?])?;
        let iterator = call::awaitable_iterator(awaitable)?;
        let running = Coroutine::Running { iterator: iterator.clone() };
        drop(this.coroutine.replace(running));
        Ok(iterator)
    }

    fn step_ended(&self, outcome: Result<Step, Raised>) -> Step {
        let step = match outcome {
            Ok(Step::Yielded(yielded)) => Step::Yielded(yielded),
            Ok(Step::Returned(value)) => {
                let ended = if value.is_none() { Ended::Returned } else { Ended::ReturnedValue };
                self.conclude(ended, &value);
                Step::Returned(Object::none())
            }
            Err(raised) => {
                let exception = raised.take(attached());
                self.application.report("Exception in ASGI application\n", &exception);
                self.conclude(Ended::Raised, &exception);
                Step::Returned(Object::none())
            }
        };
        self.in_step.set(false);
        self.streams.step_ended(self.connection);
        step
    }

    fn conclude(&self, ended: Ended, value: &Object) {
        drop(self.coroutine.replace(Coroutine::Ended));
        match self.state.get().conclude(ended) {
            Conclusion::Nothing => {}
            Conclusion::Answer500 { log } => {
                self.log_line(log, value);
                self.answer_500();
            }
            Conclusion::Abort { log } => {
                self.log_line(log, value);
                self.disconnect();
                self.streams.abort(self.connection);
            }
        }
        if let Some(key) = self.key.take() {
            self.streams.ended(key);
        }
    }

    fn log_line(&self, line: Option<&str>, value: &Object) {
        match line {
            Some(line) if value.is_none() => self.application.log(Level::Error, line),
            Some(line) => {
                let value = text::of(value).unwrap_or_default();
                self.application.log(Level::Error, &format!("{line} '{value}'."));
            }
            None => {}
        }
    }

    fn answer_500(&self) {
        let body = b"Internal Server Error";
        self.log_access(500);
        let start = Outbound::Start {
            status: 500,
            headers: &[
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"21"),
                (b"connection", b"close"),
            ],
        };
        let messages = [start, Outbound::Body { data: body, more: false }];
        self.change(|state| {
            let _ = state.start();
            let _ = state.body(false);
        });
        // Neither can fail: both messages are well-formed and the first of their response.
        let _ = messages.iter().try_for_each(|message| self.submit(message).map(drop));
        self.wake_receivers();
    }
}
