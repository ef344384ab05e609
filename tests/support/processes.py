"""A server of several processes under test: who they are, and when they serve."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from support.server import WAIT_S_MAX, Server


def wait_until(condition: Callable[[], bool], *, what: str, timeout_s: float = WAIT_S_MAX) -> None:
    """Returns once the condition holds."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"still not: {what}"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The processes that this one has started, zombies left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and parent_of(int(name)) == pid:
            found.append(int(name))
    return found


def descendants(pid: int) -> list[int]:
    mine = children(pid)
    return mine + [each for child in mine for each in descendants(child)]


def parent_of(pid: int) -> int | None:
    """None for a process that does not run."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def is_running(pid: int) -> bool:
    return parent_of(pid) is not None


def wait_until_gone(pids: list[int], within_s: float = WAIT_S_MAX) -> None:
    wait_until(lambda: not any(map(is_running, pids)), what="all are gone", timeout_s=within_s)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def worker_pids(server: Server) -> list[int]:
    """The children that serve or are about to."""
    return [each for each in children(server.pid) if "resource_tracker" not in command_line(each)]


def started_pids(server: Server, since: int = 0) -> list[int]:
    """The processes that have said that they serve, oldest first."""
    lines = [line for line in server.stderr.all(since) if "Started server process" in line]
    return [int(line.partition("[")[2].partition("]")[0]) for line in lines]


def wait_for_started(
    server: Server, count: int, since: int = 0, *, timeout_s: float = WAIT_S_MAX
) -> list[int]:
    """The processes that have started since, once there are so many and all serve."""

    def serve() -> bool:
        ready = [x for x in server.stderr.all(since) if "Application startup complete" in x]
        return len(ready) >= count

    wait_until(serve, what=f"{count} processes serve", timeout_s=timeout_s)
    return started_pids(server, since)


def wait_for_answers(server: Server, count: int) -> set[int]:
    """Returns once so many processes have answered: they say that they serve just before."""
    seen: set[int] = set()

    def all_answer() -> bool:
        seen.add(int(server.get("/pid")))
        return len(seen) >= count

    wait_until(all_answer, what=f"{count} processes answer")
    return seen
