"""AnyIO's task group for asyncio, for tasks that nobody holds a handle of.

What others can see of a group is kept: the cancel scope that its host and its tasks are in, which
is a real one, who is cancelled when, and the order in which all this happens. Where there are tasks
to wait for, none of which fails or is cancelled, no code of AnyIO's runs but what makes the scope
and looks whether it is cancelled; in any other case `TaskGroup` ends the group, with the same
attributes.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import ref

from anyio._backends._asyncio import CancelScope, TaskGroup, TaskState, _task_states

_weak: Any = _task_states
_states: dict[Any, TaskState] = _weak.data
_forget = _weak._remove


class Group(TaskGroup):
    """A task group that is entered when it is made, in the task that leaves it."""

    def __init__(self) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.cancel_scope = scope = CancelScope()
        self._entered = True
        self._exceptions = []
        self._tasks = set()
        self._on_completed_fut = None
        # What `CancelScope.__enter__` does.
        host: Any = asyncio.current_task(loop)
        scope._host_task = host
        scope._tasks.add(host)
        key = ref(host, _forget)
        state = _states.get(key)
        self._is_first = state is None
        if state is None:
            _states[key] = state = TaskState(None, scope)
        else:
            parent = scope._parent_scope = state.cancel_scope
            state.cancel_scope = scope
            if parent is not None:
                parent._child_scopes.add(scope)
                parent._tasks.discard(host)
        self._key, self._state = key, state
        scope._active = True
        scope._cancelling_at_enter = host.cancelling()

    async def __aenter__(self) -> Group:
        return self

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        """Wait for the tasks, without a cancel scope for as long as nothing is cancelled."""
        if error is not None or not self._tasks:
            try:
                return await super().__aexit__(kind, error, traceback)
            finally:
                del error, traceback  # The error may go on, with this frame in its traceback.
        while self._tasks:
            self._on_completed_fut = self.loop.create_future()
            try:
                await self._on_completed_fut
            except asyncio.CancelledError as cancelled:
                return await super().__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
            self._on_completed_fut = None
        if self._exceptions:
            return await super().__aexit__(None, None, None)
        return self._leave()

    def _leave(self) -> bool:
        """What `CancelScope.__exit__` does."""
        scope, state = self.cancel_scope, self._state
        if state.cancel_scope is not scope or scope._effectively_cancelled:
            return scope.__exit__(None, None, None)
        scope._active = False
        host, parent = scope._host_task, scope._parent_scope
        assert host is not None
        scope._tasks.remove(host)
        if parent is not None:
            parent._child_scopes.remove(scope)
            parent._tasks.add(host)
        state.cancel_scope = parent
        scope._host_task = None
        if self._is_first:
            _states.pop(self._key, None)
        return False

    def launch(self, coroutine: Any, name: str) -> None:
        """Start a task in the group."""
        scope = self.cancel_scope
        if not scope._active:
            coroutine.close()
            message = "This task group is not active; no new tasks can be started."
            raise RuntimeError(message)
        task = self.loop.create_task(coroutine, name=name)
        _states[ref(task, _forget)] = TaskState(id(scope._host_task), scope)
        scope._tasks.add(task)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        state = _states.pop(ref(task))
        assert state.cancel_scope is not None
        state.cancel_scope._tasks.remove(task)
        self._tasks.remove(task)
        completed = self._on_completed_fut
        if completed is not None and not self._tasks and not completed.done():
            completed.set_result(None)
        # What a cancelled task raises would have a traceback, which would hold this frame.
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._exceptions.append(error)
        is_over = error is not None or task.cancelled()
        if is_over and not self.cancel_scope._effectively_cancelled:
            self.cancel_scope.cancel()
