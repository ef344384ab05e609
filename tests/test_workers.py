"""Several workers: signals, lines and exit codes, deaths, silences, limits."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import Start
from support.processes import (
    children,
    descendants,
    is_running,
    wait_for_answers,
    wait_for_started,
    wait_until,
    wait_until_gone,
    worker_pids,
)
from support.server import Server

APP = "support.apps:app"


@pytest.fixture
def pair(start: Start) -> Server:
    """A server with two workers that serve."""
    server = start(APP, "--workers", "2")
    wait_for_started(server, 2)
    return server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(pair: Server, number: signal.Signals) -> None:
    pids = worker_pids(pair)
    pair.signal(number)
    assert pair.wait() == 0
    assert not [pid for pid in pids if is_running(pid)]
    said = pair.stderr.all()
    assert f"INFO:     Received {number.name}, exiting." in said
    assert f"INFO:     Started parent process [{pair.pid}]" in said
    assert said[-1] == f"INFO:     Stopping parent process [{pair.pid}]"
    for pid in pids:
        assert f"INFO:     Terminated child process [{pid}]" in said
        assert f"INFO:     Waiting for child process [{pid}]" in said
    assert pair.stdout.text().count("lifespan shutdown") == 2


def test_nothing_is_left_open_at_the_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "always::ResourceWarning")
    server = start(APP, "--workers", "2")
    wait_for_started(server, 2)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "ResourceWarning" not in server.stderr.text()


def test_killed_worker_is_replaced(pair: Server) -> None:
    victim, other = worker_pids(pair)
    since = pair.stderr.count()
    os.kill(victim, signal.SIGKILL)
    pair.stderr.wait_for(rf"Child process \[{victim}\] died", since=since)
    [new] = wait_for_started(pair, 1, since)
    assert sorted(worker_pids(pair)) == sorted([other, new])


def test_hangup_replaces_every_worker_ready_first(pair: Server) -> None:
    before = worker_pids(pair)
    since = pair.stderr.count()
    pair.signal(signal.SIGHUP)
    new = wait_for_started(pair, 2, since)
    wait_until(lambda: sorted(worker_pids(pair)) == sorted(new), what="the old ones are gone")
    assert not set(before) & set(new)
    # The parent says so after it has seen it.
    for pid in before:
        pair.stderr.wait_for(rf"Terminated child process \[{pid}\]", since=since)
    said = pair.stderr.all(since)
    assert said[0] == "INFO:     Received SIGHUP, restarting processes."
    # A line of the parent's and one of a worker's have no order, two of one process have.
    terminated = [line for line in said if "Terminated child process" in line]
    assert terminated == [f"INFO:     Terminated child process [{pid}]" for pid in sorted(before)]
    first_ready = said.index("INFO:     Application startup complete.")
    assert said.index(terminated[0]) > first_ready


def test_number_of_workers_goes_up_and_down(pair: Server) -> None:
    since = pair.stderr.count()
    pair.signal(signal.SIGTTIN)
    [third] = wait_for_started(pair, 1, since)
    pair.stderr.wait_for("Received SIGTTIN, increasing the number of processes.", since=since)
    for _ in range(2):
        count = len(worker_pids(pair))
        pair.signal(signal.SIGTTOU)
        wait_until(lambda n=count: len(worker_pids(pair)) == n - 1, what="one less")  # type: ignore[misc]
    assert not is_running(third)
    pair.signal(signal.SIGTTOU)
    pair.stderr.wait_for("Already reached one process, cannot decrease the number of processes")
    assert len(worker_pids(pair)) == 1


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_mean_nothing_to_the_parent(pair: Server, number: signal.Signals) -> None:
    before = worker_pids(pair)
    pair.signal(number)
    pair.signal(signal.SIGTTOU)  # one that is seen, after the other
    wait_until(lambda: len(worker_pids(pair)) == 1, what="the next signal is handled")
    assert set(worker_pids(pair)) <= set(before)


def test_killed_parent_leaves_nothing_behind(pair: Server) -> None:
    family = descendants(pair.pid)
    assert len(family) >= 2
    pair.process.kill()
    wait_until_gone(family, within_s=2)


def test_workers_share_connections_evenly(start: Start) -> None:
    server = start(APP, "--workers", "2", "--no-access-log")
    wait_for_answers(server, 2)
    wires = [server.connect() for _ in range(64)]
    counts: dict[bytes, int] = {}
    for wire in wires:
        wire.send_request("GET", "/pid")
        body = wire.response().body
        counts[body] = counts.get(body, 0) + 1
    for wire in wires:
        wire.close()
    assert sorted(map(int, counts)) == sorted(worker_pids(server))
    assert min(counts.values()) >= 26, counts


def test_parent_has_only_its_workers(pair: Server) -> None:
    assert len(children(pair.pid)) <= 3  # and multiprocessing's own helper
