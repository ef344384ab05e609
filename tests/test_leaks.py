"""A hundred thousand connections and requests leave memory, descriptors and objects as they were.

The figures are the process's own (`/process`), taken after a collection. The slack is stated; a
leak of a hundred bytes a connection is twice as much.
"""

from __future__ import annotations

import contextlib
import os
import platform
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Start, loops
from support.remote import literal
from support.server import Server
from support.tls import Certificates, TLSSocket
from support.wire import connect, request

pytestmark = pytest.mark.timeout(120)

COUNT = 100_000
WARM_UP = 5_000
RSS_SLACK_BYTES = 5 << 20
OBJECTS_SLACK = 300
TLS_COUNT = int(os.environ.get("PRONGHORN_TEST_TLS_CONNECTIONS", "3000"))
MEDIUM_OBJECTS = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        [bytes(10_000) for _ in range(400)]
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
"""
BATCH = 400  # below the backlog, so that no connection has to be tried again


def figures(server: Server, descriptors: int | None = None) -> dict[str, int]:
    """The process's figures once its connections are gone."""
    until = time.monotonic() + 15
    while True:
        found: dict[str, int] = literal(server, "/process")
        gone = found["tasks"] <= 4 and (descriptors is None or found["descriptors"] <= descriptors)
        if gone:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


def assert_flat(
    server: Server, run: Callable[[int], None], count: int = COUNT, warm_up: int = WARM_UP
) -> None:
    """`run` with a count may cost something at first, and nothing after that."""
    server.barrier()
    idle = figures(server)
    run(warm_up)
    before = figures(server, idle["descriptors"])
    run(count)
    after = figures(server, idle["descriptors"])
    grown = {name: after[name] - before[name] for name in before}
    assert grown["rss_bytes"] < RSS_SLACK_BYTES, grown
    assert grown["objects"] < OBJECTS_SLACK, grown
    assert grown["descriptors"] <= 0, grown


@pytest.fixture(params=loops())
def own(request: pytest.FixtureRequest, start: Start) -> Server:
    options = ("--no-access-log", "--timeout-keep-alive", "600", "--loop", request.param)
    return start("support.apps:app", *options)


@pytest.mark.strict
def test_connections_that_are_reset_leave_nothing(own: Server) -> None:
    # What had been sent when the client was gone, in turn.
    moments = [
        b"",
        b"GET / HTTP/1.1\r\nHo",
        request("GET", "/"),
        request("GET", "/") * 3,
        request("POST", "/echo", "Content-Length: 10") + b"hello",
        request("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhe",
        request("GET", "/delay/1/a"),
        request("POST", "/ignore-body", "Content-Length: 1000") + b"hello",
        b"oops\r\n\r\n",
        request("POST", "/echo", "Content-Length: 5", "Expect: 100-continue"),
    ]
    rare = request("GET", "/large/5000000/500000")

    def reset(count: int) -> None:
        for number in range(count):
            wire = own.connect()
            data = rare if number % 500 == 499 else moments[number % len(moments)]
            if data:
                wire.socket.sendall(data)
            if number % BATCH == BATCH - 1:
                own.barrier()
            wire.reset()

    assert_flat(own, reset)


def test_requests_leave_nothing(own: Server) -> None:
    block = b"".join(
        [
            request("GET", "/"),
            request("GET", "/nowhere/a%20b?c=d", "Accept: */*", "User-Agent: tests"),
            request("POST", "/echo", body=b"x" * 100),
            request("POST", "/echo", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
            request("GET", "/delay/0/answer"),
        ]
    )
    blocks = 20
    ending = b"answer"

    def ask(count: int) -> None:
        requests = blocks * 5
        for _ in range(count // (requests * 10)):
            with own.connect() as wire:
                for _ in range(10):
                    wire.send(block * blocks)
                    received = b""
                    while received.count(b"HTTP/1.1 ") < requests or not received.endswith(ending):
                        data = wire.socket.recv(1 << 18)
                        assert data
                        received += data
                    assert received.count(b"HTTP/1.1 200 OK") == requests * 4 // 5

    assert_flat(own, ask)


@pytest.mark.strict
def test_tls_connections_leave_nothing(start: Start, certificates: Certificates) -> None:
    files, context = certificates.issue("localhost", file="leaks"), certificates.client()
    options = ("--no-access-log", "--timeout-keep-alive", "600", *files.options)
    server = start("support.apps:app", *options, client_context=context)
    garbage = b"\x17\x03\x03\x00\x20" + bytes(32)

    def leave_within_the_greeting(tls: TLSSocket) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.session.do_handshake()
        tls.raw.sendall(tls.outgoing.read()[:200])

    def leave_within_the_handshake(tls: TLSSocket) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.session.do_handshake()
        tls.flush()

    def leave_after_the_handshake(tls: TLSSocket) -> None:
        tls.handshake()

    def leave_with_garbage(tls: TLSSocket) -> None:
        tls.handshake()
        tls.raw.sendall(garbage)

    def leave_after_an_answer(tls: TLSSocket) -> None:
        tls.handshake()
        tls.sendall(request("GET", "/", "Connection: close"))
        while tls.recv(1 << 16):
            pass

    def leave_within_an_answer(tls: TLSSocket) -> None:
        tls.handshake()
        tls.sendall(request("GET", "/large/1000000/1000000"))
        tls.recv(1)

    def leave_in_plain_text(tls: TLSSocket) -> None:
        tls.raw.sendall(request("GET", "/"))

    ways = [
        leave_within_the_greeting,
        leave_within_the_handshake,
        leave_after_the_handshake,
        leave_with_garbage,
        leave_after_an_answer,
        leave_within_an_answer,
        leave_in_plain_text,
    ]

    def leave(count: int) -> None:
        for number in range(count):
            with contextlib.closing(TLSSocket(connect(server.address), context)) as tls:
                ways[number % len(ways)](tls)

    # A session is some 20 KB and dozens of objects.
    assert_flat(server, leave, TLS_COUNT, TLS_COUNT // 4)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others decide for themselves")
def test_freed_memory_is_not_asked_for_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(MEDIUM_OBJECTS)
    server = start("small:app", "--app-dir", str(tmp_path), "--no-access-log")

    def run(count: int) -> None:
        with server.connect() as wire:
            for _ in range(count):
                wire.send_request("GET", "/")
                assert wire.response().status == 204

    run(20)
    before = server.page_faults()
    run(20)
    # Else each of them costs nine hundred.
    assert server.page_faults() - before < 200
