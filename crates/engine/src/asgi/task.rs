//! Runs coroutines as real tasks of the running loop, up to their first suspension at once.
//!
//! `asyncio.current_task()`, `asyncio.timeout`, cancel scopes and context variables only work in a
//! task that asyncio knows. Most requests never suspend, so that a trip through the loop before the
//! first step would be most of their cost: from 3.12 on tasks can start eagerly, before that the
//! step is taken away from the loop.

use std::cell::Cell;

use crate::ffi::call::{call, call_with};
use crate::ffi::capture::Capture;
use crate::ffi::containers::{new_dict, set_item};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;

/// What the maker needs of asyncio.
pub struct Asyncio {
    /// `asyncio.Task`.
    pub task_type: Object,
    pub event_loop: Object,
    /// The loop's methods.
    pub create_task: Object,
    pub task_factory: Object,
    /// For versions without eager tasks.
    pub capture: Option<Capture>,
    /// The loop may run inside a step (`nest_asyncio`), which must then not be one of `on_ready`.
    pub is_nested: bool,
}

/// Makes tasks.
pub struct TaskMaker {
    asyncio: Asyncio,
    /// The keyword arguments of every task.
    keywords: Object,
    /// The loop makes the tasks, since the application has set a task factory.
    has_factory: Cell<bool>,
}

impl TaskMaker {
    pub fn new(asyncio: Asyncio) -> Result<Self, Raised> {
        let keywords = new_dict()?;
        set_item(&keywords, &text::ascii(b"loop")?, &asyncio.event_loop)?;
        if asyncio.capture.is_none() {
            set_item(&keywords, &text::ascii(b"eager_start")?, &Object::boolean(true))?;
        } else {
            // Without a name, these versions format a number into one.
            let name = text::ascii(b"pronghorn-request")?;
            set_item(&keywords, &text::ascii(b"name")?, &name)?;
        }
        Ok(Self { asyncio, keywords, has_factory: Cell::new(false) })
    }

    /// Looks whether the application has set a task factory meanwhile.
    pub fn refresh(&self) -> Result<(), Raised> {
        let factory = call(&self.asyncio.task_factory, &[])?;
        self.has_factory.set(self.asyncio.is_nested || !factory.is_none());
        Ok(())
    }

    /// A task that runs `coroutine`, which has made its first step when this returns unless the
    /// application has a task factory. Not to be called from inside a task.
    pub fn spawn(&self, coroutine: &Object) -> Result<Object, Raised> {
        if self.has_factory.get() {
            return call(&self.asyncio.create_task, &[coroutine]);
        }
        let make = || call_with(&self.asyncio.task_type, coroutine, &self.keywords);
        match &self.asyncio.capture {
            Some(capture) => capture.run_at_once(make),
            None => make(),
        }
    }

    /// Leaves the loop as it was.
    pub fn close(&self) {
        if let Some(capture) = &self.asyncio.capture {
            capture.remove();
        }
    }
}
