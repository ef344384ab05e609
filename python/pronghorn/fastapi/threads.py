"""Runs functions in worker threads as `anyio.to_thread.run_sync` does, with less in between.

`run_sync(function)` keeps what applications can see of AnyIO's: the default limiter's tokens, the
context that the function runs in, `anyio.from_thread` within it, the threads' name, what an
exception or a `StopIteration` becomes, and that a cancel scope waits for the function while a
native cancellation does not. What is left out is the trip through the event loop before the
function starts. One queue feeds all threads of an event loop, so that under load one of them runs
many functions in a row, and results that come together cost one wake-up of the loop. Threads are
made when all are busy, and end after ten idle seconds or with the loop's main task. Under Trio, and
where a cancellation is pending, AnyIO does it.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

import anyio.to_thread
from anyio import WouldBlock
from anyio._backends import _asyncio as backend
from anyio._core._eventloop import (
    claim_worker_thread,
    set_current_async_library,
    threadlocals,
)
from starlette.responses import Response

IDLE_S_MAX = 10
"""AnyIO's `WorkerThread.MAX_IDLE_TIME`."""

Work = tuple[Context, Callable[[], Any], "asyncio.Future[Any]", Any]
Outcome = tuple["asyncio.Future[Any]", Any, "BaseException | None"]

_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()
_free_scope = backend.CancelScope(shield=True)
"""For functions whose task is in no cancel scope: never entered, never cancelled."""


async def run_sync(function: Callable[[], Any]) -> Any:
    """The result of `function`, called in a worker thread."""
    loop = asyncio._get_running_loop()
    if loop is None:
        return await anyio.to_thread.run_sync(function)
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = Pool(loop)
    task: Any = asyncio.current_task()
    state = backend._task_states.get(task)
    scope = None if state is None else state.cancel_scope
    if getattr(task, "_must_cancel", True) or (scope is not None and scope._effectively_cancelled):
        return await anyio.to_thread.run_sync(function)
    limiter = pool.limiter
    try:
        limiter.acquire_on_behalf_of_nowait(task)
    except WouldBlock:
        await limiter.acquire_on_behalf_of(task)
    try:
        if scope is None:
            return await pool.submit(function, _free_scope)
        with backend.CancelScope(shield=True):
            return await pool.submit(function, scope)
    finally:
        limiter.release_on_behalf_of(task)


async def call_and_validate(call: Callable[[], Any], validate: Callable[..., Any]) -> Any:
    """What an endpoint returns and, unless that is a response, the value and the errors of it.

    FastAPI takes a thread for each; here one runs both, each in a context of its own. Trio looks at
    what a function returns, so there it is done FastAPI's way.
    """
    if asyncio._get_running_loop() is None:
        raw = await run_sync(call)
        if isinstance(raw, Response):
            return raw, None, None
        value, errors = await run_sync(partial(validate, raw, {}, loc=("response",)))
        return raw, value, errors
    context = copy_context()
    context.run(set_current_async_library, None)

    def both() -> Any:
        raw = call()
        if isinstance(raw, Response):
            return raw, None, None
        value, errors = context.run(validate, raw, {}, loc=("response",))
        return raw, value, errors

    return await run_sync(both)


class Pool:
    """The worker threads of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.limiter = backend.AsyncIOBackend.current_default_thread_limiter()
        # The pool must not keep the loop alive, which it is kept by.
        self._loop = weakref.ref(loop)
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._outcomes: deque[Outcome] = deque()
        self._lock = threading.Lock()
        self._is_reporting = False
        self._threads = 0
        self._busy = 0
        self._busiest = 0
        self._looked_at = loop.time()
        backend.find_root_task().add_done_callback(self._stop, context=Context())

    def submit(self, function: Callable[[], Any], scope: Any) -> asyncio.Future[Any]:
        """A future for the result of `function`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = copy_context()
        context.run(set_current_async_library, None)
        self._busy += 1
        if self._busy > self._busiest:
            self._busiest = self._busy
        if self._busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._run, args=(loop,), name="AnyIO worker thread").start()
        elif loop.time() - self._looked_at > IDLE_S_MAX:
            self._end_idle(loop.time())
        self._work.put((context, function, future, scope))
        return future

    def _end_idle(self, now: float) -> None:
        for _ in range(self._threads - self._busiest):
            self._threads -= 1
            self._work.put(None)
        self._looked_at, self._busiest = now, self._busy

    def _stop(self, task: asyncio.Task[Any]) -> None:
        for _ in range(self._threads):
            self._work.put(None)
        self._threads = 0
        _pools.pop(task.get_loop(), None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with claim_worker_thread(backend.AsyncIOBackend, loop):
            while (work := self._work.get()) is not None:
                context, function, future, scope = work
                result = exception = None
                if not future.cancelled():
                    threadlocals.current_cancel_scope = scope
                    try:
                        result = context.run(function)
                    except BaseException as error:
                        exception = error
                    finally:
                        del threadlocals.current_cancel_scope
                self._report(loop, (future, result, exception))
                del work, context, function, future, scope, result, exception

    def _report(self, loop: asyncio.AbstractEventLoop, outcome: Outcome) -> None:
        """Hand a result over; the first of several wakes the loop for all of them."""
        with self._lock:
            self._outcomes.append(outcome)
            if self._is_reporting:
                return
            self._is_reporting = True
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            if not loop.is_closed():
                raise

    def _deliver(self) -> None:
        with self._lock:
            self._is_reporting = False
            outcomes = list(self._outcomes)
            self._outcomes.clear()
        self._busy -= len(outcomes)
        for future, result, exception in outcomes:
            if future.cancelled():
                continue
            if exception is None:
                future.set_result(result)
                continue
            if isinstance(exception, StopIteration):
                stopped = RuntimeError("coroutine raised StopIteration")
                stopped.__cause__ = exception
                exception = stopped
            future.set_exception(exception)
