//! What `receive()` and `send()` return.
//!
//! A message is taken when it is awaited, not when `receive()` is called, and a waiter that is
//! cancelled takes nothing with it. What is ready costs no future and no trip through the loop.

use std::cell::{Cell, RefCell};

use crate::asgi::exchange::{Exchange, Kind};
use crate::ffi::call::{Step, set_attribute};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::native::{Native, Ref, Resumable, TypeSlot, Value, Visitor, attached};
use crate::ffi::object::Object;

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The next message.
    Message,
    /// The same after a turn for the others.
    TurnAndMessage,
    /// Room to send.
    Room,
    /// A turn for the others.
    Turn,
    /// Nothing (any more).
    Nothing,
}

/// One `await` of a request.
pub struct Waiter<K: Kind> {
    exchange: Ref<Exchange<K>>,
    wait: Cell<Wait>,
    /// What the present step waits on.
    future: RefCell<Option<Object>>,
}

impl<K: Kind> Native for Waiter<K> {
    const NAME: &'static std::ffi::CStr = K::WAITER_NAME;

    fn slot() -> &'static TypeSlot {
        K::waiter_type()
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.visit(self.exchange.object());
        if let Ok(future) = self.future.try_borrow()
            && let Some(future) = future.as_ref()
        {
            visitor.visit(future);
        }
    }

    fn clear(&self) {
        let future = self.future.take();
        drop(future);
    }
}

impl<K: Kind> Waiter<K> {
    pub fn for_message(exchange: &Ref<Exchange<K>>) -> Result<Object, Raised> {
        let must_give_way = exchange.was_told_of_disconnect() || exchange.is_due_to_give_way();
        Self::make(exchange, if must_give_way { Wait::TurnAndMessage } else { Wait::Message })
    }

    pub fn for_room(exchange: &Ref<Exchange<K>>) -> Result<Object, Raised> {
        Self::make(exchange, Wait::Room)
    }

    pub fn for_turn(exchange: &Ref<Exchange<K>>) -> Result<Object, Raised> {
        Self::make(exchange, Wait::Turn)
    }

    fn make(exchange: &Ref<Exchange<K>>, wait: Wait) -> Result<Object, Raised> {
        let waiter = Ref::new(Self {
            exchange: exchange.clone(),
            wait: Cell::new(wait),
            future: RefCell::new(None),
        })?;
        Ok(waiter.object().clone())
    }

    /// Waits on a new future, which the exchange resolves when there may be something.
    fn suspend(&self, future: Object) -> Result<Step, Raised> {
        set_attribute(&future, &names().asyncio_future_blocking, &Object::boolean(true))?;
        let replaced = self.future.borrow_mut().replace(future.clone());
        drop(replaced);
        Ok(Step::Yielded(future))
    }

    fn give_up(&self) {
        self.wait.set(Wait::Nothing);
        let future = self.future.take();
        if let Some(future) = future {
            self.exchange.forget_waiter(&future);
        }
    }
}

impl<K: Kind> Resumable for Waiter<K> {
    fn resume(this: &Ref<Self>, _: &Value) -> Result<Step, Raised> {
        match this.wait.get() {
            Wait::Message => {
                let mut message = K::take_message(&this.exchange)?;
                if message.is_none() && this.future.borrow().is_some() {
                    message = K::substitute(&this.exchange)?;
                }
                match message {
                    Some(message) => {
                        this.wait.set(Wait::Nothing);
                        Ok(Step::Returned(message))
                    }
                    None => this.suspend(this.exchange.new_receiver()?),
                }
            }
            Wait::Room if this.exchange.must_wait_for_room() => {
                this.suspend(this.exchange.new_sender()?)
            }
            Wait::TurnAndMessage => {
                this.wait.set(Wait::Message);
                Ok(Step::Yielded(Object::none()))
            }
            Wait::Turn => {
                this.wait.set(Wait::Nothing);
                Ok(Step::Yielded(Object::none()))
            }
            Wait::Room | Wait::Nothing => Ok(Step::Returned(Object::none())),
        }
    }

    fn throw(this: &Ref<Self>, exception: Object) -> Result<Step, Raised> {
        this.give_up();
        Err(Raised::restore(attached(), exception))
    }

    fn close(this: &Ref<Self>) -> Result<(), Raised> {
        this.give_up();
        Ok(())
    }
}

/// What `send()` returns when nothing has to be waited for: one object for all.
pub struct Ready;

static READY_TYPE: TypeSlot = TypeSlot::new();

impl Native for Ready {
    const NAME: &'static std::ffi::CStr = c"pronghorn._engine.Ready";

    fn slot() -> &'static TypeSlot {
        &READY_TYPE
    }

    fn traverse(&self, _: &mut Visitor) {}

    fn clear(&self) {}
}

impl Resumable for Ready {
    fn resume(_: &Ref<Self>, _: &Value) -> Result<Step, Raised> {
        Ok(Step::Returned(Object::none()))
    }

    fn throw(_: &Ref<Self>, exception: Object) -> Result<Step, Raised> {
        Err(Raised::restore(attached(), exception))
    }

    fn close(_: &Ref<Self>) -> Result<(), Raised> {
        Ok(())
    }
}

/// A new `Ready`; one engine needs one.
pub fn ready() -> Result<Object, Raised> {
    Ok(Ref::new(Ready)?.object().clone())
}
