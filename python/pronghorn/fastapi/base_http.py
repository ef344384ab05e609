"""`BaseHTTPMiddleware` for asyncio, with less between the middleware and the application.

The parts are the framework's: the request that keeps its body for the application, the response
whose body is what the application sends, a task of its own for the application, in a task group
that ends with the middleware. Other are the group's way to start the task, which needs no handle
for anybody, and the channel between the two, which makes nobody wait who need not. Behaviour that
users see of `starlette.middleware.base` is kept: what comes after what, contexts, cancellation,
exceptions and their contexts. Under Trio, or with a task factory, Starlette's own code runs.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
from anyio._backends._asyncio import TaskGroup, TaskState, _task_states
from starlette.middleware.base import BaseHTTPMiddleware, _CachedRequest, _StreamingResponse

TASK_NAME = "starlette.middleware.base.BaseHTTPMiddleware.__call__.<locals>.call_next.<locals>.coro"


async def call(middleware: BaseHTTPMiddleware, scope: Any, receive: Any, send: Any) -> None:
    """What `BaseHTTPMiddleware.__call__` does with an HTTP request."""
    request = _CachedRequest(scope, receive, send)
    passage = _Passage(middleware.app, scope, request.wrapped_receive, send)
    channel = passage.channel
    try:
        async with passage.group:
            response = await middleware.dispatch_func(request, passage.call_next)
            await response(scope, request.wrapped_receive, send)
            passage.is_sent.set()
            channel.leave()
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        only = group.exceptions[0]
        context = None if only.__suppress_context__ else only.__context__
        raise only from only.__cause__ or context
    finally:
        channel.end()
        channel.leave()
    if passage.failure is not None and not passage.is_failure_raised:
        raise passage.failure


class _Passage:
    """One request's way through the middleware."""

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self.group = _Group()
        self.channel = _Channel()
        self.is_sent = asyncio.Event()
        self.failure: Exception | None = None
        self.is_failure_raised = False

    async def call_next(self, request: Any) -> _StreamingResponse:
        self.group.launch(self._run())
        channel = self.channel
        try:
            info = None
            while True:
                message = await channel.get()
                if message["type"] == "http.response.debug":
                    info = message["info"]
                elif message["type"] == "http.response.early_hint":
                    await self.send(message)
                else:
                    break
        except anyio.EndOfStream:
            if self.failure is not None:
                self.is_failure_raised = True
                raise self.failure from self.failure.__cause__ or self.failure.__context__
            raise RuntimeError("No response returned.") from None
        assert message["type"] == "http.response.start"
        # Its constructor makes headers, which are replaced in any case.
        response: Any = object.__new__(_StreamingResponse)
        response.info, response.body_iterator = info, self._body()
        response.status_code, response.media_type = message["status"], None
        response.raw_headers, response.background = message.get("headers", []), None
        return response  # type: ignore[no-any-return]

    async def _body(self) -> AsyncIterator[Any]:
        channel = self.channel
        while True:
            try:
                message = await channel.get()
            except anyio.EndOfStream:
                return
            if message["type"] == "http.response.pathsend":
                yield message
                return
            assert message["type"] == "http.response.body", f"Unexpected message: {message}"
            body = message.get("body", b"")
            if body:
                yield body
            if not message.get("more_body", False):
                return

    async def _run(self) -> None:
        try:
            await self.app(self.scope, self._receive_or_disconnect, self._send)
        except Exception as error:
            self.failure = error
        finally:
            self.channel.end()

    async def _send(self, message: Any) -> None:
        try:
            await self.channel.put(message)
        except anyio.BrokenResourceError:
            return  # The response has been sent.
        if message["type"] == "http.response.pathsend" or (
            message["type"] == "http.response.body" and not message.get("more_body", False)
        ):
            await self.is_sent.wait()

    async def _receive_or_disconnect(self) -> Any:
        if self.is_sent.is_set():
            return {"type": "http.disconnect"}
        async with anyio.create_task_group() as task_group:

            async def wrap(function: Any) -> Any:
                result = await function()
                task_group.cancel_scope.cancel()
                return result

            task_group.start_soon(wrap, self.is_sent.wait)
            message = await wrap(self.receive)
        if self.is_sent.is_set():
            return {"type": "http.disconnect"}
        return message


_CALL_NEXT = "BaseHTTPMiddleware.__call__.<locals>.call_next.<locals>"
# Spans for middleware are named after these.
_Passage._send.__qualname__ = f"{_CALL_NEXT}.send_no_error"
_Passage._receive_or_disconnect.__qualname__ = f"{_CALL_NEXT}.receive_or_disconnect"


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """`asyncio.sleep(0)`."""
    yield


class _Group(TaskGroup):
    """A task group whose one task nobody holds a handle of."""

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        """Wait for the task, without a cancel scope for as long as nothing is cancelled."""
        if error is not None or not self._tasks:
            return await super().__aexit__(kind, error, traceback)
        self._on_completed_fut = asyncio.get_running_loop().create_future()
        try:
            await self._on_completed_fut
        except asyncio.CancelledError as cancelled:
            return await super().__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        if self._exceptions:
            return await super().__aexit__(None, None, None)
        del self._exceptions
        return self.cancel_scope.__exit__(None, None, None)

    def launch(self, coroutine: Any) -> None:
        """Start a task in the group."""
        scope = self.cancel_scope
        task = asyncio.get_running_loop().create_task(coroutine, name=TASK_NAME)
        _task_states[task] = TaskState(parent_id=id(scope._host_task), cancel_scope=scope)
        scope._tasks.add(task)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        state = _task_states.pop(task)
        assert state.cancel_scope is not None
        state.cancel_scope._tasks.remove(task)
        self._tasks.remove(task)
        completed = self._on_completed_fut
        if completed is not None and not self._tasks and not completed.done():
            completed.set_result(None)
        try:
            error = task.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if error is not None:
            if not isinstance(error, asyncio.CancelledError):
                self._exceptions.append(error)
            if not self.cancel_scope._effectively_cancelled:
                self.cancel_scope.cancel()


class _Channel:
    """Messages from the application to the middleware: nothing is stored, each is taken by one."""

    __slots__ = ("_has_ended", "_is_left", "_receivers", "_senders")

    def __init__(self) -> None:
        self._senders: deque[tuple[asyncio.Future[None], Any]] = deque()
        self._receivers: deque[asyncio.Future[Any]] = deque()
        self._has_ended = False
        self._is_left = False

    async def put(self, message: Any) -> None:
        """Hand a message over; wait until there is somebody to take it."""
        await _turn()
        if self._has_ended:
            raise anyio.ClosedResourceError
        if self._is_left:
            raise anyio.BrokenResourceError
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_result(message)
                return
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        offer = (taken, message)
        self._senders.append(offer)
        try:
            await taken
        except BaseException:
            if offer in self._senders:
                self._senders.remove(offer)
            raise

    async def get(self) -> Any:
        """The next message; raises EndOfStream when there will be none."""
        await _turn()
        if self._is_left:
            raise anyio.ClosedResourceError
        while self._senders:
            taken, message = self._senders.popleft()
            if not taken.done():
                taken.set_result(None)
                return message
        if self._has_ended:
            raise anyio.EndOfStream
        receiver: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._receivers.append(receiver)
        return await receiver

    def end(self) -> None:
        """The application sends no more."""
        self._has_ended = True
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_exception(anyio.EndOfStream())

    def leave(self) -> None:
        """The middleware takes no more."""
        self._is_left = True
        while self._senders:
            taken, _ = self._senders.popleft()
            if not taken.done():
                taken.set_exception(anyio.BrokenResourceError())
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_exception(anyio.ClosedResourceError())
