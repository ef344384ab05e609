"""What counts as a request that has been answered: for `total_requests` and the limit on them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from pronghorn import Config, Server
from support.streams import StreamWire
from support.wire import ClosedError, TruncatedError, Wire

Client = Callable[[Any], None]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Fails before, within or after its answer, as the path says."""
    if scope["path"] == "/before":
        raise ValueError("on purpose")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    if scope["path"] == "/within":
        raise ValueError("on purpose")
    await send({"type": "http.response.body"})
    if scope["path"] == "/after":
        raise ValueError("on purpose")


def ask(target: str, status: int, method: str = "GET") -> Client:
    def client(wire: Any) -> None:
        wire.send_request(method, target)
        assert wire.response(method).status == status

    return client


def ask_for_half(wire: Any) -> None:
    wire.send_request("GET", "/within")
    # Over HTTP/2, the reset may take the head with it.
    with pytest.raises((TruncatedError, ClosedError)):
        wire.response()


async def counted(version: str, client: Client, **options: Any) -> int:
    """What a server has counted when the client is done."""
    server = Server(Config(app, port=0, lifespan="off", log_level="critical", **options))
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        address = server.servers[0].sockets[0].getsockname()

        def talk() -> None:
            with Wire(address) if version == "http1" else StreamWire(address) as wire:
                client(wire)

        await asyncio.to_thread(talk)
        return server.server_state.total_requests
    finally:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, 10)


@pytest.mark.parametrize("version", ["http1", "http2"])
@pytest.mark.parametrize(
    ("client", "count"),
    [
        (ask("/", 200), 1),
        (ask("/before", 500), 1),
        (ask_for_half, 0),
        (ask("/after", 200), 1),
        (ask("/files/a.txt", 200), 1),
        (ask("/files/a.txt", 200, "HEAD"), 1),
        (ask("/files/none", 404), 1),
    ],
    ids=["whole", "before", "half", "after", "file", "file-head", "no-file"],
)
def test_whole_answers_count(version: str, client: Client, count: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    options = {"static": [f"/files={tmp_path}"], "access_log": False}
    assert asyncio.run(counted(version, client, **options)) == count


@pytest.mark.parametrize("version", ["http1", "http2"])
def test_refusals_for_concurrency_count(version: str) -> None:
    assert asyncio.run(counted(version, ask("/", 503), limit_concurrency=1)) == 1


def test_static_answers_reach_the_limit_on_requests(start_spoken: Start, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    options = ("--static", f"/files={tmp_path}", "--limit-max-requests", "5")
    server = start_spoken("support.apps:app", *options)
    for _ in range(5):
        assert server.get("/files/a.txt") == b"a"
    server.stderr.wait_for("Maximum request limit of 5 exceeded")
    assert server.wait() == 0
