//! The coroutine that a request's task runs.
//!
//! It wraps the application's own, so that the end of a step (what was sent goes out) and the end of
//! the application are seen without callbacks.

use pronghorn_proto::asgi::Ended;

use crate::asgi::exchange::{Coroutine, Exchange, Kind};
use crate::ffi::call::{self, Step, call, call_method, end_of_iteration};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::native::{Ref, Resumable, Value, attached};
use crate::ffi::object::Object;

impl<K: Kind> Resumable for Exchange<K> {
    fn resume(this: &Ref<Self>, value: &Value) -> Result<Step, Raised> {
        this.in_step.set(true);
        this.uninterrupted_bytes.set(0);
        Ok(match this.delegate() {
            Some(iterator) => this.step_ended(call::send(&iterator, value.as_ptr())),
            None => Self::first_step(this, value),
        })
    }

    fn throw(this: &Ref<Self>, exception: Object) -> Result<Step, Raised> {
        this.in_step.set(true);
        let outcome = match this.delegate() {
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
    /// Calls the application, and its coroutine up to where it suspends.
    fn first_step(this: &Ref<Self>, value: &Value) -> Step {
        let spare_functions = &this.application.spare_functions;
        let functions = match spare_functions.functions_of(this) {
            Ok(functions) => functions,
            Err(raised) => return this.step_ended(Err(raised)),
        };
        let outcome = Self::iterator(this, &functions)
            .and_then(|iterator| call::send(&iterator, value.as_ptr()));
        let step = this.step_ended(outcome);
        spare_functions.keep(functions);
        step
    }

    /// The application's coroutine, for which the application is called.
    fn iterator(this: &Ref<Self>, [receive, send]: &[Object; 2]) -> Result<Object, Raised> {
        let scope = match &*this.coroutine.borrow() {
            Coroutine::Ready { scope } => scope.clone(),
            Coroutine::Running { .. } | Coroutine::Ended => {
                return Err(Raised::runtime_error("cannot reuse already awaited coroutine"));
            }
        };
        let awaitable = call(&this.application.callable, &[&scope, receive, send])?;
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
