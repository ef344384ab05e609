//! The coroutine that a request's task runs.
//!
//! It wraps the application's own, so that the end of a step (what was sent goes out) and the end of
//! the application are seen without callbacks.

use pronghorn_proto::asgi::Ended;

use crate::asgi::exchange::{Coroutine, Exchange, Kind};
use crate::ffi::call::{self, Step, call, call_method, end_of_iteration};
use crate::ffi::error::Raised;
use crate::ffi::function::{receive_of, send_of};
use crate::ffi::names::names;
use crate::ffi::native::{Ref, Resumable, Value, attached};
use crate::ffi::object::Object;

impl<K: Kind> Resumable for Exchange<K> {
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

impl<K: Kind> Exchange<K> {
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
                let is_expected = K::expects(self, raised);
                let exception = raised.take(attached());
                if !is_expected {
                    self.application.report("Exception in ASGI application\n", &exception);
                }
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
        K::conclude(self, ended, value);
        if let Some(key) = self.key.take() {
            self.streams.ended(key);
        }
    }
}
