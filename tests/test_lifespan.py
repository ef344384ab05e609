"""The lifespan protocol: what the application is told, and what it may answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pronghorn.config import Config
from pronghorn.lifespan import LifespanOff, LifespanOn

Lifespan = LifespanOn | LifespanOff
App = Callable[[Any, Any, Any], Awaitable[None]]

SUPPORTED = ["auto", "on"]


def made(app: App, mode: str) -> Lifespan:
    # Whether another test has imported FastAPI must not add a line.
    config = Config(app, lifespan=mode, accelerate="off")  # type: ignore[arg-type]
    config.load()
    return config.lifespan_class(config)


def run(app: App, mode: str = "auto") -> tuple[Lifespan, bool]:
    """Start and, if that worked, stop; the second value says whether it started."""

    async def main() -> tuple[Lifespan, bool]:
        lifespan = made(app, mode)
        await lifespan.startup()
        if lifespan.should_exit:
            return lifespan, False
        await lifespan.shutdown()
        return lifespan, True

    return asyncio.run(main())


async def polite(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["key"] = "value"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def ignorant(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("what is a lifespan?")


@pytest.mark.parametrize("mode", SUPPORTED)
def test_runs_startup_and_shutdown(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    lifespan, started = run(polite, mode)
    assert started
    assert not lifespan.should_exit
    assert lifespan.state == {"key": "value"}
    assert capsys.readouterr().err.splitlines() == [
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
    ]


def test_scope_is_that_of_the_specification() -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(dict(scope))
        await polite(scope, receive, send)

    run(app)
    assert scopes == [
        {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {"key": "value"},
        }
    ]


def test_off_never_calls_the_application() -> None:
    lifespan, started = run(ignorant, "off")
    assert started
    assert lifespan.state == {}


def test_auto_takes_an_exception_for_ignorance(capsys: pytest.CaptureFixture[str]) -> None:
    _, started = run(ignorant, "auto")
    assert started
    assert capsys.readouterr().err.splitlines() == [
        "INFO:     Waiting for application startup.",
        "INFO:     ASGI 'lifespan' protocol appears unsupported.",
        "INFO:     Application startup complete.",
    ]


def test_on_takes_an_exception_for_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    _, started = run(ignorant, "on")
    assert not started
    said = capsys.readouterr().err
    assert "ERROR:    Exception in 'lifespan' protocol" in said
    assert "what is a lifespan?" in said
    assert said.endswith("ERROR:    Application startup failed. Exiting.\n")


@pytest.mark.parametrize("mode", SUPPORTED)
def test_reported_startup_failure_ends_it(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("not to be logged again")

    lifespan, started = run(app, mode)
    assert not started
    assert isinstance(lifespan, LifespanOn)
    assert lifespan.startup_failed
    assert capsys.readouterr().err.splitlines()[1:] == [
        "ERROR:    no database",
        "ERROR:    Application startup failed. Exiting.",
    ]


@pytest.mark.parametrize("mode", SUPPORTED)
def test_reported_shutdown_failure_is_logged(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "lost it"})

    lifespan, started = run(app, mode)
    assert started
    assert lifespan.should_exit
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "ERROR:    lost it",
        "ERROR:    Application shutdown failed. Exiting.",
    ]


@pytest.mark.parametrize("mode", SUPPORTED)
def test_exception_after_startup_is_logged(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise RuntimeError("while stopping")

    lifespan, _ = run(app, mode)
    assert lifespan.should_exit == (mode == "on")
    assert "while stopping" in capsys.readouterr().err


def test_application_that_returns_at_once_has_started() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    lifespan, started = run(app, "on")
    assert started
    assert not lifespan.should_exit


@pytest.mark.parametrize(
    "messages",
    [
        ["lifespan.shutdown.complete"],
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["lifespan.startup.complete", "lifespan.startup.failed"],
        ["lifespan.startup.failed", "lifespan.startup.complete"],
        ["http.response.start"],
    ],
)
def test_message_out_of_turn_is_refused(messages: list[str]) -> None:
    caught: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            for kind in messages:
                await send({"type": kind})
        except RuntimeError as error:
            caught.append(error)

    run(app)
    assert "Got invalid state transition on lifespan protocol." in str(caught[0])


def test_exit_during_startup_is_not_swallowed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit) as caught:
        run(app)
    assert caught.value.code == 7


def test_abandoned_application_is_cancelled() -> None:
    async def main() -> bool:
        cancelled = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            try:
                await receive()
            finally:
                cancelled.set()

        lifespan = made(app, "on")
        await lifespan.startup()
        lifespan.abandon()
        return await asyncio.wait_for(cancelled.wait(), 5)

    assert asyncio.run(main())


def test_application_may_go_on_after_it_has_stopped() -> None:
    async def main() -> bool:
        finished = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await polite(scope, receive, send)
            await asyncio.sleep(0)
            finished.set()

        lifespan = made(app, "on")
        await lifespan.startup()
        await lifespan.shutdown()
        lifespan.abandon()
        return await asyncio.wait_for(finished.wait(), 5)

    assert asyncio.run(main())
