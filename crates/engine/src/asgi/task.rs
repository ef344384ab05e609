//! Runs coroutines as real tasks of the running loop, up to their first suspension at once.
//!
//! `asyncio.current_task()`, `asyncio.timeout`, cancel scopes and context variables only work in a
//! task that asyncio knows. Most requests never suspend, so that a trip through the loop before the
//! first step would be most of their cost: from 3.12 on tasks can start eagerly, before that the
//! step is taken away from the loop.

use std::cell::Cell;

use crate::ffi::all_tasks::AllTasks;
use crate::ffi::call::{Repeated, call, call_method, has_attribute};
use crate::ffi::capture::Capture;
use crate::ffi::containers::{is_true, new_dict, set_item};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::native::attached;
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
    pub capture: Capture,
    /// Where every task is entered when it is made.
    pub all_tasks: Option<AllTasks>,
    /// A task makes its first step when it is made.
    pub has_eager_tasks: bool,
    /// The loop's attribute that says that it may run inside a step (`nest_asyncio`), which must then
    /// not be one of `on_ready`; `None` for a loop that cannot.
    pub nested_mark: Option<Object>,
}

/// Makes tasks.
pub struct TaskMaker {
    asyncio: Asyncio,
    /// Calls of the type of tasks.
    tasks: Repeated,
    /// The loop makes the tasks, since the application has set a task factory.
    has_factory: Cell<bool>,
    /// The engine runs outside of any task: one may be stepped right now.
    is_outside: Cell<bool>,
}

impl TaskMaker {
    pub fn new(asyncio: Asyncio) -> Result<Self, Raised> {
        let names = names();
        let keywords = new_dict()?;
        set_item(&keywords, &names.r#loop, &asyncio.event_loop)?;
        if asyncio.has_eager_tasks {
            set_item(&keywords, &names.eager_start, &Object::boolean(true))?;
        } else {
            // Without a name, these versions format a number into one.
            set_item(&keywords, &names.name, &text::ascii(b"pronghorn-request")?)?;
        }
        let tasks = Repeated::new(asyncio.task_type.clone(), keywords);
        Ok(Self { asyncio, tasks, has_factory: Cell::new(false), is_outside: Cell::new(false) })
    }

    /// Looks whether the application has set a task factory meanwhile, or nested the loop.
    pub fn refresh(&self) -> Result<(), Raised> {
        let factory = call(&self.asyncio.task_factory, &[])?;
        let mark = self.asyncio.nested_mark.as_ref();
        let is_nested = mark.is_some_and(|mark| has_attribute(&self.asyncio.event_loop, mark));
        self.has_factory.set(is_nested || !factory.is_none());
        Ok(())
    }

    /// A task that runs `coroutine`, which has made its first step when this returns unless the
    /// application has a task factory. Not to be called from inside a task.
    pub fn spawn(&self, coroutine: &Object) -> Result<Object, Raised> {
        if self.has_factory.get() {
            return call(&self.asyncio.create_task, &[coroutine]);
        }
        let make = || self.tasks.call(coroutine);
        self.inside(|| {
            if self.asyncio.has_eager_tasks {
                make()
            } else {
                self.asyncio.capture.run_at_once(make)
            }
        })
    }

    /// Resolves a future on which a task waits, which makes its step right now, unless the engine
    /// runs inside of one.
    pub fn step(&self, future: &Object) -> Result<(), Raised> {
        if self.is_outside.get() && !self.has_factory.get() {
            let wake = || wake(future).map(|()| Object::none());
            self.inside(|| self.asyncio.capture.run_at_once(wake)).map(drop)
        } else {
            wake(future)
        }
    }

    /// The loop has called the engine.
    pub fn begin_turn(&self) {
        self.is_outside.set(true);
    }

    /// The engine returns to the loop.
    pub fn end_turn(&self) {
        self.is_outside.set(false);
        self.asyncio.capture.release();
    }

    /// Runs what steps a task.
    fn inside<R>(&self, step: impl FnOnce() -> R) -> R {
        let was_outside = self.is_outside.replace(false);
        let result = step();
        self.is_outside.set(was_outside);
        result
    }

    /// Leaves the loop and asyncio as they were.
    pub fn close(&self) {
        self.asyncio.capture.remove();
        if let Some(tasks) = &self.asyncio.all_tasks {
            tasks.remove();
        }
    }
}

/// Resolves a future on which a task waits, which goes on in the loop's next turn.
pub fn wake(future: &Object) -> Result<(), Raised> {
    let names = names();
    let resolved = call_method(future, &names.set_result, &[&Object::none()]);
    if resolved.is_ok() {
        return Ok(());
    }
    // It may have been cancelled, and its task not have heard of it yet.
    let exception = Raised.take(attached());
    if is_true(&call_method(future, &names.done, &[])?)? {
        return Ok(());
    }
    Err(Raised::restore(attached(), exception))
}
