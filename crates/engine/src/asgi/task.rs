//! Runs coroutines as real tasks of the running loop.
//!
//! `asyncio.current_task()`, `asyncio.timeout`, cancel scopes and context variables only work in a
//! task that asyncio knows. From 3.12 on a task can start at once (`eager_start`), which saves a
//! trip through the loop.

use std::cell::Cell;

use crate::ffi::call::{call, call_keywords, keyword_names};
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;

/// Makes tasks.
pub struct TaskMaker {
    task_type: Object,
    event_loop: Object,
    keyword_names: Object,
    /// What the keywords after `loop` say, by version.
    keyword_value: Object,
    create_task: Object,
    task_factory: Object,
    /// The application has set a task factory: the loop makes the tasks.
    has_factory: Cell<bool>,
}

impl TaskMaker {
    /// `task_type` is `asyncio.Task`; `create_task` and `task_factory` are the loop's methods
    /// `create_task` and `get_task_factory`.
    pub fn new(
        task_type: Object,
        event_loop: Object,
        create_task: Object,
        task_factory: Object,
        eager: bool,
    ) -> Result<Self, Raised> {
        // Without a name, 3.11 formats a number into one.
        let (keyword, keyword_value) = if eager {
            ("eager_start", Object::boolean(true))
        } else {
            ("name", text::ascii(b"pronghorn-request")?)
        };
        Ok(Self {
            task_type,
            event_loop,
            keyword_names: keyword_names(&["loop", keyword])?,
            keyword_value,
            create_task,
            task_factory,
            has_factory: Cell::new(false),
        })
    }

    /// Looks whether the application has set a task factory meanwhile.
    pub fn refresh(&self) -> Result<(), Raised> {
        self.has_factory.set(!call(&self.task_factory, &[])?.is_none());
        Ok(())
    }

    /// A task that runs `coroutine`, which may have made its first step when this returns.
    pub fn spawn(&self, coroutine: &Object) -> Result<Object, Raised> {
        if self.has_factory.get() {
            return call(&self.create_task, &[coroutine]);
        }
        call_keywords(
            &self.task_type,
            coroutine,
            &self.keyword_names,
            &[&self.event_loop, &self.keyword_value],
        )
    }
}
