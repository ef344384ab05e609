//! The application's `receive` and `send`.

use crate::asgi::awaitable::Waiter;
use crate::asgi::exchange::{Exchange, Kind};
use crate::ffi::error::Raised;
use crate::ffi::function::Channel;
use crate::ffi::native::Ref;
use crate::ffi::object::Object;
use crate::stream::Flow;

impl<K: Kind> Channel for Exchange<K> {
    fn receive(this: &Ref<Self>) -> Result<Object, Raised> {
        this.check_thread()?;
        Waiter::for_message(this)
    }

    fn send(this: &Ref<Self>, message: &Object) -> Result<Object, Raised> {
        this.check_thread()?;
        let flow = K::send(this, message)?;
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

impl<K: Kind> Exchange<K> {
    fn check_thread(&self) -> Result<(), Raised> {
        if self.application.owner.is_current() {
            return Ok(());
        }
        Err(Raised::runtime_error(
            "ASGI receive and send must be called on the thread of their event loop",
        ))
    }
}
