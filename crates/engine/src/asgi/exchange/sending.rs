//! The application's `receive` and `send`.

use crate::asgi::awaitable::Waiter;
use crate::asgi::exchange::{Exchange, Kind};
use crate::ffi::call::call;
use crate::ffi::error::Raised;
use crate::ffi::function::{Channel, receive_of, send_of};
use crate::ffi::native::Ref;
use crate::ffi::object::Object;
use crate::stream::Flow;

impl<K: Kind> Channel for Exchange<K> {
    fn receive(this: &Ref<Self>) -> Result<Object, Raised> {
        if !this.is_on_its_thread() {
            return call(&this.application.on_loop, &[&receive_of(this)?]);
        }
        Waiter::for_message(this)
    }

    fn send(this: &Ref<Self>, message: &Object) -> Result<Object, Raised> {
        if !this.is_on_its_thread() {
            return call(&this.application.on_loop, &[&send_of(this)?, message]);
        }
        let flow = K::send(this, message)?;
        Self::go_on(this, flow)
    }
}

impl<K: Kind> Exchange<K> {
    /// What is awaited after something has been sent.
    pub(in crate::asgi) fn go_on(this: &Ref<Self>, flow: Flow) -> Result<Object, Raised> {
        if !this.in_step.get() {
            this.streams.attend_soon(this.stream);
        }
        match flow {
            Flow::Free => Ok(this.application.ready.clone()),
            Flow::Yield => Waiter::for_turn(this),
            Flow::Congested => Waiter::for_room(this),
        }
    }

    /// Other threads hold the interpreter like this one, but everything here waits and writes on the
    /// loop's.
    pub(in crate::asgi) fn is_on_its_thread(&self) -> bool {
        self.application.owner.is_current()
    }
}
