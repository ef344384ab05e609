"""Answers of one turn are written together, with one system call where the kernel allows it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.processes import wait_until
from support.server import Server, serve
from support.wire import Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

LISTENING = ["tcp", "unix"]
IO_URING_SETUP = 425
WORDS = {
    "ring": ["support.apps:app"],
    "denied": ["support.denied_app:app"],
    "off": ["support.apps:app", "--no-io-uring"],
}


@pytest.fixture(params=WORDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Whether `io_uring(7)` may be used."""
    return str(request.param)


@pytest.fixture(params=LISTENING)
def server(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Server]:
    tcp = ("--host", "127.0.0.1", "--port", "0")
    listen = tcp if request.param == "tcp" else ("--uds", str(tmp_path / "socket"))
    # The other loop has a ring of its own.
    with serve(*WORDS[kind], "--no-access-log", "--loop", "asyncio", listen=listen) as server:
        yield server


def has_ring(server: Server) -> bool:
    directory = Path(f"/proc/{server.pid}/fd")
    return "anon_inode:[io_uring]" in {os.readlink(each) for each in directory.iterdir()}


def is_ring_allowed() -> bool:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    # Whoever may have a ring is told that there is nothing at address zero.
    ctypes.CDLL(None, use_errno=True).syscall(IO_URING_SETUP, 1, None)
    return release >= (6, 1) and ctypes.get_errno() == errno.EFAULT


def stop(server: Server) -> None:
    """Keeps the server from doing anything until it gets SIGCONT."""
    state = Path(f"/proc/{server.pid}/stat")
    server.signal(signal.SIGSTOP)
    wait_until(
        lambda: state.read_text().rsplit(") ", 1)[1].startswith("T"), what="the server is stopped"
    )


def ask_together(server: Server, wires: Sequence[Wire], targets: Sequence[str]) -> None:
    """Has the server find all these requests in one turn."""
    stop(server)
    for wire, target in zip(wires, targets, strict=True):
        wire.send_request("GET", target)
    server.signal(signal.SIGCONT)


@pytest.fixture
def wires(server: Server) -> Iterator[list[Wire]]:
    """More connections than are written to with one call."""
    found = [Wire(server.address) for _ in range(40)]
    yield found
    for wire in found:
        wire.close()


def test_there_is_a_ring_where_it_is_allowed(server: Server, kind: str) -> None:
    assert has_ring(server) == (kind == "ring" and is_ring_allowed())


def test_each_connection_gets_its_own_answer(server: Server, wires: list[Wire]) -> None:
    for turn in range(3):
        # Small answers, and some whose body is sent from where the application has it.
        lengths = [1000 * (number % 7 + turn + 1) for number in range(len(wires))]
        ask_together(server, wires, [f"/large/{length}/{length}" for length in lengths])
        block = bytes(range(256)) * 50
        for wire, length in zip(wires, lengths, strict=True):
            assert wire.response().body == block[:length]
    for wire in wires:
        wire.assert_open()


def test_a_client_that_takes_nothing_keeps_no_other_from_its_answer(
    server: Server, wires: list[Wire]
) -> None:
    body = (bytes(range(256)) * 59)[:15_000]
    # More than the kernel takes for somebody who reads nothing.
    turns = 40
    with Wire(server.address, receive_buffer_bytes=4096) as lazy:
        for _ in range(turns):
            targets = ["/large/15000/15000"] + ["/"] * 5
            ask_together(server, [lazy, *wires[:5]], targets)
            for wire in wires[:5]:
                assert wire.response().body == b"hello"
        assert [lazy.response().body for _ in range(turns)] == [body] * turns
        lazy.assert_open()


def test_a_client_that_has_left_keeps_no_other_from_its_answer(
    server: Server, wires: list[Wire]
) -> None:
    for wire in wires:
        wire.send_request("GET", "/")
        assert wire.response().body == b"hello"
    before = server.descriptor_count()
    stop(server)
    leaving, staying = wires[:10], wires[10:]
    for wire in wires:
        wire.send_request("GET", "/")
    for wire in leaving:
        wire.close()
    server.signal(signal.SIGCONT)
    for wire in staying:
        assert wire.response().body == b"hello"
        wire.assert_open()
    left = before - len(leaving)
    wait_until(lambda: server.descriptor_count() == left, what="those that left are forgotten")


def test_first_requests_get_their_answers_however_many_come_at_once(server: Server) -> None:
    stop(server)
    wires = [Wire(server.address) for _ in range(40)]
    for number, wire in enumerate(wires):
        wire.send_request("GET", f"/large/{number + 1}/{number + 1}")
    server.signal(signal.SIGCONT)
    for number, wire in enumerate(wires):
        assert wire.response().body == bytes(range(number + 1))
        wire.assert_open()
        wire.close()


def assert_only_the_parent_answers(server: Server, wires: Sequence[Wire]) -> None:
    ask_together(server, wires, ["/"] * 4 + ["/forked"] + ["/"] * 5)
    bodies = [wire.response().body for wire in wires]
    assert bodies == [b"hello"] * 4 + [b"parent"] + [b"hello"] * 5
    # Nothing else has come, and the server goes on.
    ask_together(server, wires, [f"/large/{number}/{number}" for number in range(1, 11)])
    bodies = [wire.response().body for wire in wires]
    assert bodies == [bytes(range(number)) for number in range(1, 11)]


def test_a_child_of_the_application_leaves_all_answers_to_its_parent(
    server: Server, wires: list[Wire]
) -> None:
    for wire in wires[:10]:
        wire.assert_open()
    assert_only_the_parent_answers(server, wires[:10])


def test_a_child_of_the_application_leaves_new_connections_to_its_parent(server: Server) -> None:
    stop(server)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.address)) for _ in range(10)]
        assert_only_the_parent_answers(server, wires)


def test_clients_that_read_in_drops_together_are_cut(kind: str) -> None:
    options = ("--no-access-log", "--timeout-write", "1", "--min-response-rate", "1e9")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # So that small answers do not fit in.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2304)
        number = listener.fileno()
        listen = ("--fd", str(number))
        with serve(*WORDS[kind], *options, listen=listen, pass_fds=[number]) as server:
            server.address = listener.getsockname()
            with contextlib.ExitStack() as stack:
                wires = [
                    stack.enter_context(Wire(server.address, receive_buffer_bytes=2304))
                    for _ in range(4)
                ]
                for wire in wires:
                    wire.assert_open()
                ask_together(server, wires, ["/large/15000/15000"] * len(wires))
                assert all(wire.is_readable(within_s=8) for wire in wires)
                with pytest.raises(ConnectionResetError):
                    read_in_drops_together(server, wires, 15)


def read_in_drops_together(server: Server, wires: Sequence[Wire], count: int) -> None:
    """So that the server finds room for all of them in one turn. It takes more than two seconds."""
    for _ in range(count):
        stop(server)
        for wire in wires:
            assert wire.socket.recv(1000)
        server.signal(signal.SIGCONT)
        time.sleep(0.15)
