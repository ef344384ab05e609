"""`BaseHTTPMiddleware` for asyncio, with less between the middleware and the application.

The parts are the framework's: the request that keeps its body for the application, the response
whose body is what the application sends, a task of its own for the application, in a task group
that ends with the middleware (`task_group`). Other is the channel between the two, which has no
streams and events, and the sending of a body that the middleware has left alone, which needs no
iterator. Behaviour that users see of `starlette.middleware.base` is kept: what comes after what, to
the turn of the loop, contexts, cancellation, exceptions, and the cause and context of those that
the middleware raises; those within AnyIO's streams have none here. Under Trio, or with a task
factory, Starlette's own code runs.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
from starlette.middleware.base import BaseHTTPMiddleware, _CachedRequest, _StreamingResponse

from pronghorn.fastapi.relays import send_start, sender_of_bodies
from pronghorn.fastapi.task_group import Group

_CALL_NEXT = "BaseHTTPMiddleware.__call__.<locals>.call_next.<locals>"
TASK_NAME = f"starlette.middleware.base.{_CALL_NEXT}.coro"
WATCHER_NAME = f"starlette.middleware.base.{_CALL_NEXT}.receive_or_disconnect.<locals>.wrap"


async def call(middleware: BaseHTTPMiddleware, scope: Any, receive: Any, send: Any) -> None:
    """What `BaseHTTPMiddleware.__call__` does with an HTTP request."""
    request = _CachedRequest(scope, receive, send)
    passage = _Passage(middleware.app, scope, request.wrapped_receive, send)
    try:
        async with passage.group:
            response = await middleware.dispatch_func(request, passage.call_next)
            if type(response) is _StreamingResponse and passage.is_whole(response.body_iterator):
                await passage.deliver(response)
            else:
                await response(scope, request.wrapped_receive, send)
            passage.leave(is_sent=True)
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        only = group.exceptions[0]
        context = None if only.__suppress_context__ else only.__context__
        raise only from only.__cause__ or context
    finally:
        passage.end()
        passage.leave()
        passage.forget_body()
    if passage.failure is not None and not passage.is_failure_raised:
        raise passage.failure


class _Passage:
    """One request's way through the middleware, and the messages that come back.

    None of those is stored: each is handed over when one side has it and the other waits for it.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_has_ended",
        "_is_left",
        "_is_sent",
        "_receivers",
        "_senders",
        "_sent_waiters",
        "app",
        "failure",
        "group",
        "is_failure_raised",
        "receive",
        "scope",
        "send",
    )

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self.group = Group()
        self.failure: Exception | None = None
        self.is_failure_raised = False
        self._body: Any = None
        self._begun: list[bool] = []
        self._is_sent = False
        self._sent_waiters: list[asyncio.Future[None]] = []
        self._senders: list[tuple[asyncio.Future[None], Any]] = []
        self._receivers: list[asyncio.Future[Any]] = []
        self._has_ended = False
        self._is_left = False

    async def call_next(self, request: Any) -> _StreamingResponse:
        self.group.launch(self._run(), TASK_NAME)
        try:
            info = None
            while True:
                message = await self._get()
                kind = message["type"]
                if kind == "http.response.debug":
                    info = message["info"]
                elif kind == "http.response.early_hint":
                    await self.send(message)
                else:
                    break
        except anyio.EndOfStream:
            if self.failure is not None:
                self.is_failure_raised = True
                raise self.failure from self.failure.__cause__ or self.failure.__context__
            raise RuntimeError("No response returned.")  # noqa: B904 - as Starlette raises it.
        assert kind == "http.response.start"
        # Its constructor makes headers, which are replaced in any case.
        response: Any = object.__new__(_StreamingResponse)
        self._begun = []
        self._body = self._chunks(self._begun)
        response.info, response.body_iterator = info, self._body
        response.status_code, response.media_type = message["status"], None
        response.raw_headers, response.background = message.get("headers", []), None
        return response  # type: ignore[no-any-return]

    async def _chunks(self, begun: list[bool]) -> AsyncIterator[Any]:
        """The response's body, as the middleware may read it; `begun` tells whether it is read."""
        more = not begun  # Else `deliver` has taken it.
        begun.append(True)
        while more:
            chunk, more = await self._chunk()
            if chunk:
                yield chunk

    async def _chunk(self) -> tuple[Any, bool]:
        """A part of the body, or a message for a file, and whether there may be more."""
        try:
            message = await self._get()
        except anyio.EndOfStream:
            return b"", False
        if message["type"] == "http.response.pathsend":
            return message, False
        assert message["type"] == "http.response.body", f"Unexpected message: {message}"
        return message.get("body", b""), message.get("more_body", False)

    def is_whole(self, body: Any) -> bool:
        """Whether a response's body is the application's, neither read nor closed."""
        return (
            body is not None
            and body is self._body
            and not self._begun
            and body.ag_frame is not None
        )

    def forget_body(self) -> None:
        """Let go of the body: what is left of it holds the passage, and nothing else frees both."""
        self._body = None

    async def deliver(self, response: Any) -> None:
        """What `_StreamingResponse.__call__` does, without an iterator."""
        more = True
        self._begun.append(more)
        send = self.send
        if response.info is not None:
            await send({"type": "http.response.debug", "info": response.info})
        await send_start(
            send,
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            },
        )
        send = sender_of_bodies(send)
        is_file = False
        while more:
            chunk, more = await self._chunk()
            if isinstance(chunk, dict):
                is_file = True
                await send(chunk)
            elif chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not is_file:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        if response.background:
            await response.background()

    async def _run(self) -> None:
        try:
            await self.app(self.scope, self._receive_or_disconnect, self._send)
        except Exception as error:
            self.failure = error
        finally:
            self.end()

    async def _send(self, message: Any) -> None:
        try:
            await self._put(message)
        except anyio.BrokenResourceError:
            return  # The response has been sent.
        kind = message["type"]
        if kind == "http.response.pathsend" or (
            kind == "http.response.body" and not message.get("more_body", False)
        ):
            await self._wait_until_sent()

    async def _receive_or_disconnect(self) -> Any:
        if self._is_sent:
            return {"type": "http.disconnect"}
        async with Group() as group:
            group.launch(self._stop_when_sent(group), WATCHER_NAME)
            message = await self.receive()
            group.cancel_scope.cancel()
        if self._is_sent:
            return {"type": "http.disconnect"}
        return message

    async def _stop_when_sent(self, group: Group) -> None:
        await self._wait_until_sent()
        group.cancel_scope.cancel()

    @types.coroutine
    def _put(self, message: Any) -> Generator[Any, Any, None]:
        """Hand a message over; wait until there is somebody to take it."""
        yield  # AnyIO's streams give the loop a turn here.
        if self._has_ended:
            raise anyio.ClosedResourceError
        if self._is_left:
            raise anyio.BrokenResourceError
        while self._receivers:
            receiver = self._receivers.pop(0)
            if not receiver.done():
                receiver.set_result(message)
                return
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        offer = (taken, message)
        self._senders.append(offer)
        try:
            yield from taken
        except BaseException:
            if offer in self._senders:
                self._senders.remove(offer)
            raise

    @types.coroutine
    def _get(self) -> Generator[Any, Any, Any]:
        """The next message; raises EndOfStream when there will be none."""
        yield  # AnyIO's streams give the loop a turn here.
        if self._is_left:
            raise anyio.ClosedResourceError
        while self._senders:
            taken, message = self._senders.pop(0)
            if not taken.done():
                taken.set_result(None)
                return message
        if self._has_ended:
            raise anyio.EndOfStream
        receiver: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._receivers.append(receiver)
        return (yield from receiver)

    @types.coroutine
    def _wait_until_sent(self) -> Generator[Any, Any, None]:
        """Wait until the middleware's response has been sent."""
        if self._is_sent:
            yield
            return
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sent_waiters.append(sent)
        try:
            yield from sent
        finally:
            self._sent_waiters.remove(sent)

    def end(self) -> None:
        """The application sends no more."""
        self._has_ended = True
        self._dismiss(anyio.ClosedResourceError, anyio.EndOfStream)

    def leave(self, is_sent: bool = False) -> None:
        """The middleware takes no more."""
        self._is_left = True
        if is_sent:
            self._is_sent = True
            for sent in self._sent_waiters:
                if not sent.done():
                    sent.set_result(None)
        self._dismiss(anyio.BrokenResourceError, anyio.ClosedResourceError)

    def _dismiss(self, of_senders: type[Exception], of_receivers: type[Exception]) -> None:
        """Have everybody who waits get an error."""
        for taken, _ in self._senders:
            _fail(taken, of_senders())
        self._senders.clear()
        for receiver in self._receivers:
            _fail(receiver, of_receivers())
        self._receivers.clear()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Have who waits get an error; asyncio says nothing where a cancellation comes first."""
    if not future.done():
        future.set_exception(error)
        future.exception()


# Spans for middleware are named after these.
_Passage._send.__qualname__ = f"{_CALL_NEXT}.send_no_error"
_Passage._receive_or_disconnect.__qualname__ = f"{_CALL_NEXT}.receive_or_disconnect"
