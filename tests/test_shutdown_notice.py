"""Open responses at shutdown: applications that wait for their client to leave are told in time."""

from __future__ import annotations

import signal
import time

import pytest
from conftest import Start
from support.endpoints_script import body_message, script, start_message
from support.remote import wait_for_record
from support.server import Server

TERM = signal.SIGTERM
pytestmark = pytest.mark.strict


def seconds_to_end(server: Server) -> float:
    began = time.monotonic()
    server.signal(TERM)
    assert server.wait() == -TERM
    return time.monotonic() - began


def cancelled(server: Server) -> bool:
    return "timeout graceful shutdown exceeded" in server.stderr.text()


def test_event_stream_ends_before_the_grace_period_does(start: Start, key: str) -> None:
    server = start(
        "support.apps:app",
        *("--timeout-graceful-shutdown", "6", "--timeout-shutdown-notice", "5"),
    )
    with server.connect() as wire:
        # The last thing that an application says still goes out.
        steps = [
            ("send", start_message()),
            ("send", body_message(b"event", True)),
            ("until-disconnect",),
            ("send", body_message(b"bye", True)),
        ]
        wire.send_request("GET", script(key, *steps))
        wire.head()
        wire.read_until(b"event\r\n")
        assert 2.9 < seconds_to_end(server) < 5, "told when half of the grace period was over"
        assert wire.read_all() == b"3\r\nbye\r\n", "it must not look whole"
    assert not cancelled(server)


def test_request_whose_body_is_missing_is_told(start: Start, key: str) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "2")
    with server.connect() as wire:
        wire.send(
            b"POST /messages/%b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx" % key.encode()
        )
        wait_for_record(server, key, {"type": "http.request", "body": b"x", "more_body": True})
        assert seconds_to_end(server) < 1.9
    assert not cancelled(server)


def test_response_that_needs_no_client_is_finished(start: Start, key: str) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "3")
    with server.connect() as wire:
        steps = [("send", start_message()), ("sleep", 2.0), ("send", body_message(b"whole"))]
        wire.send_request("GET", script(key, *steps))
        server.barrier()
        server.signal(TERM)
        assert wire.response().body == b"whole"
        assert server.wait() == -TERM
    assert not cancelled(server)


@pytest.mark.parametrize("path", ["/sse", "/streaming"])
def test_frameworks_streams_end_before_the_grace_period_does(start: Start, path: str) -> None:
    server = start("support.sse_app:app", "--timeout-graceful-shutdown", "2")
    with server.connect() as wire:
        wire.send_request("GET", path)
        wire.head()
        wire.read_until(b"tick")
        assert seconds_to_end(server) < 1.9
    assert not cancelled(server)
    assert "Traceback" not in server.stderr.text()
