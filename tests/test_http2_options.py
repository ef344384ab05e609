"""Options that bound or end requests, where many share an HTTP/2 connection."""

from __future__ import annotations

import ast
import contextlib
import re
import signal

from conftest import Start
from support.endpoints_script import script
from support.http2 import (
    GOAWAY,
    NO_ERROR,
    PING,
    RST_STREAM,
    GoneError,
    Peer,
    ResetError,
)
from support.remote import wait_for_waiting

APP = "support.apps:app"
TERM = signal.SIGTERM


def settle(peer: Peer) -> None:
    """Returns once the server has looked at what was sent before."""
    peer.send(PING, 0, 0, b"12345678")
    peer.wait_for(PING)


def test_limit_on_concurrency_counts_streams(start: Start, key: str) -> None:
    server = start(APP, "--limit-concurrency", "4")
    with Peer(server.address) as peer:
        waiting = [peer.request("GET", f"/wait/{key}") for _ in range(2)]
        leaving = [peer.request("GET", script(key, ("until-disconnect",))) for _ in range(2)]
        response = peer.get("/")
        assert (response.status, response.body) == (503, b"Service Unavailable")
        # The others are none the worse for it.
        for number in leaving:
            peer.send(RST_STREAM, 0, number, b"\0\0\0\x08")
        while peer.get(f"/open/{key}").status != 200:
            pass
        for number in waiting:
            assert peer.response(number).body == b"opened"
    server.stderr.wait_for("WARNING: +Exceeded concurrency limit.")
    server.stdout.wait_for(r'"GET / HTTP/2" 503')


def test_requests_up_to_the_limit_are_answered_and_the_server_ends(start: Start) -> None:
    server = start(APP, "--limit-max-requests", "20")
    with Peer(server.address) as peer:
        numbers = [peer.request("GET", "/delay/100/late") for _ in range(20)]
        for number in numbers:
            assert peer.response(number).body == b"late"
        assert peer.wait_for_goaway().code == NO_ERROR
        assert peer.goaway is not None
        assert peer.goaway.last_stream == numbers[-1]
    assert server.wait() == 0
    server.stderr.wait_for("Maximum request limit of 20 exceeded. Terminating process.")


def test_requests_that_hang_are_cancelled_after_the_graceful_timeout(
    start: Start, key: str
) -> None:
    server = start(APP, "--timeout-graceful-shutdown", "1")
    with Peer(server.address) as peer:
        numbers = [peer.request("GET", f"/wait/{key}") for _ in range(3)]
        wait_for_waiting(server, key, 3)
        server.signal(TERM)
        for number in numbers:
            with contextlib.suppress(ResetError, GoneError):
                assert peer.response(number).status == 500
    assert server.wait() == -TERM
    server.stderr.wait_for("Cancel 3 running task\\(s\\), timeout graceful shutdown exceeded")


def test_request_that_crosses_the_shutdown_is_answered(start: Start) -> None:
    server = start(APP)
    with Peer(server.address) as peer:
        first = peer.request("GET", "/delay/500/late")
        settle(peer)
        server.signal(TERM)
        # The client does not know of the end yet, or does and has sent this before.
        peer.wait_for(GOAWAY)
        second = peer.request("GET", "/")
        assert peer.response(first).body == b"late"
        with contextlib.suppress(ResetError):
            assert peer.response(second).status == 200
        goaway = peer.wait_for_goaway()
        assert goaway.code == NO_ERROR
        answered = peer.answers[second].ended
        assert goaway.last_stream == (second if answered else first)
    assert server.wait() == -TERM


def test_forwarding_fields_of_an_untrusted_peer_can_be_stripped(start: Start) -> None:
    server = start(APP, "--strip-untrusted-forwarded", "--forwarded-allow-ips", "10.0.0.1")
    fields = ("forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-other")
    with Peer(server.address) as peer:
        # One at a time: each has to be noticed by itself.
        for name in fields:
            scope = ast.literal_eval(peer.get("/scope", (name, "for=1.2.3.4")).body.decode())
            assert (name.encode() in dict(scope["headers"])) == (name == "x-other")


def test_line_of_each_stream_is_written_once(start: Start, key: str) -> None:
    server = start(APP)
    with Peer(server.address) as peer:
        for number in [peer.request("GET", f"/scope/{index}") for index in range(50)]:
            assert peer.response(number).status == 200
        cut = peer.request("GET", script(key, ("until-disconnect",)))
        settle(peer)
        peer.send(RST_STREAM, 0, cut, b"\0\0\0\x08")
        peer.assert_open()
    server.stdout.wait_for(r'"GET / HTTP/2" 200 OK')
    lines = [line for line in server.stdout.all() if "/scope/" in line]
    assert len(lines) == 50
    assert all(re.search(r'"GET /scope/\d+ HTTP/2" 200 OK$', line) for line in lines)
