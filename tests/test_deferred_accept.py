"""New connections wait in the kernel for their first bytes while many come, and only then."""

from __future__ import annotations

import socket
import sys
import time

import pytest
from pronghorn.listeners import DEFERRED_ACCEPTS_PER_TICK, DeferredAccept, Listener, TCPAddress
from support.server import serve

STORM_S_MAX = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_DEFER_ACCEPT is Linux's")


def is_deferred(listening: socket.socket) -> bool:
    return listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0


def test_it_is_on_while_many_connections_come() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        deferred = DeferredAccept([Listener([listening], TCPAddress("127.0.0.1", 0))])
        accepted = DEFERRED_ACCEPTS_PER_TICK - 1
        deferred.observe(accepted)
        assert not is_deferred(listening)
        accepted += DEFERRED_ACCEPTS_PER_TICK
        deferred.observe(accepted)
        assert is_deferred(listening)
        accepted += DEFERRED_ACCEPTS_PER_TICK - 1
        deferred.observe(accepted)
        assert not is_deferred(listening)


def test_a_silent_connection_in_a_storm_is_served_when_it_speaks() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        listening.set_inheritable(True)
        number = listening.fileno()
        with serve(
            "support.apps:app",
            listen=("--fd", str(number)),
            pass_fds=[number],
            quiet_at=listening.getsockname(),
        ) as server:
            until = time.monotonic() + STORM_S_MAX
            while not is_deferred(listening):
                assert time.monotonic() < until, "never deferred"
                for _ in range(2 * DEFERRED_ACCEPTS_PER_TICK):
                    socket.create_connection(listening.getsockname()).close()
            with server.connect() as silent:
                server.barrier()
                silent.send_request("GET", "/")
                assert silent.response().status == 200


def test_connections_that_come_at_leisure_are_accepted_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        deferred = DeferredAccept([Listener([listening], TCPAddress("127.0.0.1", 0))])
        for tick in range(20):
            deferred.observe(tick * (DEFERRED_ACCEPTS_PER_TICK - 1))
            assert not is_deferred(listening)
