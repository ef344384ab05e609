"""Where the engine's parts meet: unread bodies, paused reads, resets, clocks and odd sockets.

Each test stands for a fault that was once found there. Every test runs on each event loop.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import re
import select
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Start, loops
from support.endpoints_script import Step, body_message, script, start_message
from support.processes import wait_until
from support.remote import (
    literal,
    open_gate,
    records,
    wait_for_record,
    wait_for_records,
    wait_for_waiting,
)
from support.server import Server
from support.wire import Wire, connect, request
from test_gathering import stop

pytestmark = pytest.mark.strict

# What "at once" may take on a busy machine; every clock of the server is set far behind it.
PROMPT_S_MAX = 2.0
OK: list[Step] = [
    ("send", start_message(200, (b"content-length", b"2"))),
    ("send", body_message(b"ok")),
]


@pytest.fixture(params=loops())
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(loop_server: Server) -> Server:
    assert loop_server.process.poll() is None, loop_server.stderr.text()
    return loop_server


@pytest.fixture
def own_server(start: Start, loop: str) -> Server:
    """A server that no other test has left anything behind on."""
    clocks = ("--timeout-keep-alive", "600", "--timeout-request-body", "30")
    return start("support.apps:app", "--no-access-log", "--loop", loop, *clocks)


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Returns once the condition holds, which must be soon."""
    end = time.monotonic() + PROMPT_S_MAX
    while not condition():
        assert time.monotonic() < end, f"not within {PROMPT_S_MAX} s: {what()}"
        time.sleep(0.005)


def assert_descriptors_return(server: Server, before: int) -> None:
    until(
        lambda: server.descriptor_count() <= before,
        lambda: f"{server.descriptor_count()} descriptors, {before} before",
    )


@contextlib.contextmanager
def sending(wire: Wire, data: bytes) -> Iterator[None]:
    """Sends in the background, for more data than the sockets hold."""
    thread = threading.Thread(target=wire.send, args=(data,), daemon=True)
    thread.start()
    yield
    thread.join(PROMPT_S_MAX)
    assert not thread.is_alive(), "the server did not take all of it"


def test_large_final_piece_lets_its_application_and_its_server_end(
    own_server: Server, key: str
) -> None:
    server, length = own_server, 20_000_000
    tasks = literal(server, "/process")["tasks"]
    with Wire(server.address, receive_buffer_bytes=65_536) as wire:
        wire.send_request("GET", f"/one-piece/{key}/{length}")
        wait_for_record(server, key, "sending")
        assert wire.head().status == 200
        for _ in range(4):
            wire.read(1_000_000)
            server.barrier()
        wire.read(length - 4_000_000)
        expected = ["sending", "sent", "background work done"]
        until(lambda: records(server, key) == expected, lambda: records(server, key))
        assert literal(server, "/process")["tasks"] == tasks
        server.signal(signal.SIGTERM)
        server.wait(PROMPT_S_MAX)
        wire.assert_closed()


@pytest.mark.parametrize("early", [0, 1_000, 65_536])
def test_unread_body_that_comes_after_its_answer_is_skipped(
    server: Server, key: str, early: int
) -> None:
    length = 65_536
    with server.connect() as wire:
        wire.send(request("POST", f"/wait/{key}", f"Content-Length: {length}") + b"x" * early)
        wait_for_waiting(server, key)
        server.barrier()
        open_gate(server, key)
        assert wire.response(deadline_s=PROMPT_S_MAX).body == b"opened"
        wire.send(b"x" * (length - early) + request("GET", "/delay/0/behind"))
        assert wire.response(deadline_s=PROMPT_S_MAX).body == b"behind"
        wire.assert_open()


def unacknowledged(wire: Wire) -> int:
    """Bytes that wait in the client's kernel: what was sent is not there at once."""
    count = array.array("i", [0])
    fcntl.ioctl(wire.socket.fileno(), termios.TIOCOUTQ, count)
    return count[0]


@pytest.mark.parametrize("length", [1_000, 100_000, 180_000])
def test_unread_body_that_came_before_its_answer_is_skipped(
    server: Server, key: str, length: int
) -> None:
    # Of the longest the server holds a part and the kernel the rest, with no more news of it.
    with server.connect() as wire:
        post = request("POST", f"/wait/{key}", f"Content-Length: {length}") + b"x" * length
        wire.send(post + request("GET", "/delay/0/behind"))
        wait_for_waiting(server, key)
        wait_until(lambda: unacknowledged(wire) == 0, what="the server's kernel has it all")
        server.barrier()
        open_gate(server, key)
        assert wire.response(deadline_s=PROMPT_S_MAX).body == b"opened"
        assert wire.response(deadline_s=PROMPT_S_MAX).body == b"behind"
        wire.assert_open()


def test_many_pipelined_requests_have_a_context_each(server: Server) -> None:
    count, since = 4_000, server.stderr.count()
    data = b"".join(request("GET", f"/context/{number}") for number in range(count))
    assert len(data) > 128 * 1024
    with server.connect() as wire:
        with sending(wire, data):
            for number in range(count):
                found = wire.response().body.decode()
                assert found == repr(("unset", str(number), str(number)))
        wire.assert_open()
    said = server.stderr.text(since)
    assert "Cannot enter into task" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize("reads", [False, True], ids=["reads nothing", "reads all"])
def test_client_that_pipelines_without_end_is_not_buffered(own_server: Server, reads: bool) -> None:
    server, total, sent = own_server, 20_000_000, 0
    data = request("GET", "/delay/1/x") * 2_000
    server.barrier()
    with server.connect() as wire:
        wire.assert_open()
        before = server.rss_bytes()
        wire.socket.setblocking(False)
        # Long enough for a server that takes all there is; one that does not takes little.
        end = time.monotonic() + 1.5
        while sent < total and time.monotonic() < end:
            readable, writable, _ = select.select(
                [wire.socket] if reads else [], [wire.socket], [], 0.5
            )
            if readable:
                assert wire.socket.recv(1 << 20)
            if writable:
                sent += wire.socket.send(data)
            if not readable and not writable:
                break
        grown = server.rss_bytes() - before
        assert grown < 16_000_000, f"{grown} bytes for {sent} from the client"
        server.barrier()
        wire.reset()


def test_client_that_leaves_within_its_unread_body_is_let_go(own_server: Server) -> None:
    server = own_server
    server.barrier()
    before = server.descriptor_count()
    for _ in range(20):
        with server.connect() as wire:
            wire.send(request("POST", "/ignore-body", "Content-Length: 1000") + b"0123456789")
            assert wire.response().body == b"early"
    assert_descriptors_return(server, before)


@pytest.mark.parametrize("length", [0, 1_000, 300_000])
def test_receive_in_another_task_learns_of_a_reset(server: Server, key: str, length: int) -> None:
    wire = server.connect()
    wire.send(request("POST", f"/receive-in-task/{key}", "Content-Length: 900000"))
    wait_for_waiting(server, key)
    wire.send(b"x" * length)
    server.barrier()
    wire.reset()
    server.barrier()
    open_gate(server, key)
    until(lambda: "http.disconnect" in records(server, key), lambda: records(server, key))


@pytest.mark.parametrize("length", [0, 1_000, 300_000])
def test_waiting_receive_in_another_task_learns_of_a_reset(
    server: Server, key: str, length: int
) -> None:
    open_gate(server, key)
    wire = server.connect()
    head = request("POST", f"/receive-in-task/{key}", "Content-Length: 900000")
    wire.send(head + b"x" * length)
    server.barrier()
    wire.reset()
    until(lambda: "http.disconnect" in records(server, key), lambda: records(server, key))


@pytest.mark.parametrize(
    "behind",
    [b"GET / HT", request("GET", "/"), request("GET", "/") * 5_000],
    ids=["part", "one", "many"],
)
@pytest.mark.parametrize("task", ["own", "another"])
def test_receive_after_the_body_is_not_woken_by_what_is_pipelined(
    server: Server, key: str, task: str, behind: bytes
) -> None:
    open_gate(server, key)
    own = script(key, ("receive",), ("receive",))
    target = own if task == "own" else f"/receive-in-task/{key}"
    with server.connect() as wire:
        wire.send_request("POST", target, body=b"body")
        first = wait_for_records(server, key)
        assert len(first) == 1
        for position in (0, len(behind) // 2):
            wire.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                wire.socket.send(behind[position : position + (len(behind) + 1) // 2])
            server.barrier()
            assert records(server, key) == first
        # An end behind more than the server reads ahead would not be seen, a reset is.
        wire.reset()
    until(lambda: len(records(server, key)) > 1, lambda: records(server, key))
    second = {"own": ("received", {"type": "http.disconnect"}), "another": "http.disconnect"}[task]
    assert records(server, key)[1] == second


def test_client_without_a_port_is_logged(start: Start, loop: str) -> None:
    server = start("support.apps:app", "--loop", loop)
    with server.connect() as wire:
        wire.send_request("GET", "/client-without-port")
        assert wire.response().body == b"ok"
        line = server.stdout.wait_for("GET /client-without-port")
        assert "behind.a.proxy" in line
        wire.assert_open()
    server.stdout.wait_for('"GET / HTTP')
    assert not re.search("Exception ignored|SystemError|Traceback", server.stderr.text())


@pytest.mark.parametrize("junk", [0, 1_000, 140_000])
def test_reset_behind_unread_junk_is_told(own_server: Server, key: str, junk: int) -> None:
    server, count = own_server, 10
    server.barrier()
    before = server.descriptor_count()
    wires = [server.connect() for _ in range(count)]
    for wire in wires:
        wire.send(request("GET", script(key, ("until-disconnect",))) + b"x" * junk)
    server.barrier()
    for wire in wires:
        wire.reset()
    until(
        lambda: records(server, key).count(("disconnected",)) == count, lambda: records(server, key)
    )
    assert_descriptors_return(server, before)


def test_request_in_time_is_answered_by_a_server_that_was_blocked(
    start: Start, loop: str, key: str
) -> None:
    server = start("support.apps:app", "--loop", loop, "--timeout-keep-alive", "1")
    with contextlib.ExitStack() as stack:
        blocker = stack.enter_context(server.connect())
        wires = [stack.enter_context(server.connect()) for _ in range(10)]
        for wire in wires:
            wire.assert_open()
        blocker.send_request("GET", f"/block/1500/{key}")
        server.stdout.wait_for(f"blocking {key}")
        for wire in wires:
            wire.send_request("GET", "/")
        for wire in wires:
            assert wire.response().body == b"hello"


@pytest.mark.parametrize("position", [0, 10, -2, None], ids=["first", "within", "last", "behind"])
@pytest.mark.parametrize("is_blocked", [False, True], ids=["served", "blocked"])
def test_urgent_byte_does_not_hang_its_request(
    server: Server, key: str, position: int | None, is_blocked: bool
) -> None:
    data = request("GET", "/", "X-Field: value")
    cut = len(data) if position is None else position
    with server.connect() as wire, server.connect() as blocker:
        wire.assert_open()
        if is_blocked:
            blocker.send_request("GET", f"/block/200/{key}")
            server.stdout.wait_for(f"blocking {key}")
        wire.send(data[:cut])
        wire.socket.send(b"!", socket.MSG_OOB)
        wire.send(data[cut:])
        assert wire.response(deadline_s=PROMPT_S_MAX).status in (200, 400)
        if is_blocked:
            assert blocker.response().body == b"blocked"


def test_value_returned_after_the_response_does_not_disturb_the_next(
    server: Server, key: str
) -> None:
    for behind in (False, True):
        since = server.stderr.count()
        returning = request("GET", script(key, *OK, ("return", 5)))
        with server.connect() as wire:
            wire.send(returning + (request("GET", "/delay/1/next") if behind else b""))
            assert wire.response().body == b"ok"
            if not behind:
                wire.send_request("GET", "/delay/1/next")
            assert wire.response().body == b"next"
            wire.assert_open()
        server.stderr.wait_for("ASGI callable should return None, but returned '5'", since=since)


def test_listener_that_was_shut_down_costs_no_time(own_server: Server) -> None:
    server = own_server
    with server.connect() as wire:
        wire.send_request("GET", "/shut-listeners")
        assert wire.response().body == b"shut"
        wire.assert_open()
        before = server.cpu_s()
        time.sleep(1)
        used = server.cpu_s() - before
        assert used < 0.25, f"{used} s of 1 s, idle"
        wire.assert_open()


@pytest.mark.skipif(sys.platform != "linux", reason="asks for what the kernel has of a connection")
def test_request_behind_which_reading_stops_at_the_end_of_a_turn_is_told_of_the_clients_end(
    start: Start, loop: str, key: str
) -> None:
    # Two reads of requests that are answered at once, and two of what fills the place for what is
    # pipelined: then the connection has had its turn.
    answered = request("GET", "/", f"X: {'x' * 2000}") * 66
    waits = request("GET", script(key, ("until-disconnect",)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        listen = ("--fd", str(listener.fileno()))
        options = ("--no-access-log", "--loop", loop, "--timeout-keep-alive", "600")
        server = start("support.apps:app", *options, listen=listen, pass_fds=(listener.fileno(),))
        server.address = listener.getsockname()
    with connect(server.address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client.sendall(request("GET", "/"))
        assert client.recv(1 << 16).endswith(b"hello")
        stop(server)
        client.sendall(answered + waits + b"x" * 66_000)
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: is_end_taken(client), what="the server's kernel has the end")
        server.signal(signal.SIGCONT)
        wait_for_record(server, key, ("disconnected",))


def is_end_taken(ended: socket.socket) -> bool:
    """The other side's kernel has acknowledged the end of ours (FIN_WAIT2)."""
    return ended.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x05"
