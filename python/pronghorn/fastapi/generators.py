"""Dependencies that are async generators: `_solve_generator` with fewer layers.

FastAPI wraps such a dependency in a context manager, that in another one which shields its exit
from cancellation, and enters the two in an exit stack. Here the generator's first step is made and
its exit put on the stack by hand. The cancel scope that FastAPI enters for the first generator of a
request shields from cancel scopes around the request. Under asyncio, where there is none around it,
it could make no difference, and `_NO_SCOPE` takes its place.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, _AsyncGeneratorContextManager
from typing import Any
from weakref import ref

from anyio import CancelScope
from anyio._backends._asyncio import _task_states
from anyio.lowlevel import checkpoint_if_cancelled

KEY = "fastapi_async_cleanup_scopes"


# The mapping's own look-up is a function of Python.
_states: Any = _task_states.data  # type: ignore[attr-defined]


class _NoScope:
    """In the place of a cancel scope that nothing could cancel."""

    shield = False


_NO_SCOPE: Any = _NoScope()


async def enter(generator: Any, stack: Any, request_stack: Any, scope: Any) -> Any:
    """The value of a dependency, whose exit is left on `stack`."""
    scopes = scope.setdefault(KEY, {})
    cleanup = scopes.get(request_stack)
    if cleanup is None:
        cleanup = _cleanup_scope(request_stack)
        scopes[request_stack] = cleanup
        request_stack._exit_callbacks.append((True, _Forget(scopes, request_stack)))
    leaving = _Leaving(generator)
    try:
        value = await anext(generator)
    except StopAsyncIteration:
        raise RuntimeError("generator didn't yield") from None
    exit_ = leaving.leave if cleanup is _NO_SCOPE else _Shielded(leaving, cleanup).leave
    stack._exit_callbacks.append((False, exit_))
    return value


async def leave(stack: AsyncExitStack) -> None:
    """What `stack.__aexit__` does where nothing has been raised."""
    callbacks: Any = stack._exit_callbacks  # type: ignore[attr-defined]
    # The stack knows the context of what several exits raise, and of what is raised within the
    # handling of something else.
    if _is_one(callbacks) and sys.exc_info()[1] is None:
        leave_one = callbacks.pop()[1]
        try:
            await leave_one(None, None, None)
        except BaseException as error:
            if not callbacks or not await stack.__aexit__(type(error), error, error.__traceback__):
                raise
        if len(callbacks) == 1 and type(callbacks[0][1]) is _Forget:
            callbacks.pop()[1](None, None, None)
    if callbacks:
        await stack.__aexit__(None, None, None)


def _is_one(callbacks: Any) -> bool:
    """Whether there is one dependency to leave, and nothing else but to forget it."""
    is_sync, _ = callbacks[-1]
    return not is_sync and (
        len(callbacks) == 1 or (len(callbacks) == 2 and type(callbacks[0][1]) is _Forget)
    )


def _cleanup_scope(request_stack: Any) -> Any:
    if asyncio._get_running_loop() is not None:
        task: Any = asyncio.current_task()
        state = _states.get(ref(task))
        if state is None or state.cancel_scope is None:
            return _NO_SCOPE
    return request_stack.enter_context(CancelScope())


class _Forget:
    """Takes the cancel scope of a request away from where FastAPI finds it."""

    __slots__ = ("_request_stack", "_scopes")

    def __init__(self, scopes: Any, request_stack: Any) -> None:
        self._scopes = scopes
        self._request_stack = request_stack

    def __call__(self, *exc_info: Any) -> None:
        self._scopes.pop(self._request_stack)


class _Leaving:
    """The exit of a dependency."""

    __slots__ = ("_generator",)

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    async def leave(self, kind: Any, error: Any, traceback: Any) -> Any:
        """What `asynccontextmanager` makes of it."""
        if kind is None:
            try:
                await anext(self._generator)
            except StopAsyncIteration:
                return False
            try:
                raise RuntimeError("generator didn't stop")
            finally:
                await self._generator.aclose()
        manager: Any = object.__new__(_AsyncGeneratorContextManager)
        manager.gen = self._generator
        return await manager.__aexit__(kind, error, traceback)


class _Shielded:
    """The exit of a dependency, which no cancellation interrupts."""

    __slots__ = ("_cleanup", "_leaving", "_was_shielded")

    def __init__(self, leaving: _Leaving, cleanup: Any) -> None:
        self._leaving = leaving
        self._cleanup = cleanup
        self._was_shielded = cleanup.shield

    async def leave(self, kind: Any, error: Any, traceback: Any) -> Any:
        """Leave the dependency; a cancellation that it has held up counts afterwards."""
        cleanup = self._cleanup
        cleanup.shield = True
        try:
            is_swallowed = await self._leaving.leave(kind, error, traceback)
        finally:
            cleanup.shield = self._was_shielded
        if error is None or is_swallowed:
            await checkpoint_if_cancelled()
        return is_swallowed
