//! The `http` scope: a request and its response.
//!
//! Everything about the order of messages is decided by `pronghorn_proto::asgi::http`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use pronghorn_proto::asgi::Ended;
use pronghorn_proto::asgi::http::{self, Conclusion, Received, Sent};
use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::{Outbound, Payload};

use crate::access_log::{AccessLog, Entry};
use crate::asgi::application::Application;
use crate::asgi::exchange::{Exchange, Kind};
use crate::asgi::inbox::Inbox;
use crate::asgi::message::{Message, each_bytes, pairs};
use crate::ffi::error::Raised;
use crate::ffi::kept;
use crate::ffi::native::{Ref, TypeSlot, Visitor};
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::stream::{Flow, StreamId, Streams, answer};

/// What an exchange has for an `http` scope.
pub struct Http {
    state: Cell<http::Exchange>,
    inbox: RefCell<Inbox>,
    /// For the access log: when the request has come, and from the start of the response to its end
    /// what its line will tell.
    since: Option<Instant>,
    logged: RefCell<Option<Entry>>,
}

static EXCHANGE_TYPE: TypeSlot = TypeSlot::new();
static WAITER_TYPE: TypeSlot = TypeSlot::new();

impl Kind for Http {
    const EXCHANGE_NAME: &'static std::ffi::CStr = c"pronghorn._engine.Exchange";
    const WAITER_NAME: &'static std::ffi::CStr = c"pronghorn._engine.Waiter";

    fn exchange_type() -> &'static TypeSlot {
        &EXCHANGE_TYPE
    }

    fn waiter_type() -> &'static TypeSlot {
        &WAITER_TYPE
    }

    fn traverse(&self, visitor: &mut Visitor) {
        if let Ok(logged) = self.logged.try_borrow() {
            logged.iter().for_each(|entry| entry.traverse(visitor));
        }
    }

    fn clear(&self) {
        drop(self.logged.take());
    }

    fn take_message(exchange: &Exchange<Self>) -> Result<Option<Object>, Raised> {
        let messages = &exchange.application.messages;
        let mut asked = false;
        loop {
            let has_body = !exchange.kind.inbox.borrow().is_empty();
            match exchange.kind.change(|state| state.receive(has_body)) {
                Received::Disconnect => {
                    exchange.tell_of_disconnect();
                    return messages.disconnect().map(Some);
                }
                Received::Request { more_body } => {
                    let body = exchange.take_body(more_body)?;
                    return messages.request(body.as_ref(), more_body).map(Some);
                }
                Received::Wait if asked => return Ok(None),
                Received::Wait => {
                    asked = true;
                    exchange.streams.want_body(exchange.stream());
                }
            }
        }
    }

    fn substitute(exchange: &Exchange<Self>) -> Result<Option<Object>, Raised> {
        let more_body = exchange.kind.state.get().more_body();
        exchange.application.messages.request(None, more_body).map(Some)
    }

    fn send(exchange: &Exchange<Self>, message: &Object) -> Result<Flow, Raised> {
        let message = Message::read(message)?;
        let accepted = exchange.accept(&message);
        let flow = accepted.map_err(|failure| failure.raise(message.kind()))?;
        Ok(flow.unwrap_or(Flow::Yield))
    }

    fn is_disconnected(&self) -> bool {
        self.state.get().is_disconnected()
    }

    fn conclude(exchange: &Exchange<Self>, ended: Ended, value: &Object) {
        match exchange.kind.state.get().conclude(ended) {
            Conclusion::Nothing => {}
            Conclusion::Log { log } => exchange.log_ended(log, value),
            Conclusion::Answer500 { log } => {
                exchange.log_ended(log, value);
                exchange.answer_500();
            }
            Conclusion::Abort { log } => {
                exchange.log_ended(log, value);
                exchange.disconnect();
                exchange.abort_stream();
            }
        }
    }
}

impl Http {
    fn change<R>(&self, transition: impl FnOnce(&mut http::Exchange) -> R) -> R {
        let mut state = self.state.get();
        let result = transition(&mut state);
        self.state.set(state);
        result
    }
}

/// What the stream does with it.
impl Exchange<Http> {
    pub fn for_request(
        application: Rc<Application>,
        streams: Rc<dyn Streams>,
        stream: StreamId,
        scope: Object,
    ) -> Result<Ref<Self>, Raised> {
        let log = application.access_log.as_ref();
        let logged = log.is_some().then(|| scope.clone());
        let kind = Http {
            state: Cell::new(http::Exchange::new()),
            inbox: RefCell::default(),
            since: log.and_then(AccessLog::request_begun),
            logged: RefCell::new(None),
        };
        Self::new(kind, application, streams, stream, scope, logged)
    }

    /// Body bytes have come. Runs no Python code.
    pub fn push_body(&self, data: &[u8]) -> Result<(), Raised> {
        if self.kind.state.get().is_complete() {
            return Ok(());
        }
        self.kind.inbox.borrow_mut().push(data)
    }

    pub fn inbox_bytes(&self) -> usize {
        self.kind.inbox.borrow().len()
    }

    /// The request is whole.
    pub fn end_body(&self) {
        self.kind.change(http::Exchange::end_body);
    }

    /// The client has ended its side; what is sent may still reach it.
    pub fn leave(&self) {
        self.kind.change(http::Exchange::leave);
        self.wake_receivers();
    }

    pub fn has_left(&self) -> bool {
        self.kind.state.get().has_left()
    }

    /// The client is gone.
    pub fn disconnect(&self) {
        self.kind.change(http::Exchange::disconnect);
        self.log_end();
        self.wake_receivers();
        self.wake_senders();
    }
}

/// Why a message is not passed on.
enum Failure {
    Application(ApplicationError),
    Raised(Raised),
}

impl Failure {
    /// What `send` raises for a message of this kind.
    fn raise(self, kind: &str) -> Raised {
        match self {
            Self::Raised(raised) => raised,
            Self::Application(error) => Raised::runtime_error(&error.text(kind)),
        }
    }
}

impl From<ApplicationError> for Failure {
    fn from(error: ApplicationError) -> Self {
        Self::Application(error)
    }
}

impl From<Raised> for Failure {
    fn from(raised: Raised) -> Self {
        Self::Raised(raised)
    }
}

/// What the accelerator asks for without messages; see `shortcut`.
impl Exchange<Http> {
    /// The body, if all of it has come and the next message would have the rest of it.
    pub fn whole_body(&self) -> Result<Option<Object>, Raised> {
        // Asked of a copy of the state, which is left as it is.
        let next = self.kind.state.get().receive(false);
        if next != (Received::Request { more_body: false }) || !self.is_on_its_thread() {
            return Ok(None);
        }
        self.kind.change(|state| state.receive(false));
        let body = self.take_body(false)?;
        body.map_or_else(|| text::bytes(b""), Ok).map(Some)
    }

    /// Sends a whole response, JSON, as two messages would.
    pub fn respond(this: &Ref<Self>, status: u16, body: &Object) -> Result<Option<Object>, Raised> {
        let log = this.application.access_log.as_ref();
        if text::as_bytes(body).is_none() || !this.is_on_its_thread() {
            return Ok(None);
        }
        // A log that shows header fields is given those of a message.
        if log.is_some_and(AccessLog::shows_response_headers) {
            return Ok(None);
        }
        let accepted = this.accept_json(status, kept::payload(body));
        let flow = accepted.map_err(|failure| failure.raise("http.response.start"))?;
        Self::go_on(this, flow.unwrap_or(Flow::Yield)).map(Some)
    }

    fn accept_json(&self, status: u16, body: Payload<'_>) -> Result<Option<Flow>, Failure> {
        let sent = self.kind.change(|state| state.start(false))?;
        let Sent::Submit { .. } = sent else { return Ok(None) };
        self.log_start(status, None);
        let mut length = itoa::Buffer::new();
        let headers: [(&[u8], &[u8]); 2] = [
            (b"content-length", length.format(body.bytes.len()).as_bytes()),
            (b"content-type", b"application/json"),
        ];
        self.submit(&Outbound::Start { status, headers: &headers })?;
        self.accept_body(body, false)
    }

    fn take_body(&self, more_body: bool) -> Result<Option<Object>, Raised> {
        let bytes = self.inbox_bytes();
        if more_body || bytes > 0 {
            self.streams.body_taken(self.stream(), bytes);
        }
        self.count(bytes);
        self.kind.inbox.borrow_mut().take()
    }
}

/// What the application's messages lead to.
impl Exchange<Http> {
    /// Passes a message on, `None` when nobody is there to read it.
    fn accept(&self, message: &Message) -> Result<Option<Flow>, Failure> {
        let http = &self.kind;
        let flow = match message {
            Message::Start { status, headers, announces_trailers } => {
                let sent = http.change(|state| state.start(*announces_trailers))?;
                let Sent::Submit { .. } = sent else { return Ok(None) };
                self.log_start(*status, Some(headers));
                self.submit(&Outbound::Start { status: *status, headers: &pairs(headers) })?
            }
            Message::Body { data, more } => {
                let data = data.as_ref().map_or_else(|| (&[]).into(), kept::payload);
                return self.accept_body(data, *more);
            }
            Message::File { source, more } => {
                // Nothing is opened for a message that is not for now.
                if http.state.get().body(*more)? == Sent::Ignored {
                    return Ok(None);
                }
                let part = source.open()?;
                let sent = http.change(|state| state.body(*more))?;
                let Sent::Submit { more } = sent else { return Ok(None) };
                let length = usize::try_from(part.remaining()).unwrap_or(usize::MAX);
                let flow = self.or_abort(self.streams.submit_file(self.stream(), part, more))?;
                self.log_body(length);
                self.went_on(more);
                flow
            }
            Message::Trailers { headers, more } => {
                let sent = http.change(|state| state.trailers(*more))?;
                let Sent::Submit { more } = sent else { return Ok(None) };
                let flow = self.submit(&Outbound::Trailers { headers: &pairs(headers), more })?;
                self.went_on(more);
                flow
            }
            Message::EarlyHint { links } => match http.state.get().early_hint()? {
                Sent::Ignored => return Ok(None),
                Sent::Submit { .. } => {
                    self.submit(&Outbound::EarlyHint { links: &each_bytes(links) })?
                }
            },
            Message::Other { .. } => return Err(http.state.get().unexpected().into()),
        };
        Ok(Some(flow))
    }

    fn accept_body(&self, data: Payload<'_>, more: bool) -> Result<Option<Flow>, Failure> {
        let sent = self.kind.change(|state| state.body(more))?;
        let Sent::Submit { more } = sent else { return Ok(None) };
        let flow = self.submit(&Outbound::Body { data, more })?;
        self.log_body(data.bytes.len());
        self.went_on(more);
        Ok(Some(self.interrupted_at_times(flow, data.bytes.len())))
    }

    /// What the application has not taken of the request is of no use to it after its last message.
    fn went_on(&self, more: bool) {
        if !more {
            self.log_end();
            drop(self.kind.inbox.take());
            self.wake_receivers();
        }
    }

    fn submit(&self, outbound: &Outbound<'_>) -> Result<Flow, ApplicationError> {
        self.or_abort(self.streams.submit(self.stream(), outbound))
    }

    /// A message that breaks its own declaration ends the stream where it is.
    fn or_abort(&self, result: Result<Flow, ApplicationError>) -> Result<Flow, ApplicationError> {
        if result.is_err() {
            self.disconnect();
            self.abort_stream();
        }
        result
    }

    fn answer_500(&self) {
        let body = b"Internal Server Error";
        self.log_start(500, None);
        self.log_body(body.len());
        self.kind.change(|state| {
            let _ = state.start(false);
            let _ = state.body(false);
        });
        // It cannot fail: nothing of a response has been sent.
        let _ = answer(&*self.streams, self.stream(), 500, body, None);
        self.log_end();
        self.wake_receivers();
    }

    fn log_start(&self, status: u16, headers: Option<&Object>) {
        let scope = self.take_scope();
        if let (Some(scope), Some(log)) = (scope, &self.application.access_log) {
            let entry = log.response_started(scope, self.kind.since, status, headers);
            drop(self.kind.logged.replace(entry));
        }
    }

    fn log_body(&self, bytes: usize) {
        if let Some(entry) = &mut *self.kind.logged.borrow_mut() {
            entry.add_bytes(bytes as u64);
        }
    }

    /// Nothing follows: the response is complete, or nobody is there to read the rest.
    fn log_end(&self) {
        let entry = self.kind.logged.take();
        if let (Some(entry), Some(log)) = (entry, &self.application.access_log) {
            log.response_ended(entry);
        }
    }
}
