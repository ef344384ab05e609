"""Plain functions run in threads: with AnyIO's limits, contexts and rules of cancellation.

Also Trio, where all of it has to work through AnyIO itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from fastapi import Depends, FastAPI, Request, Response
from fastapi.testclient import TestClient

from accelerator.ask import ask, asked

pytestmark = pytest.mark.usefixtures("accelerated")
TURNS_MAX = 2000


async def until(condition: Any) -> None:
    """Wait for a condition that another thread makes true."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.001)


def test_the_limiter_bounds_how_many_run_and_counts_them() -> None:
    app = FastAPI()
    gate = threading.Event()
    running: list[int] = []

    @app.get("/")
    def root() -> str:
        running.append(1)
        gate.wait(20)
        running.pop()
        return "x"

    async def main() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        assert limiter.total_tokens == 40
        limiter.total_tokens = 3
        async with anyio.create_task_group() as group:
            for _ in range(7):
                group.start_soon(asked, app)
            await until(lambda: len(running) == 3)
            await until(lambda: limiter.statistics().tasks_waiting == 4)
            assert limiter.borrowed_tokens == 3
            assert len(running) == 3
            gate.set()
        assert limiter.borrowed_tokens == 0

    anyio.run(main)


def test_a_thread_calls_back_into_the_loop() -> None:
    app = FastAPI()

    async def in_loop(number: int) -> int:
        await anyio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        return number + 1

    @app.get("/")
    def root() -> list[Any]:
        limiter = anyio.from_thread.run_sync(anyio.to_thread.current_default_thread_limiter)
        return [
            anyio.from_thread.run(in_loop, 1),
            limiter.borrowed_tokens,
            threading.current_thread().name,
        ]

    assert ask(app).json == [2, 1, "AnyIO worker thread"]


@pytest.mark.parametrize("error", [StopIteration(3), StopAsyncIteration(3), KeyError("k")])
def test_what_a_thread_raises(error: Exception) -> None:
    app = FastAPI()

    @app.get("/")
    def root() -> None:
        raise error

    raised = ask(app).error
    if isinstance(error, StopIteration):
        assert type(raised) is RuntimeError
        assert raised.__cause__ is error
    else:
        assert raised is error


def test_a_cancel_scope_waits_for_the_thread() -> None:
    app = FastAPI()
    events: list[str] = []
    gate = threading.Event()

    @app.get("/")
    def root() -> str:
        events.append("started")
        gate.wait(20)
        events.append("ended")
        return "x"

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(asked, app)
                await until(lambda: events == ["started"])
                scope.cancel()
                threading.Timer(0.05, gate.set).start()
        events.append("left")

    anyio.run(main)
    assert events == ["started", "ended", "left"]


def test_a_native_cancellation_does_not_wait() -> None:
    app = FastAPI()
    gate = threading.Event()
    events: list[str] = []

    @app.get("/")
    def root() -> str:
        events.append("started")
        gate.wait(20)
        return "x"

    async def main() -> None:
        task = asyncio.create_task(asked(app))
        await until(lambda: events == ["started"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("left")
        gate.set()

    asyncio.run(main())
    assert events == ["started", "left"]


def test_a_cancelled_endpoint_runs_the_shielded_exits() -> None:
    app = FastAPI()
    events: list[str] = []

    async def dependency() -> Any:
        try:
            yield
        finally:
            await anyio.sleep(0.001)
            events.append("cleaned up")

    def in_thread() -> Any:
        yield
        events.append("not reached")

    @app.get("/", dependencies=[Depends(dependency)])
    async def root() -> None:
        events.append("started")
        await anyio.sleep_forever()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(asked, app)
            await until(lambda: "started" in events)
            group.cancel_scope.cancel()

    anyio.run(main)
    assert events == ["started", "cleaned up"]


def test_requests_in_parallel_keep_their_dependencies_apart() -> None:
    app = FastAPI()

    def in_thread(q: int) -> int:
        time.sleep(0.001 * (q % 3))
        return q

    async def generator(q: int) -> Any:
        await anyio.sleep(0.001 * (q % 2))
        yield q

    @app.get("/")
    def root(q: int, a: int = Depends(in_thread), b: int = Depends(generator)) -> list[int]:
        return [q, a, b]

    async def main() -> None:
        async def one(number: int) -> None:
            answer = await asked(app, query=f"q={number}".encode())
            assert answer.json == [number] * 3

        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(one, number)

    anyio.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_client_on_both_backends(backend: Any) -> None:
    app = FastAPI()
    events: list[str] = []

    @app.middleware("http")
    async def middleware(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-middleware"] = "1"
        return response

    async def generator() -> Any:
        yield "async"
        events.append("async exit")

    def in_thread() -> Any:
        yield "thread"
        events.append("thread exit")

    @app.get("/plain")
    def plain(a: str = Depends(generator), b: str = Depends(in_thread)) -> list[str]:
        return [a, b]

    @app.get("/coroutine")
    async def coroutine(a: str = Depends(generator), b: str = Depends(in_thread)) -> list[str]:
        await anyio.sleep(0)
        return [a, b]

    with TestClient(app, backend=backend) as client:
        for path in ("/plain", "/coroutine"):
            answer = client.get(path)
            assert answer.json() == ["async", "thread"]
            assert answer.headers["x-middleware"] == "1"
    assert events == ["thread exit", "async exit"] * 2


def test_trio_refuses_an_endpoint_that_returns_a_coroutine() -> None:
    app = FastAPI()
    made: list[Any] = []

    async def nothing() -> None: ...

    @app.get("/", response_model=str)
    def root() -> Any:
        made.append(nothing())
        return made[-1]

    with (
        TestClient(app, backend="trio") as client,
        pytest.raises(TypeError, match="Trio expected a sync function"),
    ):
        client.get("/")
    assert len(made) == 1
    made[0].close()
