"""Signals: what still finishes, what is cut, what is said, and the code that the process ends with.

A server may be asked to end at any moment and must end within a bound, whatever its clients and
applications do.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import Start
from support.endpoints_script import script
from support.remote import wait_for_waiting
from support.server import TESTS, Server
from support.wire import ClosedError, TruncatedError, Wire, request

TERM, INT = signal.SIGTERM, signal.SIGINT
strict = pytest.mark.strict


def stop(server: Server, number: signal.Signals = TERM) -> None:
    """Sends the signal and returns once the server has taken it."""
    since = server.stderr.count()
    server.signal(number)
    server.stderr.wait_for("Shutting down", since=since)


def wait_until_refusing(server: Server) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            Wire(server.address).close()
        except OSError:
            return
        assert time.monotonic() < until, "still listening"
        time.sleep(0.005)


# --- Codes and lines ---------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(TERM, -signal.SIGTERM), (INT, 0)])
def test_idle_server_ends_with_the_code_of_its_signal(
    start: Start, number: signal.Signals, code: int
) -> None:
    server = start("support.apps:app")
    server.signal(number)
    assert server.wait() == code


@pytest.mark.parametrize("number", [TERM, INT])
def test_shutdown_is_told_in_the_usual_lines(start: Start, number: signal.Signals) -> None:
    server = start("support.apps:app")
    since = server.stderr.count()
    server.signal(number)
    server.wait()
    assert server.stderr.all(since) == [
        "INFO:     Shutting down",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
        f"INFO:     Finished server process [{server.pid}]",
    ]
    assert server.stdout.all()[-1] == "lifespan shutdown"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_kill(start: Start, number: signal.Signals) -> None:
    server = start("support.apps:app")
    server.signal(number)
    assert server.wait() == -number
    assert "Shutting down" not in server.stderr.text()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "code"), [(TERM, -signal.SIGTERM), (INT, 0)])
def test_each_loop_ends_cleanly(start: Start, loop: str, number: signal.Signals, code: int) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = start("support.apps:app", "--loop", loop)
    with server.connect() as wire:
        wire.assert_open()
        server.signal(number)
        assert server.wait() == code
    assert "Traceback" not in server.stderr.text()


def test_server_that_is_kept_busy_ends(start: Start) -> None:
    server = start("support.apps:app", "--no-access-log")
    with server.connect() as wire:
        for _ in range(200):
            wire.send_request("GET", "/")
        server.signal(TERM)
        assert server.wait() == -TERM


# --- What finishes -----------------------------------------------------------------------------


def test_idle_connections_are_closed_at_once(start: Start) -> None:
    server = start("support.apps:app")
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(20)]
        for wire in wires:
            wire.assert_open()
        server.signal(TERM)
        for wire in wires:
            wire.assert_closed()
            assert not wire.was_reset
        assert server.wait() == -TERM


def test_connections_without_a_request_are_closed_at_once(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as silent, server.connect() as partial:
        partial.send(b"GET / HTTP/1.1\r\nHo")
        server.barrier()
        server.signal(TERM)
        silent.assert_closed()
        with contextlib.suppress(ClosedError):
            assert partial.response().status == 408
        assert server.wait() == -TERM


def test_request_under_way_is_answered_and_its_connection_closed(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 10") + b"hello")
        server.barrier()
        stop(server)
        server.stderr.wait_for("Waiting for connections to close. \\(CTRL\\+C to force quit\\)")
        wire.send(b"world")
        response = wire.response()
        assert response.body == b"helloworld"
        assert response.closes
        wire.assert_closed()
        assert server.wait() == -TERM
    assert server.stdout.all()[-1] == "lifespan shutdown"


def test_response_under_way_is_finished(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send(request("POST", "/echo-stream", "Content-Length: 10") + b"hello")
        wire.head()
        wire.read_until(b"hello\r\n")
        stop(server)
        wire.send(b"world")
        assert wire.read_until(b"0\r\n\r\n") == b"5\r\nworld\r\n0\r\n\r\n"
        wire.assert_closed()
        assert server.wait() == -TERM


def test_large_response_under_way_reaches_a_slow_reader(start: Start) -> None:
    server = start("support.apps:app")
    size = 3_000_000
    with Wire(server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", f"/large/{size}/100000")
        wire.head()
        stop(server)
        assert len(wire.read(size)) == size
        wire.assert_closed()
        assert server.wait() == -TERM


def test_new_connections_are_refused_while_the_old_ones_finish(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 1"))
        server.barrier()
        server.signal(TERM)
        wait_until_refusing(server)
        wire.send(b"x")
        assert wire.response().body == b"x"
        assert server.wait() == -TERM


def test_background_work_is_waited_for(start: Start) -> None:
    server = start("support.apps:app")
    assert server.get("/answer-then-linger/800") == b"answered"
    server.signal(TERM)
    server.stderr.wait_for("Waiting for background tasks to complete. \\(CTRL\\+C to force quit\\)")
    assert server.wait() == -TERM
    assert server.stdout.all()[-2:] == ["lingered", "lifespan shutdown"]


def test_client_that_leaves_lets_the_server_end(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("until-disconnect",)))
        server.barrier()
        stop(server)
    assert server.wait() == -TERM


# --- What is cut -------------------------------------------------------------------------------


def test_endless_stream_is_cancelled_after_the_graceful_timeout(start: Start) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "1")
    with server.connect() as wire:
        wire.send_request("GET", "/print-when-cancelled")
        wire.head()
        wire.read_until(b"tick")
        server.signal(TERM)
        assert server.wait() == -TERM
        rest = wire.read_all()
        assert not rest.endswith(b"0\r\n\r\n"), "the stream looks whole"
    assert "cancelled" in server.stdout.all()
    assert server.stdout.all()[-1] == "lifespan shutdown"
    expected = "ERROR:    Cancel 1 running task(s), timeout graceful shutdown exceeded"
    assert expected in server.stderr.all()


def test_request_that_hangs_is_cancelled_after_the_graceful_timeout(start: Start, key: str) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "1")
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(3)]
        for wire in wires:
            wire.send_request("GET", f"/wait/{key}")
        wait_for_waiting(server, key, 3)
        server.signal(INT)
        assert server.wait() == 0
        for wire in wires:
            with contextlib.suppress(ClosedError, TruncatedError):
                assert wire.response().status == 500
    server.stderr.wait_for("Cancel 3 running task\\(s\\), timeout graceful shutdown exceeded")


def test_head_that_never_ends_is_cut_and_told(start: Start) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "1")
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost:")
        server.barrier()
        server.signal(TERM)
        assert server.wait() == -TERM
    server.stderr.wait_for("Cancel 0 running task\\(s\\), timeout graceful shutdown exceeded")


def test_body_that_never_comes_does_not_hold_the_server(start: Start) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "1")
    with server.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 10") + b"hello")
        server.barrier()
        server.signal(TERM)
        assert server.wait() == -TERM


def test_client_that_does_not_read_does_not_hold_the_server(start: Start) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "1")
    with Wire(server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", "/large/50000000/1000000")
        wire.head()
        server.signal(TERM)
        assert server.wait() == -TERM


def test_second_sigint_forces(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", f"/wait/{key}")
        wait_for_waiting(server, key)
        stop(server, INT)
        server.stderr.wait_for("Waiting for connections to close.")
        server.signal(INT)
        assert server.wait() == 0
    assert "lifespan shutdown" not in server.stdout.all()


@strict
def test_second_sigterm_forces(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", f"/wait/{key}")
        wait_for_waiting(server, key)
        stop(server, TERM)
        server.stderr.wait_for("Waiting for connections to close.")
        server.signal(TERM)
        assert server.wait() == -TERM
    assert "lifespan shutdown" not in server.stdout.all()


def test_sigint_forces_after_sigterm(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", f"/wait/{key}")
        wait_for_waiting(server, key)
        stop(server, TERM)
        server.stderr.wait_for("Waiting for connections to close.")
        server.signal(INT)
        # Both signals are raised again, the last one first.
        assert server.wait() in (0, -TERM)


@pytest.mark.parametrize("moment", range(0, 11, 2))
def test_server_ends_at_any_moment_of_a_mixture(start: Start, key: str, moment: int) -> None:
    server = start("support.apps:app", "--timeout-graceful-shutdown", "0")
    opening = [
        request("GET", "/print-when-cancelled"),
        request("GET", f"/wait/{key}"),
        request("POST", "/echo", "Content-Length: 10") + b"hello",
        request("POST", "/echo", "Transfer-Encoding: chunked") + b"5\r\nhe",
        request("GET", "/large/10000000/1000000"),
        request("GET", "/delay/5/a") * 10,
        request("GET", script(key, ("until-disconnect",))),
        request("GET", "/answer-then-linger/10000"),
        b"GET / HTTP/1.1\r\nHos",
        b"",
    ]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in opening]
        for wire, data in zip(wires[:moment], opening[:moment], strict=True):
            wire.send(data)
        server.barrier()
        server.signal(TERM)
        for wire, data in zip(wires[moment:], opening[moment:], strict=True):
            wire.send(data)
        assert server.wait() == -TERM


SCRIPT = """
import sys, time
import pronghorn

sys.path.insert(0, sys.argv[1])
pronghorn.run("support.apps:app", port=0, timeout_graceful_shutdown=0)
time.sleep(1.5)  # what it has to clean up
print("cleaned up", flush=True)
"""


@strict
def test_script_goes_on_after_the_server_for_as_long_as_it_likes() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(TESTS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    server = Server("support.apps:app", process)
    server.wait_until_running()
    server.signal(INT)
    assert server.wait() == 0
    assert server.stdout.all()[-2:] == ["lifespan shutdown", "cleaned up"]
    server.end()


@strict
def test_thread_that_runs_on_does_not_hold_the_command(start: Start) -> None:
    options = ("--timeout-graceful-shutdown", "0.5")
    server = start("support.apps_processes:in_thread", *options)
    with server.connect() as wire:
        wire.send_request("GET", "/thread")
        server.barrier()
        server.signal(INT)
        assert server.wait() == 0
    assert server.stdout.all()[-1] == "lifespan shutdown"


# --- Sockets -----------------------------------------------------------------------------------


def test_port_can_be_used_again_at_once(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.assert_open()
        server.signal(TERM)  # the server closes first, so the port is in TIME_WAIT
        wire.assert_closed()
    server.wait()
    again = start("support.apps:app", listen=["--host", "127.0.0.1", "--port", str(server.port)])
    assert again.get("/") == b"hello"


def test_connection_that_comes_with_the_signal_is_answered_or_refused(start: Start) -> None:
    server = start("support.apps:app")
    address = server.address
    assert isinstance(address, tuple)
    with contextlib.ExitStack() as stack:
        sockets = []
        server.signal(TERM)
        for _ in range(50):
            try:
                sockets.append(stack.enter_context(socket.create_connection(address, 5)))
            except OSError:
                break
            with contextlib.suppress(OSError):
                sockets[-1].sendall(request("GET", "/"))
        for one in sockets:
            with contextlib.suppress(ConnectionError):
                received = one.recv(1 << 16)
                assert received == b"" or received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.wait() == -TERM
