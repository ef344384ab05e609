"""SIGTERM at any moment: the server is gone within its graceful timeout and a second, always.

A few moments here; `make chaos` takes 200.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest
from conftest import Start
from support.server import TESTS, command
from support.wire import Wire, request

MOMENTS = 200 if int(os.environ.get("CHAOS_ROUNDS", "4")) >= 100 else 8
GRACE_S = 0.5
APP = "support.apps_processes:in_thread"
OPTIONS = ("--timeout-graceful-shutdown", str(GRACE_S), "--no-access-log")
CODES = {"1": -signal.SIGTERM, "2": 0}

pytestmark = pytest.mark.timeout(60 + 5 * MOMENTS)

UPGRADE = request(
    "GET", "/echo", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
OPENINGS = [
    b"",
    b"GET / HTTP/1.1\r\nHo",
    request("GET", "/"),
    request("GET", "/thread"),
    request("GET", "/print-when-cancelled"),
    request("POST", "/echo", "Content-Length: 10") + b"hello",
    request("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhe",
    request("GET", "/large/10000000/1000000"),
    request("GET", "/delay/300/a") * 3,
    UPGRADE,
    UPGRADE[:-2],
]


def end_in_time(process: subprocess.Popen[bytes], workers: str) -> None:
    began_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code = process.wait(GRACE_S + 10)
    took_s = time.monotonic() - began_at
    assert took_s <= GRACE_S + 1, f"{took_s:.2f} s"
    assert code == CODES[workers]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_ends_in_time_at_any_moment(start: Start, workers: str) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(MOMENTS // 4):
        server = start(APP, "--workers", workers, *OPTIONS)
        with contextlib.ExitStack() as stack:
            for _ in range(chance.randrange(12)):
                wire = stack.enter_context(Wire(server.address))
                wire.send(chance.choice(OPENINGS))
            time.sleep(chance.random() * 0.1)  # the moment
            end_in_time(server.process, workers)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_server_ends_in_time_while_it_starts(workers: str) -> None:
    chance = random.Random()
    for _ in range(MOMENTS // 4):
        process = subprocess.Popen(
            [
                *command(),
                APP,
                "--app-dir",
                str(TESTS),
                "--port",
                "0",
                "--workers",
                workers,
                *OPTIONS,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.random() * 0.8)  # the moment
        began_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        # Before it handles signals, one simply ends it.
        assert process.wait(GRACE_S + 10) in (-signal.SIGTERM, 0)
        assert time.monotonic() - began_at <= GRACE_S + 1
