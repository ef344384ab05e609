//! The coroutine that a request's task runs.
//!
//! It wraps the application's own, so that the end of a step (what was sent goes out) and the end of
//! the application (500, or an aborted response) are seen without callbacks.

use pronghorn_proto::asgi::http::{Conclusion, Ended};
use pronghorn_proto::event::Outbound;

use crate::asgi::application::Level;
use crate::asgi::exchange::{Coroutine, Exchange};
use crate::ffi::call::{self, Step, call, call_method, end_of_iteration};
use crate::ffi::error::Raised;
use crate::ffi::function::{receive_of, send_of};
use crate::ffi::names::names;
use crate::ffi::native::{Ref, Resumable, Value, attached};
use crate::ffi::object::Object;
use crate::ffi::text;

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
        self.streams.step_ended(self.stream);
        step
    }

    fn conclude(&self, ended: Ended, value: &Object) {
        drop(self.coroutine.replace(Coroutine::Ended));
        match self.state.get().conclude(ended) {
            Conclusion::Nothing => {}
            Conclusion::Log { log } => self.log_line(log, value),
            Conclusion::Answer500 { log } => {
                self.log_line(log, value);
                self.answer_500();
            }
            Conclusion::Abort { log } => {
                self.log_line(log, value);
                self.disconnect();
                self.abort_stream();
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
