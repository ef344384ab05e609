"""`Server` as a program uses it: inside a running loop, next to others, patched and polled."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pronghorn
import pytest
from pronghorn import Config, Server
from pronghorn.lifespan import LifespanOn

WAIT_S_MAX = 10.0


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["lifespan"] = "seen"
        for _ in range(2):
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


class Gate:
    """An application whose requests wait; `entered` and `cancelled` tell how they fare."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await hello(scope, receive, send)
            return
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await hello(scope, receive, send)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():
            await asyncio.sleep(0.005)


def address_of(server: Server) -> Any:
    return server.servers[0].sockets[0].getsockname()


async def get(server: Server, path: str = "/", *fields: str) -> bytes:
    """The whole response to a request on a connection of its own."""
    host, port = address_of(server)[:2]
    reader, writer = await asyncio.open_connection(host, port)
    lines = [f"GET {path} HTTP/1.1", "host: x", "connection: close", *fields, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        async with asyncio.timeout(WAIT_S_MAX):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(app: Any = hello, **options: Any) -> AsyncIterator[Server]:
    """A server in this loop, gracefully ended at the end of the block."""
    server = Server(Config(app, port=0, **options))
    async with running(server):
        yield server


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done())
        yield server
        server.should_exit = True
        async with asyncio.timeout(WAIT_S_MAX):
            await task
    finally:
        task.cancel()


def in_loop(body: Callable[[], Awaitable[None]]) -> None:
    """Run an async test; with its own loop, as signals and contexts need one."""

    async def main() -> None:
        await body()

    asyncio.run(main())


def open_sockets() -> list[str]:
    # Not every descriptor: uvloop keeps a pipe for the life of the process.
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            if target.startswith(("socket:", "anon_inode:")):
                found.append(target)
    return found


@pytest.fixture
def no_leaked_descriptors() -> Iterator[None]:
    before = open_sockets()
    yield
    gc.collect()
    after = open_sockets()
    assert len(after) <= len(before), after


pytestmark = pytest.mark.usefixtures("no_leaked_descriptors")


def test_serves_inside_a_running_loop(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        async with serving(accelerate="off") as server:
            assert (await get(server, "/a")).endswith(b"\r\n\r\n/a")
            host, port = address_of(server)
            assert host == "127.0.0.1"
            assert port > 0
        assert server.servers[0].sockets == ()

    in_loop(body)
    said = capsys.readouterr().err.splitlines()
    pid = os.getpid()
    assert said[:3] == [
        f"INFO:     Started server process [{pid}]",
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
    ]
    assert said[3].startswith("INFO:     Pronghorn running on http://127.0.0.1:")
    assert said[3].endswith(" (Press CTRL+C to quit)")
    assert said[4:] == [
        "INFO:     Shutting down",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
        f"INFO:     Finished server process [{pid}]",
    ]


def test_several_servers_share_a_loop() -> None:
    async def body() -> None:
        async with serving() as one, serving() as two:
            assert address_of(one) != address_of(two)
            assert (await get(one, "/1")).endswith(b"/1")
            assert (await get(two, "/2")).endswith(b"/2")
            assert one.server_state.total_requests == 1
            assert two.server_state.total_requests == 1

    in_loop(body)


def test_server_leaves_asyncio_as_it_was() -> None:
    async def body() -> None:
        changed = [vars(asyncio.get_running_loop())]
        if sys.version_info < (3, 12):
            changed.append(vars(asyncio.tasks._all_tasks))
        before = [set(each) for each in changed]
        async with serving() as one, serving() as two:
            assert (await get(one, "/1")).endswith(b"/1")
            assert (await get(two, "/2")).endswith(b"/2")
        assert [set(each) for each in changed] == before

    in_loop(body)


def test_thread_ends_a_server_in_another_thread() -> None:
    server = Server(Config(hello, port=0))
    thread = threading.Thread(target=server.run)
    thread.start()

    async def body() -> None:
        await until(lambda: server.started)
        assert (await get(server, "/x")).endswith(b"/x")

    try:
        in_loop(body)
    finally:
        server.should_exit = True
        thread.join(WAIT_S_MAX)
    assert not thread.is_alive()


def test_passed_sockets_are_served_and_closed(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        bound = [socket.socket(), socket.socket()]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        server = Server(Config(hello))
        task = asyncio.create_task(server.serve(sockets=bound))
        await until(lambda: server.started)
        assert [len(listener.sockets) for listener in server.servers] == [1, 1]
        for each in bound:
            reader, writer = await asyncio.open_connection(*each.getsockname())
            writer.write(b"GET /p HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"/p")
            writer.close()
            await writer.wait_closed()
        server.should_exit = True
        await task
        assert [each.fileno() for each in bound] == [-1, -1]

    in_loop(body)
    assert "running on" not in capsys.readouterr().err


def test_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def body() -> None:
        async with serving(uds=str(path)):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"/u")
            writer.close()
            await writer.wait_closed()

    in_loop(body)
    assert not path.exists()


def test_state_of_the_lifespan_reaches_requests() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(scope["state"])
        await hello(scope, receive, send)

    async def body() -> None:
        async with serving(app) as server:
            await get(server)
            await get(server)
            assert seen == [{"lifespan": "seen"}] * 2
            assert seen[0] is not seen[1]
            assert isinstance(server.lifespan, LifespanOn)

    in_loop(body)


def test_server_state_counts(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        gate = Gate()
        async with serving(gate) as server:
            state = server.server_state
            assert (state.total_requests, len(state.connections), state.tasks) == (0, 0, set())
            request = asyncio.create_task(get(server))
            await gate.entered.wait()
            assert len(state.connections) == 1
            (task,) = state.tasks
            assert isinstance(task, asyncio.Task)
            gate.open.set()
            await request
            await until(lambda: not state.connections and not state.tasks)
            assert [name for name, _ in state.default_headers] == [b"date", b"server"]
        assert state.total_requests == 1

    in_loop(body)


def test_request_limit_ends_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        server = Server(Config(hello, port=0, limit_max_requests=2))
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        await get(server)
        assert not await server.on_tick(1)
        await get(server)
        async with asyncio.timeout(WAIT_S_MAX):
            await task

    in_loop(body)
    said = capsys.readouterr().err
    assert "INFO:     Maximum request limit of 2 exceeded. Terminating process." in said


def test_jitter_of_the_request_limit_is_drawn_once() -> None:
    drawn = set()
    for _ in range(200):
        server = Server(Config(hello, limit_max_requests=10, limit_max_requests_jitter=3))
        drawn.add(server.limit_max_requests)
        assert server.limit_max_requests == server.limit_max_requests
    assert drawn == {10, 11, 12, 13}


def test_shutdown_waits_for_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        gate = Gate()
        async with serving(gate) as server:
            request = asyncio.create_task(get(server, "/late"))
            await gate.entered.wait()
            server.should_exit = True
            await until(lambda: not server.servers[0].sockets)
            gate.open.set()
            assert (await request).endswith(b"/late")

    in_loop(body)
    said = capsys.readouterr().err
    assert "INFO:     Waiting for connections to close. (CTRL+C to force quit)" in said


def test_grace_ends_with_cancellation(capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        gate = Gate()
        async with serving(gate, timeout_graceful_shutdown=0.2) as server:
            request = asyncio.create_task(get(server))
            await gate.entered.wait()
            server.should_exit = True
            await gate.cancelled.wait()
            await request

    in_loop(body)
    said = capsys.readouterr().err
    assert "ERROR:    Cancel 1 running task(s), timeout graceful shutdown exceeded" in said
    assert "INFO:     Application shutdown complete." in said


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_forced_exit_does_not_wait(again: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def body() -> None:
        gate = Gate()
        async with serving(gate) as server:
            request = asyncio.create_task(get(server))
            await gate.entered.wait()
            server.handle_exit(signal.SIGTERM, None)
            assert not server.force_exit
            server.handle_exit(again, None)
            assert server.force_exit
            server._captured_signals.clear()
            await request

    in_loop(body)
    assert "Waiting for application shutdown." not in capsys.readouterr().err


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_forced_exit_leaves_a_frozen_lifespan(phase: str) -> None:
    async def body() -> None:
        frozen = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            if phase == "shutdown":
                await send({"type": "lifespan.startup.complete"})
                await receive()
            frozen.set()
            await asyncio.Event().wait()

        server = Server(Config(app, port=0))
        task = asyncio.create_task(server.serve())
        if phase == "shutdown":
            await until(lambda: server.started)
        server.should_exit = True
        await frozen.wait()
        assert not task.done()
        server.force_exit = True
        async with asyncio.timeout(WAIT_S_MAX):
            await task
        assert server.started == (phase == "shutdown")

    in_loop(body)


def test_failed_startup_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no")

    server = Server(Config(app, port=0, lifespan="on"))
    with pytest.raises(SystemExit) as caught:
        server.run()
    assert caught.value.code == 3
    assert not server.started
    assert "ERROR:    Application startup failed. Exiting." in capsys.readouterr().err


def test_port_in_use_exits_with_3_after_a_clean_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server(Config(hello, port=taken.getsockname()[1]))
        with pytest.raises(SystemExit) as caught:
            server.run()
    assert caught.value.code == 3
    said = capsys.readouterr().err.splitlines()
    assert "error while attempting to bind on address ('127.0.0.1', " in said[-3]
    assert said[-2:] == [
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
    ]


def test_cancelled_server_leaves_nothing_open() -> None:
    async def body() -> None:
        server = Server(Config(hello, port=0))
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        host, port = address_of(server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.servers[0].sockets == ()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)

    in_loop(body)


def test_overridden_methods_are_called() -> None:
    calls: list[str] = []

    class Mine(Server):
        def install_signal_handlers(self) -> None:
            raise AssertionError("no longer called")

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            calls.append("capture_signals")
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            calls.append("startup")
            await super().startup(sockets)

        async def main_loop(self) -> None:
            calls.append("main_loop")
            await super().main_loop()

        async def on_tick(self, counter: int) -> bool:
            calls.append(f"on_tick {counter}")
            return await super().on_tick(counter)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            calls.append("shutdown")
            await super().shutdown(sockets)

    async def body() -> None:
        async with running(Mine(Config(hello, port=0))):
            await until(lambda: "on_tick 1" in calls)

    in_loop(body)
    assert calls[:5] == ["capture_signals", "startup", "main_loop", "on_tick 0", "on_tick 1"]
    assert calls[-1] == "shutdown"


def test_signals_are_handled_by_handle_exit_and_raised_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, int]] = []
    original = Server.handle_exit

    def patched(self: Server, sig: int, frame: FrameType | None) -> None:
        calls.append(("server", sig))
        original(self, sig, frame)

    def mine(sig: int, frame: FrameType | None) -> None:
        calls.append(("mine", sig))

    monkeypatch.setattr(Server, "handle_exit", patched)

    async def body() -> None:
        async with serving() as server:
            signal.raise_signal(signal.SIGTERM)
            await until(lambda: server.should_exit)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        in_loop(body)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [("server", signal.SIGTERM), ("mine", signal.SIGTERM)]


def test_notify_is_called_at_its_interval() -> None:
    async def body() -> None:
        calls: list[float] = []

        async def notify() -> None:
            calls.append(asyncio.get_running_loop().time())

        async with serving(callback_notify=notify, timeout_notify=30) as server:
            await until(lambda: calls)
            await server.on_tick(10)
            assert len(calls) == 1
            server.last_notified -= 31
            await server.on_tick(9)
            assert len(calls) == 1
            await server.on_tick(10)
            assert len(calls) == 2

    in_loop(body)


@pytest.mark.parametrize("is_reset", [False, True])
def test_reset_contextvars_hides_the_context_of_the_server(is_reset: bool) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(variable.get())
            variable.set("left over")
        await hello(scope, receive, send)

    async def body() -> None:
        variable.set("outer")
        async with serving(app, reset_contextvars=is_reset) as server:
            await get(server)
            await get(server)

    in_loop(body)
    assert seen == ["fresh" if is_reset else "outer"] * 2


def test_proxy_headers_rewrite_client_and_scheme() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["client"][0], scope["scheme"]))
        await hello(scope, receive, send)

    fields = ("x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https")

    async def body() -> None:
        async with serving(app) as server:
            await get(server, "/", *fields)
            await get(server, "/", fields[1])
            await get(server, "/")
        async with serving(app, proxy_headers=False) as server:
            await get(server, "/", *fields)
        async with serving(app, forwarded_allow_ips="10.0.0.1") as server:
            await get(server, "/", *fields)

    in_loop(body)
    assert seen == [
        ("1.2.3.4", "https"),
        ("127.0.0.1", "https"),
        ("127.0.0.1", "http"),
        ("127.0.0.1", "http"),
        ("127.0.0.1", "http"),
    ]


@pytest.mark.parametrize("nobody", ["", []], ids=["text", "list"])
def test_empty_list_of_proxies_trusts_nobody(nobody: Any) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["client"][0], scope["scheme"]))
        await hello(scope, receive, send)

    async def body() -> None:
        async with serving(app, forwarded_allow_ips=nobody) as server:
            await get(server, "/", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: https")

    in_loop(body)
    assert seen == [("127.0.0.1", "http")]


def test_headers_that_claim_to_be_a_proxys_are_stripped() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await hello(scope, receive, send)
            return
        names = b" ".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": names})

    fields = (
        "forwarded: for=1.2.3.4",
        "X-Forwarded-Host: evil",
        "X-Forwarded-For: 1.2.3.4",
        "x-real-ip: 1.2.3.4",
        "x_forwarded_for: 1.2.3.4",
        "x-mine: kept",
    )

    async def body() -> None:
        untrusting = {"strip_untrusted_forwarded": True, "forwarded_allow_ips": "10.0.0.1"}
        for options in (untrusting, {"strip_untrusted_forwarded": True, "proxy_headers": False}):
            async with serving(app, **options) as server:
                names = (await get(server, "/", *fields)).partition(b"\r\n\r\n")[2]
                assert names.split() == [b"host", b"connection", b"x-mine"]
        async with serving(app, strip_untrusted_forwarded=True) as server:
            assert b"x-forwarded-host" in await get(server, "/", *fields)

    in_loop(body)


def test_wsgi_application_is_served() -> None:
    pytest.importorskip("a2wsgi")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("content-type", "text/plain")])
        return [environ["PATH_INFO"].encode(), b" from wsgi"]

    async def body() -> None:
        async with serving(app, interface="wsgi") as server:
            response = await get(server, "/w")
            assert b"/w" in response
            assert b" from wsgi" in response
            # WSGI knows no WebSocket, so that the handshake is a request like any other.
            handshake = (
                "connection: upgrade",
                "upgrade: websocket",
                "sec-websocket-version: 13",
                f"sec-websocket-key: {'A' * 22}==",
            )
            response = await get(server, "/w", *handshake)
            assert response.startswith(b"HTTP/1.1 200 ")
            assert b" from wsgi" in response

    in_loop(body)


def test_program_can_set_a_lifespan_of_its_own() -> None:
    class Mine(LifespanOn):
        async def startup(self) -> None:
            await super().startup()
            self.state["lifespan"] = "mine"

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(scope["state"]["lifespan"])
        await hello(scope, receive, send)

    async def body() -> None:
        config = Config(app, port=0)
        config.load()
        config.lifespan_class = Mine
        async with running(Server(config)) as server:
            await get(server)

    in_loop(body)
    assert seen == ["mine"]


def test_program_can_take_the_steps_of_serving_itself() -> None:
    async def body() -> None:
        config = Config(hello, port=0)
        config.load()
        server = Server(config)
        # Twice, since a server can be started again.
        for _ in range(2):
            server.lifespan = config.lifespan_class(config)
            await server.startup()
            address = address_of(server)
            assert b"/step" in await get(server, "/step")
            asyncio.get_running_loop().call_soon(setattr, server, "should_exit", True)
            await server.main_loop()
            await server.shutdown()
            server.should_exit = False
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)

    in_loop(body)


def test_run_serves_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    servers: list[Server] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)

    original = Server.on_tick

    async def on_tick(self: Server, counter: int) -> bool:
        servers.append(self)
        self.should_exit = True
        return await original(self, counter)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "on_tick", on_tick)
        pronghorn.run(app, host="127.0.0.1", port=0)
    assert servers[0].started
    assert "Finished server process" in capsys.readouterr().err
