"""Nothing is lost: clients of all kinds run while processes are rolled, recycled, scaled, killed
and reloaded.

Short here; `make chaos` sets `CHAOS_ROUNDS=100` and watches the rate as well.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from support.chaos import Clients
from support.processes import wait_for_started, wait_until, worker_pids
from support.server import TESTS, Server
from support.tls import Certificates

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
RATE_MIN = 2000
"""Requests a second that the long version must have seen while workers are replaced."""
APP = "support.chaos_app:app"

READ = "Read the TLS certificate again"

pytestmark = pytest.mark.timeout(60 + 10 * ROUNDS)


@contextlib.contextmanager
def clients_of(
    server: Server, *, rate_min: float = 0, may_be_late: bool = False
) -> Iterator[Clients]:
    """Clients that run during the block, none of which may lose anything."""
    with Clients(server.port, server.client_context, may_be_late=may_be_late) as clients:
        began_at = time.monotonic()
        yield clients
    rate = clients.total() / (time.monotonic() - began_at)
    print(f"{clients.total()} requests, {rate:.0f}/s, {len(clients.lost)} lost, ", end="")
    print(f"{clients.late} sent late: {clients.answered}")
    assert not clients.lost, clients.lost[:20]
    for kind, count in clients.answered.items():
        assert count > 0, kind
    if ROUNDS >= 100:
        assert rate >= rate_min, rate


def start_workers(start: Start, count: int, *options: str) -> Server:
    server = start(APP, "--workers", str(count), "--no-access-log", *options)
    wait_for_started(server, count)
    return server


def kill_one(server: Server, clients: Clients, chance: random.Random) -> None:
    victim = chance.choice(worker_pids(server))
    clients.will_kill(victim)
    os.kill(victim, signal.SIGKILL)


def test_rolling_restarts_lose_nothing(start: Start) -> None:
    server = start_workers(start, 2)
    with clients_of(server, rate_min=RATE_MIN) as clients:
        for _ in range(ROUNDS):
            since = server.stderr.count()
            server.signal(signal.SIGHUP)
            wait_for_started(server, 2, since)
            clients.wait_for_answers(200)


def test_restarts_that_are_overtaken_by_another_lose_nothing(start: Start) -> None:
    server = start_workers(start, 2)
    with clients_of(server) as clients:
        for _ in range(ROUNDS):
            since = server.stderr.count()
            server.signal(signal.SIGHUP)
            wait_for_started(server, 1, since)
            server.signal(signal.SIGHUP)
            wait_for_started(server, 3, since)
            clients.wait_for_answers(200)


def test_recycled_workers_lose_nothing(start: Start) -> None:
    limits = ("--limit-max-requests", "500", "--limit-max-requests-jitter", "100")
    server = start_workers(start, 2, *limits)
    with clients_of(server, rate_min=RATE_MIN):
        wait_for_started(server, 2 + ROUNDS, timeout_s=20 + 2 * ROUNDS)


def test_workers_that_come_and_go_lose_nothing(start: Start) -> None:
    server = start_workers(start, 2)
    with clients_of(server) as clients:
        for _ in range(ROUNDS):
            since = server.stderr.count()
            server.signal(signal.SIGTTIN)
            wait_for_started(server, 1, since)
            clients.wait_for_answers(200)
            server.signal(signal.SIGTTOU)
            server.stderr.wait_for("Terminated child process", since=since)
            clients.wait_for_answers(200)


def test_killed_workers_lose_only_what_they_had(start: Start) -> None:
    server = start_workers(start, 2)
    with clients_of(server) as clients:
        for _ in range(ROUNDS):
            clients.wait_for_answers(200)
            since = server.stderr.count()
            kill_one(server, clients, random.Random())
            wait_for_started(server, 1, since)


def test_reloads_lose_nothing(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    module = tmp_path / "reloaded_app.py"
    shutil.copy(TESTS / "support" / "chaos_app.py", module)
    server = start(
        "reloaded_app:app", "--reload", "--reload-dir", str(tmp_path), "--no-access-log",
        environment={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    wait_for_started(server, 1)
    # The old process closes idle connections soon, or it would answer with old code.
    with clients_of(server, may_be_late=True) as clients:
        for _ in range(ROUNDS):
            since = server.stderr.count()
            module.touch()
            wait_for_started(server, 1, since)
            clients.wait_for_answers(200)


def test_certificates_that_change_lose_nothing(start: Start, certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="chaos")
    options = ("--workers", "2", "--no-access-log", *files.options)
    server = start(APP, *options, client_context=certificates.client())
    wait_for_started(server, 2)
    with clients_of(server) as clients:
        # Files that have changed are read when they have been at rest for a second.
        for number in range(max(4, ROUNDS // 4)):
            since = server.stderr.count()
            certificates.issue("localhost", file="chaos")
            if number % 2:
                # Its processes read the files when they start.
                server.signal(signal.SIGHUP)
                wait_for_started(server, 2, since)
            else:
                wait_until(lambda n=since: server.stderr.text(n).count(READ) >= 2, what=READ)  # type: ignore[misc]
            clients.wait_for_answers(200)


@pytest.mark.skipif(ROUNDS < 100, reason="part of `make chaos`")
def test_everything_at_once_loses_nothing(start: Start) -> None:
    limits = ("--limit-max-requests", "5000", "--limit-max-requests-jitter", "2000")
    server = start_workers(start, 3, *limits)
    chance = random.Random(20)
    with clients_of(server) as clients:
        for _ in range(ROUNDS):
            act(server, clients, chance)
            clients.wait_for_answers(chance.randrange(50, 1500))


def act(server: Server, clients: Clients, chance: random.Random) -> None:
    signals = [signal.SIGHUP, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGKILL]
    number = chance.choice(signals)
    if number is not signal.SIGKILL:
        server.signal(number)
    elif len(worker_pids(server)) > 1:
        kill_one(server, clients, chance)
