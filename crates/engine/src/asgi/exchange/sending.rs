//! The application's `receive` and `send`.

use pronghorn_proto::asgi::http::{self, Sent};
use pronghorn_proto::error::ApplicationError;
use pronghorn_proto::event::Outbound;

use crate::asgi::awaitable::Waiter;
use crate::asgi::exchange::Exchange;
use crate::asgi::message::{Message, with_start};
use crate::ffi::error::Raised;
use crate::ffi::function::Channel;
use crate::ffi::native::Ref;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::settings::UNINTERRUPTED_BYTES_MAX;
use crate::stream::Flow;

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
            this.streams.attend_soon(this.stream);
        }
        match flow {
            Flow::Free => Ok(this.application.ready.clone()),
            Flow::Yield => Waiter::for_turn(this),
            Flow::Congested => Waiter::for_room(this),
        }
    }
}

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
    pub(super) fn submit(&self, outbound: &Outbound<'_>) -> Result<Flow, ApplicationError> {
        let result = self.streams.submit(self.stream, outbound);
        if result.is_err() {
            self.disconnect();
            self.abort_stream();
        }
        result
    }

    fn interrupted_at_times(&self, flow: Flow, bytes: usize) -> Flow {
        let total = self.uninterrupted_bytes.get() + bytes;
        let is_due = flow == Flow::Free && total > UNINTERRUPTED_BYTES_MAX;
        self.uninterrupted_bytes.set(if is_due { 0 } else { total });
        if is_due { Flow::Yield } else { flow }
    }

    pub(super) fn log_access(&self, status: u16) {
        let scope = self.scope.take();
        if let (Some(scope), Some(log)) = (scope, &self.application.access_log) {
            log.response_started(&scope, status);
        }
    }
}
