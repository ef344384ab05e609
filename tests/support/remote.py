"""What a test asks the test application through requests of their own: records, gates, figures."""

from __future__ import annotations

import ast
import time
from typing import Any

from support.server import WAIT_S_MAX, Server


def literal(server: Server, target: str, *fields: str) -> Any:
    """The Python value that an endpoint answers with."""
    return ast.literal_eval(server.get(target, *fields).decode())


def records(server: Server, key: str) -> list[Any]:
    found: list[Any] = literal(server, f"/records/{key}")
    return found


def wait_for_records(server: Server, key: str, count: int = 1) -> list[Any]:
    """The records under the key once there are so many."""
    until = time.monotonic() + WAIT_S_MAX
    while True:
        found = records(server, key)
        if len(found) >= count:
            return found
        assert time.monotonic() < until, f"only {found} after {WAIT_S_MAX} s"
        time.sleep(0.005)


def wait_for_record(server: Server, key: str, record: object) -> list[Any]:
    """The records under the key once this one is among them."""
    until = time.monotonic() + WAIT_S_MAX
    while True:
        found = records(server, key)
        if record in found:
            return found
        assert time.monotonic() < until, f"no {record} in {found} after {WAIT_S_MAX} s"
        time.sleep(0.005)


def open_gate(server: Server, name: str) -> None:
    assert server.get(f"/open/{name}") == b"open"


def wait_for_waiting(server: Server, name: str, count: int = 1) -> None:
    """Returns once at least so many requests wait at the gate."""
    until = time.monotonic() + WAIT_S_MAX
    while literal(server, f"/waiting/{name}") < count:
        assert time.monotonic() < until, f"nothing waits at gate {name}"
        time.sleep(0.005)
