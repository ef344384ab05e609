"""SIGTERM at any moment: the server is gone within its graceful timeout and a second, always.

A few moments here; `make chaos` takes 200.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import ssl
import subprocess
import time
from pathlib import Path

import hpack
import pytest
from conftest import Start
from support import frames
from support.http2 import END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS
from support.http2 import frame as http2_frame
from support.processes import descendants, wait_until_gone
from support.server import TESTS, Server, command
from support.tls import Certificates, TLSSocket
from support.wire import connect, request

MOMENTS = 200 if int(os.environ.get("CHAOS_ROUNDS", "4")) >= 100 else 9
GRACE_S = 0.5
APP = "support.apps_processes:in_thread"
KINDS: dict[str, tuple[tuple[str, ...], int]] = {
    "single": ((), -signal.SIGTERM),
    "workers": (("--workers", "2"), 0),
    "reload": (("--reload",), 0),
}
"""Its options, and the code that it ends with."""
TRANSPORTS = ["plain", "tls"]
MOMENTS_EACH = -(-MOMENTS // (len(KINDS) * (len(TRANSPORTS) + 1)))

pytestmark = pytest.mark.timeout(60 + 10 * MOMENTS_EACH)


def upgrade(target: str) -> bytes:
    return frames.handshake(target, host="localhost")


def http2_request(method: str, target: str, *, stream: int = 1, flags: int = END_STREAM) -> bytes:
    pseudo = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", target)]
    return http2_frame(HEADERS, END_HEADERS | flags, stream, hpack.Encoder().encode(pseudo))


HTTP1 = [
    b"",
    b"GET / HTTP/1.1\r\nHo",
    request("GET", "/"),
    request("GET", "/thread"),
    # An event stream.
    request("GET", "/print-when-cancelled"),
    request("POST", "/echo", "Content-Length: 10") + b"hello",
    request("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhe",
    request("GET", "/large/10000000/1000000"),
    request("GET", "/delay/300/a") * 3,
    upgrade("/echo"),
    upgrade("/echo")[:-2],
    upgrade("/echo") + frames.frame(frames.TEXT, b"hello")[:-2],
]
BEGUN = PREFACE + http2_frame(SETTINGS, 0, 0)
HTTP2 = [
    PREFACE[:10],
    BEGUN,
    BEGUN + http2_request("GET", "/"),
    BEGUN + http2_request("GET", "/thread"),
    BEGUN + http2_request("GET", "/print-when-cancelled"),
    BEGUN + http2_request("POST", "/echo", flags=0),
    BEGUN + http2_request("GET", "/large/10000000/1000000"),
    BEGUN + b"".join(http2_request("GET", "/delay/300/a", stream=n) for n in (1, 3, 5)),
    BEGUN + http2_request("GET", "/")[:-3],
]


def begin_something(
    stack: contextlib.ExitStack,
    server: Server,
    client: ssl.SSLContext | None,
    chance: random.Random,
) -> None:
    """Leaves a connection somewhere in a handshake or a request."""
    speaks_http2 = chance.random() < 0.4
    opening = chance.choice(HTTP2 if speaks_http2 else HTTP1)
    raw = stack.enter_context(connect(server.address))
    if client is None:
        raw.sendall(opening)
        return
    client.set_alpn_protocols(["h2" if speaks_http2 else "http/1.1"])
    tls = TLSSocket(raw, client)
    if chance.random() < 0.4:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.session.do_handshake()
        hello = tls.outgoing.read()
        raw.sendall(hello[: chance.randrange(len(hello) + 1)])
        return
    tls.handshake()
    tls.sendall(opening)


def end_in_time(process: subprocess.Popen[bytes]) -> int:
    """Its exit code."""
    began_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(GRACE_S + 10)
    took_s = time.monotonic() - began_at
    assert took_s <= GRACE_S + 1, f"{took_s:.2f} s"
    return code


def options_of(kind: str, directory: Path) -> list[str]:
    options = [*KINDS[kind][0], "--timeout-graceful-shutdown", str(GRACE_S), "--no-access-log"]
    return [*options, "--reload-dir", str(directory)] if kind == "reload" else options


def some_chance() -> random.Random:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
def test_server_ends_in_time_at_any_moment(
    start: Start, certificates: Certificates, tmp_path: Path, kind: str, transport: str
) -> None:
    chance = some_chance()
    options = options_of(kind, tmp_path)
    client = certificates.client() if transport == "tls" else None
    if client:
        options += certificates.issue("localhost", file="ends").options
    for _ in range(MOMENTS_EACH):
        server = start(APP, *options)
        # A supervisor says where it listens before it handles signals.
        server.stderr.wait_for("Started server process")
        with contextlib.ExitStack() as stack:
            for _ in range(chance.randrange(12)):
                begin_something(stack, server, client, chance)
            time.sleep(chance.random() * 0.1)  # the moment
            family = descendants(server.pid)
            assert end_in_time(server.process) == KINDS[kind][1]
            wait_until_gone(family, within_s=2)


@pytest.mark.parametrize("kind", KINDS)
def test_server_ends_in_time_while_it_starts(tmp_path: Path, kind: str) -> None:
    chance = some_chance()
    arguments = [*command(), APP, "--app-dir", str(TESTS), "--port", "0"]
    for _ in range(MOMENTS_EACH):
        process = subprocess.Popen(
            arguments + options_of(kind, tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.random() * 1.2)  # the moment
        # Before it handles signals, one simply ends it.
        assert end_in_time(process) in (-signal.SIGTERM, 0)
