"""What users see of `CORSMiddleware` and http middlewares, on FastAPI and on the accelerator."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio import TaskHandle
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware

from accelerator.ask import Answer, ask, asked, make_scope

pytestmark = pytest.mark.usefixtures("accelerated")

ORIGIN = (b"origin", b"http://a.example")


def make_app(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, **options)

    @app.get("/")
    async def root(vary: str = "") -> Response:
        headers = {"vary": vary} if vary else {}
        return PlainTextResponse("text", headers=headers)

    @app.get("/json")
    async def json() -> dict[str, int]:
        return {"a": 1}

    return app


def fields(answer: Answer, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in answer.headers if key in names]


def test_a_response_varies_by_origin_where_the_request_has_none() -> None:
    app = make_app(allow_origins=["*"], allow_credentials=True)
    expected = [(b"content-length", b"7"), (b"content-type", b"application/json")]
    assert ask(app, "/json").headers == [*expected, (b"vary", b"Origin")]
    assert fields(ask(app, query=b"vary=accept"), b"vary") == [(b"vary", b"accept, Origin")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"allow_origins": ["*"]}, b"*"),
        ({"allow_origins": ["*"], "allow_credentials": True}, b"http://a.example"),
        ({"allow_origins": ["http://a.example"]}, b"http://a.example"),
        ({"allow_origin_regex": "http://.*"}, b"http://a.example"),
        ({"allow_origins": ["http://b.example"]}, None),
    ],
)
def test_an_origin_is_answered_as_the_options_say(options: Any, expected: bytes | None) -> None:
    for path in ("/", "/json"):
        answer = ask(make_app(**options), path, headers=[ORIGIN])
        assert fields(answer, b"access-control-allow-origin", b"vary") == [
            *([] if expected is None else [(b"access-control-allow-origin", expected)]),
            (b"vary", b"Origin"),
        ]


def test_a_preflight_request_is_answered_by_the_middleware() -> None:
    asks = (b"access-control-request-method", b"GET")
    answer = ask(make_app(allow_origins=["*"]), "/", "OPTIONS", headers=[ORIGIN, asks])
    assert (answer.status, answer.body) == (200, b"OK")
    assert ask(make_app(allow_origins=["*"]), "/", "OPTIONS", headers=[ORIGIN]).status == 405


def test_the_origin_is_looked_up_when_the_response_starts() -> None:
    class Adding:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["headers"].append(ORIGIN)
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(Adding)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    answer = ask(app)
    assert fields(answer, b"access-control-allow-origin") == [
        (b"access-control-allow-origin", b"*")
    ]


def test_a_subclass_of_the_middleware_keeps_its_methods() -> None:
    class Own(CORSMiddleware):
        def is_allowed_origin(self, origin: str) -> bool:
            return origin.endswith(".example")

    app = FastAPI()
    app.add_middleware(Own, allow_origins=["http://only"])
    answer = ask(app, headers=[ORIGIN])
    assert fields(answer, b"access-control-allow-origin") == [
        (b"access-control-allow-origin", b"http://a.example")
    ]


def test_what_is_sent_may_be_sent_by_a_task() -> None:
    class ByTask:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                await asyncio.create_task(send(message))

            await self.app(scope, receive, sending)

    app = FastAPI()
    app.add_middleware(ByTask)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])

    @app.get("/")
    async def root() -> dict[str, int]:
        return {"a": 1}

    answer = ask(app)
    assert answer.error is None
    assert fields(answer, b"vary") == [(b"vary", b"Origin")]
    assert answer.body == b'{"a":1}'


def test_what_is_sent_to_looks_as_the_middlewares_own() -> None:
    seen: list[str] = []

    class Seeing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(repr(send))
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(Seeing)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    ask(app, headers=[ORIGIN])
    (text,) = seen
    headers = Headers(raw=[(b"host", b"test"), ORIGIN])
    middleware = "<starlette.middleware.cors.CORSMiddleware object at 0x[0-9a-f]+>"
    pattern = f"functools.partial\\(<bound method CORSMiddleware.send of {middleware}>, send=<.*>, "
    pattern += re.escape(f"request_headers={headers!r})")
    assert re.fullmatch(pattern, text)


class NoExceptionError(BaseException):
    """As a cancellation, it is not an `Exception`."""


def with_middleware(dispatch: Any) -> FastAPI:
    app = FastAPI()
    app.middleware("http")(dispatch)

    @app.get("/")
    async def root() -> dict[str, int]:
        return {"a": 1}

    @app.get("/fails")
    async def fails() -> None:
        raise NoExceptionError

    @app.get("/waits")
    async def waits() -> None:
        await anyio.sleep_forever()

    return app


def test_a_body_can_be_read_once() -> None:
    read: list[Any] = []

    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        if "x-read" in request.headers:
            read.append([chunk async for chunk in response.body_iterator])
        kept.append(response)
        return response  # type: ignore[no-any-return]

    kept: list[Any] = []
    app = with_middleware(dispatch)
    assert ask(app, headers=[(b"x-read", b"1")]).body == b""
    assert read == [[b'{"a":1}']]

    async def again() -> list[Any]:
        answer = await asked(app)
        assert [each.get("body") for each in answer.messages[1:]] == [b'{"a":1}', b""]
        return [chunk async for chunk in kept[-1].body_iterator]

    assert anyio.run(again) == []


def test_a_request_is_freed_without_a_garbage_collection() -> None:
    requests: list[weakref.ref[Request]] = []

    async def dispatch(request: Request, call_next: Any) -> Response:
        requests.append(weakref.ref(request))
        return await call_next(request)  # type: ignore[no-any-return]

    app = with_middleware(dispatch)

    async def main() -> list[Request | None]:
        gc.disable()
        try:
            for _ in range(5):
                await asked(app)
            return [each() for each in requests]
        finally:
            gc.enable()

    assert anyio.run(main) == [None] * 5


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_leaves_nothing_to_the_garbage_collector(method: str, accelerated: bool) -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        return await call_next(request)  # type: ignore[no-any-return]

    app = with_middleware(dispatch)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])

    @app.post("/")
    async def post(body: dict[str, int]) -> dict[str, int]:
        return body

    async def main() -> int:
        body = {"a": 1} if method == "POST" else None
        for _ in range(3):
            assert (await asked(app, "/", method, json_body=body)).body == b'{"a":1}'
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await asked(app, "/", method, headers=[ORIGIN], json_body=body)
            await asyncio.sleep(0)
            return gc.collect()
        finally:
            gc.enable()

    # AnyIO's task groups keep the error of a task that they have cancelled.
    is_left_by_anyio = method == "POST" and not accelerated
    assert (anyio.run(main) > 0) is is_left_by_anyio


def test_asking_for_the_body_leaves_nothing_until_the_response_is_sent() -> None:
    futures: list[int] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def application(scope: Any, ask_for_more: Any, send: Any) -> None:
        for _ in range(2):
            for _ in range(100):
                assert await ask_for_more() == await receive()
            gc.collect()
            futures.append(sum(type(each) is asyncio.Future for each in gc.get_objects()))
        await PlainTextResponse("text")(scope, ask_for_more, send)

    anyio.run(passed, application, forward, receive)
    assert futures[1] - futures[0] < 10


async def forward(request: Request, call_next: Any) -> Response:
    return await call_next(request)  # type: ignore[no-any-return]


async def passed(application: Any, dispatch: Any, receive: Any = None) -> list[Any]:
    """What is sent for a request through a middleware to an application without FastAPI."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def disconnect() -> Any:
        return {"type": "http.disconnect"}

    middleware = BaseHTTPMiddleware(application, dispatch)
    scope = make_scope("GET", "/", b"", [])
    with anyio.fail_after(5):
        await middleware(scope, receive or disconnect, send)
    return sent


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (MemoryObjectReceiveStream, "close"),
        (MemoryObjectReceiveStream, "receive"),
        (MemoryObjectReceiveStream, "receive_nowait"),
        (MemoryObjectSendStream, "close"),
        (MemoryObjectSendStream, "send"),
        (MemoryObjectSendStream, "send_nowait"),
        (TaskHandle, "_run_coro"),
    ],
)
def test_what_is_patched_in_the_channel_is_called(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    app = with_middleware(forward)
    assert ask(app).body == b'{"a":1}'
    original = getattr(owner, name)

    def patched(*arguments: Any) -> Any:
        calls.append(name)
        return original(*arguments)

    monkeypatch.setattr(owner, name, patched)
    assert ask(app).body == b'{"a":1}'
    assert calls


def test_the_error_for_no_response_has_the_end_of_the_stream_for_its_reason() -> None:
    seen: list[Any] = []

    def note(error: BaseException) -> None:
        reasons = type(error.__cause__), type(error.__context__)
        seen.append((str(error), *reasons, error.__suppress_context__))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def dispatch(request: Request, call_next: Any) -> Response:
        try:
            return await call_next(request)  # type: ignore[no-any-return]
        except RuntimeError as error:
            note(error)
            raise

    with pytest.raises(RuntimeError) as raised:
        anyio.run(passed, application, dispatch)
    note(raised.value)
    text = "No response returned."
    assert seen == [
        (text, type(None), anyio.EndOfStream, False),
        (text, anyio.EndOfStream, ExceptionGroup, True),
    ]


def test_a_body_that_the_middleware_has_closed_is_not_sent() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        await response.body_iterator.aclose()
        return response  # type: ignore[no-any-return]

    answer = ask(with_middleware(dispatch))
    assert [each.get("body") for each in answer.messages[1:]] == [b""]


def test_what_waits_to_be_sent_when_the_application_ends_is_withdrawn() -> None:
    errors: list[BaseException] = []

    async def main() -> list[Any]:
        told = anyio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def sending(send: Any) -> None:
            try:
                await send({"type": "http.response.body", "body": b"late", "more_body": True})
            except anyio.ClosedResourceError as error:
                errors.append(error)
            told.set()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            tasks.append(asyncio.create_task(sending(send)))
            for _ in range(5):
                await asyncio.sleep(0)

        async def dispatch(request: Request, call_next: Any) -> Response:
            response = await call_next(request)
            await told.wait()
            return response  # type: ignore[no-any-return]

        return await passed(application, dispatch)

    assert [each.get("body") for each in anyio.run(main)[1:]] == [b""]
    assert len(errors) == 1


def test_the_application_cannot_be_asked_when_the_request_is_over() -> None:
    kept: list[Callable[[], Awaitable[Any]]] = []
    runs: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        runs.append(scope["path"])

    async def dispatch(request: Request, call_next: Any) -> Response:
        kept.append(lambda: call_next(request))
        return PlainTextResponse("own")

    async def main() -> None:
        await passed(application, dispatch)
        with pytest.raises(RuntimeError, match=r"^This task group is not active; no new tasks"):
            await kept[0]()
        await asyncio.sleep(0)

    anyio.run(main)
    assert runs == []


def test_a_middleware_waits_for_what_is_begun_as_its_application_ends() -> None:
    events: list[str] = []
    begun: list[Any] = []

    async def main() -> None:
        async def dispatch(request: Request, call_next: Any) -> Response:
            def begin(_: Any) -> None:
                coroutine = call_next(request)
                coroutine.send(None)
                begun.append(coroutine)

            async def application(scope: Any, receive: Any, send: Any) -> None:
                if begun:
                    for _ in range(5):
                        await asyncio.sleep(0)
                    events.append("second")
                    return
                task = asyncio.current_task()
                assert task is not None
                task.add_done_callback(begin)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while (await receive())["type"] != "http.disconnect":
                    pass
                for _ in range(5):
                    await asyncio.sleep(0)
                events.append("first")

            running.append(application)
            await call_next(request)
            return PlainTextResponse("own")

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await running[0](scope, receive, send)

        running: list[Any] = []
        await passed(application, dispatch)
        assert events == ["first", "second"]
        begun[0].close()

    anyio.run(main)


def test_a_middleware_may_ask_its_application_again() -> None:
    read: list[Any] = []

    async def dispatch(request: Request, call_next: Any) -> Response:
        first = await call_next(request)
        read.append([chunk async for chunk in first.body_iterator])
        return await call_next(request)  # type: ignore[no-any-return]

    assert ask(with_middleware(dispatch)).body == b'{"a":1}'
    assert read == [[b'{"a":1}']]


def test_a_response_that_is_not_sent_ends_its_application() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        await call_next(request)
        return PlainTextResponse("other")

    answer = ask(with_middleware(dispatch))
    assert (answer.error, answer.body) == (None, b"other")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_cancelled_scope_around_middlewares_reaches_the_endpoint(depth: int) -> None:
    events: list[str] = []

    async def dispatch(request: Request, call_next: Any) -> Response:
        try:
            return await call_next(request)  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    app = with_middleware(dispatch)
    if depth == 2:
        app.middleware("http")(dispatch)

    async def main() -> tuple[bool, bool]:
        with anyio.move_on_after(0.05) as scope:
            await asked(app, "/waits")
        # The scope that was around is the task's own again.
        with anyio.move_on_after(5) as other:
            answer = await asked(app)
        assert answer.body == b'{"a":1}'
        return scope.cancelled_caught, other.cancelled_caught

    assert anyio.run(main) == (True, False)
    assert events == ["cancelled"] * depth


def test_an_application_goes_on_when_its_middleware_has_lost_patience() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        with anyio.move_on_after(0.02):
            return await call_next(request)  # type: ignore[no-any-return]
        return PlainTextResponse("late", 504)

    sent: list[Any] = []

    async def main() -> bool:
        async def on_send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 2:
                stop.deadline = anyio.current_time() + 0.05

        with anyio.fail_after(5), anyio.CancelScope() as stop:
            await asked(with_middleware(dispatch), "/waits", on_send=on_send)
        return stop.cancelled_caught

    assert anyio.run(main)
    assert sent[0]["status"] == 504


def test_an_error_that_is_no_exception_is_raised_beside_the_middlewares() -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        return await call_next(request)  # type: ignore[no-any-return]

    with pytest.raises(BaseExceptionGroup) as raised:
        ask(with_middleware(dispatch), "/fails")
    # The middleware is told first that there will be no response.
    assert [type(each) for each in raised.value.exceptions] == [RuntimeError, NoExceptionError]
