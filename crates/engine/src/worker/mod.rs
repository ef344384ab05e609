//! All connections of one server, and the only place that knows both sides: sockets and protocol
//! state here, requests and the application there.
//!
//! No Python code may run while the tables are borrowed, since it can come back in (`send()` from
//! inside `on_ready`, a finaliser anywhere an object is made). So each step takes what it needs out
//! of the tables, lets go, and only then calls or drops Python objects.

/// Everything the worker holds.
mod tables;
/// New connections.
mod accept;
/// What a proxy tells of a connection.
mod proxied;
/// From bytes received to a running application.
mod request;
/// From a head that asks for a WebSocket to its exchange.
mod websocket;
/// The same for the many streams of an HTTP/2 connection.
mod multiplex;
/// From messages sent to bytes on their way, and to the end of a connection.
mod response;
/// Answers of one turn, written together.
mod gathering;
/// Between the bytes of the socket and those of the protocol, where TLS is spoken.
mod secured;
/// Answers without the application.
mod static_files;
/// What happens when nothing does.
mod timeout;

use std::cell::RefCell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::{Instant, SystemTime};

use pronghorn_proto::http1::DefaultHeaders;

use crate::access_log::AccessLog;
use crate::asgi::application::Application;
use crate::ffi::call::{call, call_keywords, call_method, call_prepared};
use crate::ffi::containers::float;
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::listener::Listener;
use crate::load::SharedLoad;
use crate::settings::Settings;
use crate::static_files::StaticFiles;
use crate::stream::ConnectionId;
use crate::tls::Tls;
use crate::worker::tables::{LISTENER_KEY, Tables};

/// The running loop's functions that the worker needs.
pub struct EventLoop {
    /// The context in which everything is scheduled, so that no request inherits the variables of
    /// the one during which the loop was told.
    pub context: Object,
    pub context_keyword: Object,
    pub call_soon: Object,
    pub call_later: Object,
    pub futures: FutureMaker,
}

/// How a future of the loop is made.
pub enum FutureMaker {
    /// The loop's `create_future`.
    Method(Object),
    /// What that of asyncio and uvloop comes to: a class, its arguments, its keywords. Without a
    /// method in between, and with nothing to be put together, it takes less than two thirds.
    Class(Object, Object, Object),
}

impl FutureMaker {
    fn make(&self) -> Result<Object, Raised> {
        match self {
            Self::Method(method) => call(method, &[]),
            Self::Class(class, arguments, keywords) => call_prepared(class, arguments, keywords),
        }
    }
}

impl EventLoop {
    /// `function(*arguments, context=context)`.
    fn schedule(&self, function: &Object, arguments: &[&Object]) -> Result<Object, Raised> {
        call_keywords(function, arguments, &self.context_keyword, &[&self.context])
    }
}

/// The worker of one server. It lives on the loop's thread.
pub struct Worker {
    tables: RefCell<Tables>,
    settings: Settings,
    application: Rc<Application>,
    trust_proxy: Option<Object>,
    static_files: Option<StaticFiles>,
    /// Tells whether a peer is a proxy whose word counts, where connections may have one.
    is_proxy: Option<Object>,
    event_loop: EventLoop,
    /// `attend` and `on_timer` as Python callables; `None` once closed.
    callbacks: RefCell<Option<Callbacks>>,
    this: Weak<Worker>,
}

/// What the loop calls.
pub struct Callbacks {
    pub attend: Object,
    pub on_timer: Object,
}

impl Worker {
    pub fn new(
        settings: Settings,
        application: Rc<Application>,
        trust_proxy: Option<Object>,
        static_files: Option<StaticFiles>,
        is_proxy: Option<Object>,
        event_loop: EventLoop,
        defaults: DefaultHeaders,
    ) -> io::Result<Rc<Self>> {
        let tables = RefCell::new(Tables::new(defaults, settings.io_uring)?);
        Ok(Rc::new_cyclic(|this| Self {
            tables,
            settings,
            application,
            trust_proxy,
            static_files,
            is_proxy,
            event_loop,
            callbacks: RefCell::new(None),
            this: this.clone(),
        }))
    }

    pub fn set_callbacks(&self, callbacks: Callbacks) {
        *self.callbacks.borrow_mut() = Some(callbacks);
    }

    pub fn descriptor(&self) -> io::Result<RawFd> {
        self.tables.borrow().poller.descriptor()
    }

    /// Accepts from a listening socket; with `tls`, from clients that speak TLS.
    pub fn listen(&self, socket: OwnedFd, tls: Option<Rc<Tls>>) -> io::Result<()> {
        let mut tables = self.tables.borrow_mut();
        let listener = Listener::new(socket, tls)?;
        let index = tables.listeners.len();
        tables.poller.add(&listener, LISTENER_KEY + index, false)?;
        tables.listeners.push(listener);
        Ok(())
    }

    /// From now on, connections are shared with other processes by how many each has.
    pub fn share_load(&self, load: SharedLoad) {
        let mut tables = self.tables.borrow_mut();
        load.publish(tables.connections.len());
        tables.load = Some(load);
    }

    /// Handles what is ready, within the budgets.
    pub fn on_ready(&self) -> Result<(), Raised> {
        let now = self.begin_turn();
        self.application.tasks.begin_turn();
        let mut ready = std::mem::take(&mut self.tables.borrow_mut().ready);
        let collected = self.tables.borrow_mut().poller.collect(&mut ready);
        self.gathering(&ready, now, |event| match event.key.checked_sub(LISTENER_KEY) {
            Some(index) => self.listener_ready(index, now),
            None => self.connection_ready(*event, now),
        });
        self.application.tasks.end_turn();
        ready.clear();
        self.tables.borrow_mut().ready = ready;
        self.end_turn();
        collected.map_err(|error| Raised::runtime_error(&error.to_string()))
    }

    /// Goes on with connections that something happened to outside of `on_ready`.
    pub fn attend(&self) {
        let now = self.begin_turn();
        self.application.tasks.begin_turn();
        let listed = self.tables.borrow_mut().take_listed();
        self.gathering(listed, now, |id| self.attend_to(id, now));
        self.accept_rest(now);
        self.application.tasks.end_turn();
        self.end_turn();
    }

    fn begin_turn(&self) -> Instant {
        self.tables.borrow_mut().defaults.refresh(SystemTime::now());
        let log = self.application.access_log.as_ref();
        let refreshed =
            self.application.tasks.refresh().and_then(|()| log.map_or(Ok(()), AccessLog::refresh));
        if let Err(raised) = refreshed {
            raised.report(None);
        }
        Instant::now()
    }

    /// Puts a connection on the list and makes the loop come back to it.
    fn list(&self, id: ConnectionId) {
        let must_schedule = self.tables.borrow_mut().list(id);
        if must_schedule {
            self.schedule_attend();
        }
    }

    fn schedule_attend(&self) {
        let attend = self.callbacks.borrow().as_ref().map(|callbacks| callbacks.attend.clone());
        if let Some(attend) = attend
            && let Err(raised) = self.event_loop.schedule(&self.event_loop.call_soon, &[&attend])
        {
            raised.report(Some(&attend));
        }
    }

    /// Has the loop call back when the next deadline comes.
    fn end_turn(&self) {
        if self.application.access_log.as_ref().is_some_and(AccessLog::has_lines) {
            self.tables.borrow_mut().arm_access_log();
        }
        let Some(at) = self.tables.borrow_mut().timer_to_set() else { return };
        let on_timer = self.callbacks.borrow().as_ref().map(|callbacks| callbacks.on_timer.clone());
        let Some(on_timer) = on_timer else { return };
        let delay = at.saturating_duration_since(Instant::now());
        // uvloop counts whole milliseconds, and rounded down it would come too early.
        let delay = (delay.as_secs_f64() * 1000.0).ceil() / 1000.0;
        let handle = float(delay).and_then(|delay| {
            self.event_loop.schedule(&self.event_loop.call_later, &[&delay, &on_timer])
        });
        match handle {
            Ok(handle) => {
                let earlier = self.tables.borrow_mut().set_timer(at, handle);
                Self::cancel(earlier);
            }
            Err(raised) => raised.report(Some(&on_timer)),
        }
    }

    fn cancel(timer: Option<Object>) {
        if let Some(timer) = timer
            && let Err(raised) = call_method(&timer, &names().cancel, &[])
        {
            raised.report(Some(&timer));
        }
    }

    pub fn connection_count(&self) -> usize {
        self.tables.borrow().active_connections()
    }

    pub fn lingering_count(&self) -> usize {
        self.tables.borrow().lingering_connections()
    }

    pub fn task_count(&self) -> usize {
        self.tables.borrow().requests.len()
    }

    pub fn tasks(&self) -> Vec<Object> {
        self.tables.borrow().requests.iter().map(|(_, request)| request.task.clone()).collect()
    }

    pub fn accepted_count(&self) -> u64 {
        self.tables.borrow().accepted_count
    }

    pub fn request_count(&self) -> u64 {
        self.tables.borrow().request_count
    }
}
