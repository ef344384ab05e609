"""Nothing is lost: clients of all kinds run while processes are rolled, recycled, scaled, killed
and reloaded.

Short here; `make chaos` sets `CHAOS_ROUNDS=100` and watches the rate as well.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import Start
from support.chaos import Clients
from support.processes import wait_for_started, worker_pids
from support.server import TESTS, Server

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
RATE_MIN = 2000
"""Requests a second that the long version must have seen."""
APP = "support.chaos_app:app"

pytestmark = pytest.mark.timeout(60 + 10 * ROUNDS)


def check(clients: Clients, began_at: float) -> None:
    seconds = time.monotonic() - began_at
    rate = clients.total() / seconds
    print(f"{clients.total()} requests, {rate:.0f}/s, {len(clients.lost)} lost: {clients.answered}")
    assert not clients.lost, clients.lost[:20]
    for kind, count in clients.answered.items():
        assert count > 0, kind
    if ROUNDS >= 100:
        assert rate >= RATE_MIN, rate


def test_rolling_restarts_lose_nothing(start: Start) -> None:
    server = start(APP, "--workers", "2", "--no-access-log")
    wait_for_started(server, 2)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        for _ in range(ROUNDS):
            since = server.stderr.count()
            server.signal(signal.SIGHUP)
            wait_for_started(server, 2, since)
            clients.wait_for_answers(200)
    check(clients, began_at)


def test_recycled_workers_lose_nothing(start: Start) -> None:
    server = start(
        APP, "--workers", "2", "--no-access-log",
        "--limit-max-requests", "500", "--limit-max-requests-jitter", "100",
    )  # fmt: skip
    wait_for_started(server, 2)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        wait_for_started(server, 2 + ROUNDS, timeout_s=20 + 2 * ROUNDS)
    check(clients, began_at)


def test_workers_that_come_and_go_lose_nothing(start: Start) -> None:
    server = start(APP, "--workers", "2", "--no-access-log")
    wait_for_started(server, 2)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        for _ in range(ROUNDS):
            since = server.stderr.count()
            server.signal(signal.SIGTTIN)
            wait_for_started(server, 1, since)
            clients.wait_for_answers(200)
            server.signal(signal.SIGTTOU)
            server.stderr.wait_for("Terminated child process", since=since)
            clients.wait_for_answers(200)
    check(clients, began_at)


def test_killed_workers_lose_only_what_they_had(start: Start) -> None:
    server = start(APP, "--workers", "2", "--no-access-log")
    wait_for_started(server, 2)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        for _ in range(ROUNDS):
            clients.wait_for_answers(200)
            since = server.stderr.count()
            victim = random.choice(worker_pids(server))
            clients.will_kill(victim)
            os.kill(victim, signal.SIGKILL)
            wait_for_started(server, 1, since)
    check(clients, began_at)


def test_reloads_lose_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchfiles")
    module = tmp_path / "reloaded_app.py"
    shutil.copy(TESTS / "support" / "chaos_app.py", module)
    server = start(
        "reloaded_app:app", "--reload", "--reload-dir", str(tmp_path), "--no-access-log",
        environment={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    wait_for_started(server, 1)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        for _ in range(ROUNDS):
            since = server.stderr.count()
            module.touch()
            wait_for_started(server, 1, since)
            clients.wait_for_answers(200)
    check(clients, began_at)


@pytest.mark.skipif(ROUNDS < 100, reason="part of `make chaos`")
def test_everything_at_once_loses_nothing(start: Start) -> None:
    server = start(
        APP, "--workers", "3", "--no-access-log",
        "--limit-max-requests", "5000", "--limit-max-requests-jitter", "2000",
    )  # fmt: skip
    wait_for_started(server, 3)
    chance = random.Random(20)
    with Clients(server.port) as clients:
        began_at = time.monotonic()
        for _ in range(ROUNDS):
            act(server, clients, chance)
            clients.wait_for_answers(chance.randrange(50, 1500))
    check(clients, began_at)


def act(server: Server, clients: Clients, chance: random.Random) -> None:
    signals = [signal.SIGHUP, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGKILL]
    number = chance.choice(signals)
    if number is not signal.SIGKILL:
        server.signal(number)
    elif len(pids := worker_pids(server)) > 1:
        victim = chance.choice(pids)
        clients.will_kill(victim)
        os.kill(victim, signal.SIGKILL)
