"""Listening sockets as clients see them: TCP, Unix and inherited ones, crowds, and EMFILE."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, loops
from support.remote import literal
from support.server import Server
from support.wire import Wire, request


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


# --- TCP ---------------------------------------------------------------------------------------


def test_port_zero_is_some_free_port_that_is_told(start: Start) -> None:
    first, second = start("support.apps:app"), start("support.apps:app")
    assert 0 < first.port != second.port > 0
    assert first.get("/") == second.get("/") == b"hello"


@needs_ipv6
def test_ipv6_is_served_and_told_in_brackets(start: Start) -> None:
    server = start("support.apps:app", listen=["--host", "::1", "--port", "0"])
    server.stderr.wait_for(rf"running on http://\[::1\]:{server.port} \(Press CTRL\+C to quit\)")
    with server.connect() as wire:
        wire.assert_open()


@needs_ipv6
def test_any_ipv6_address_does_not_take_ipv4(start: Start) -> None:
    server = start("support.apps:app", listen=["--host", "::", "--port", "0"])
    with Wire(("::1", server.port)) as wire:
        wire.assert_open()
    with pytest.raises(ConnectionRefusedError):
        Wire(("127.0.0.1", server.port))


def test_any_ipv4_address_is_served(start: Start) -> None:
    server = start("support.apps:app", listen=["--host", "0.0.0.0", "--port", "0"])
    for address in ("127.0.0.1", "127.1.2.3"):
        with Wire((address, server.port)) as wire:
            wire.assert_open()


def test_host_name_is_served_on_its_addresses(start: Start) -> None:
    server = start("support.apps:app", listen=["--host", "localhost", "--port", "0"])
    with Wire(("127.0.0.1", server.port)) as wire:
        wire.assert_open()


def test_every_bound_address_is_served_and_told(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        number = inherited.fileno()
        listen = ["--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--bind", f"fd://{number}"]
        server = start("support.apps:app", listen=listen, pass_fds=[number])
        server.stderr.wait_for(rf"running on unix socket {path} ")
        server.stderr.wait_for(r"running on socket \('127\.0\.0\.1', \d+\) ")
        addresses = [server.address, str(path), inherited.getsockname()]
    for address in addresses:
        with Wire(address) as wire:
            wire.assert_open()
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert not path.exists()


@needs_ipv6
def test_port_without_a_host_is_served_on_both_stacks(start: Start) -> None:
    server = start("support.apps:app", listen=["--bind", ":0"])
    for host in ("127.0.0.1", "::1"):
        with Wire((host, server.port)) as wire:
            wire.assert_open()


@needs_ipv6
def test_both_stacks_can_be_bound_one_by_one(start: Start) -> None:
    first = start("support.apps:app", listen=["--bind", "[::]:0"])
    listen = ["--bind", f"0.0.0.0:{first.port}", "--bind", f"[::1]:{first.port}"]
    with pytest.raises(AssertionError, match="address already in use"):
        start("support.apps:app", listen=listen)
    second = start("support.apps:app", listen=listen[:2])
    for host in ("127.0.0.1", "::1"):
        with Wire((host, second.port)) as wire:
            wire.assert_open()


def test_connection_sockets_are_as_they_should_be(server: Server) -> None:
    # Small writes go out at once, and a child process inherits nothing.
    assert literal(server, "/socket") == {"nodelay": True, "inheritable": False, "blocking": False}


def test_listening_sockets_are_not_inherited(server: Server) -> None:
    found = literal(server, "/listeners")
    assert found
    assert not any(inheritable for _, inheritable in found)


def test_crowd_that_comes_at_once_is_served(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(1500)]
        for wire in wires:
            wire.send_request("GET", "/")
        for wire in wires:
            assert wire.response().body == b"hello"


def test_two_servers_cannot_have_one_port(start: Start, server: Server) -> None:
    with pytest.raises(AssertionError, match=r"ddress already in use"):
        start("support.apps:app", listen=["--host", "127.0.0.1", "--port", str(server.port)])


# --- Unix sockets ------------------------------------------------------------------------------


def test_unix_socket_is_served_and_told(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = start("support.apps:app", listen=["--uds", path])
    server.stderr.wait_for(f"running on unix socket {path} \\(Press CTRL\\+C to quit\\)")
    with server.connect() as wire:
        for _ in range(10):
            wire.assert_open()
        wire.send_request("POST", "/echo", body=b"x" * 1_000_000)
        assert wire.response().body == b"x" * 1_000_000


def test_unix_socket_is_open_to_everyone(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start("support.apps:app", listen=["--uds", str(path)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_unix_socket_replaces_a_stale_one(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert start("support.apps:app", listen=["--uds", path]).get("/") == b"hello"


def test_unix_socket_is_gone_after_the_end(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = start("support.apps:app", listen=["--uds", str(path)])
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert not path.exists()


@pytest.mark.strict
def test_unix_socket_is_gone_after_sigterm(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = start("support.apps:app", listen=["--uds", str(path)])
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert not path.exists()


# --- Inherited descriptors ---------------------------------------------------------------------


@pytest.mark.parametrize("family", ["ipv4", pytest.param("ipv6", marks=needs_ipv6), "unix"])
@pytest.mark.parametrize("listening", [True, False], ids=["listening", "bound"])
def test_inherited_descriptor_is_served(
    start: Start, tmp_path: Path, family: str, listening: bool
) -> None:
    places: dict[str, tuple[int, Any]] = {
        "ipv4": (socket.AF_INET, ("127.0.0.1", 0)),
        "ipv6": (socket.AF_INET6, ("::1", 0)),
        "unix": (socket.AF_UNIX, str(tmp_path / "socket")),
    }
    with socket.socket(places[family][0]) as listener:
        listener.bind(places[family][1])
        if listening:
            listener.listen()
        number = listener.fileno()
        server = start("support.apps:app", listen=["--fd", str(number)], pass_fds=[number])
        name = listener.getsockname()
    server.stderr.wait_for(r"running on socket .* \(Press CTRL\+C to quit\)")
    server.address = name[:2] if isinstance(name, tuple) else name
    with server.connect() as wire:
        wire.assert_open()
        scope = literal(server, "/scope")
        assert scope["server"] == (name[:2] if isinstance(name, tuple) else (name, None))


# --- Out of descriptors ------------------------------------------------------------------------


@pytest.mark.strict
@pytest.mark.parametrize("loop", loops())
def test_accept_does_not_spin_without_descriptors_and_recovers(start: Start, loop: str) -> None:
    server = start("support.apps:app", "--loop", loop, "--no-access-log")
    assert server.get("/") == b"hello"
    server.limit_descriptors(64)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(120)]
        for wire in wires:
            wire.send(request("GET", "/"))
        served, waiting = settle(wires)
        assert served, "nobody was served"
        assert waiting, "descriptors did not run out"
        since = server.stderr.count()
        cpu_before, began = server.cpu_s(), time.monotonic()
        time.sleep(1)  # the measure is what the server does while nothing can be done
        busy = (server.cpu_s() - cpu_before) / (time.monotonic() - began)
        assert busy < 0.25, f"accept spins: {busy:.0%} of a core"
        said = server.stderr.all(since)
        assert len(said) < 20, f"the log is flooded with {said[:20]}"
        # Those with a connection go on being served.
        served[0].assert_open()
        # Those without get one when others leave.
        while waiting:
            assert served, "nobody was served in the end"
            for wire in served:
                wire.close()
            served, waiting = settle(waiting)
    server.limit_descriptors(1024)
    assert server.get("/") == b"hello"
    assert os.path.exists(f"/proc/{server.pid}")


def settle(wires: list[Wire]) -> tuple[list[Wire], list[Wire]]:
    """Those that were answered, once no more are for a moment, and those that still wait."""
    served: list[Wire] = []
    waiting = list(wires)
    patience_s = 5.0  # a server may pause between attempts
    while waiting:
        readable, _, _ = select.select([wire.socket for wire in waiting], [], [], patience_s)
        if not readable:
            break
        patience_s = 0.5
        for wire in [wire for wire in waiting if wire.socket in readable]:
            assert wire.response().body == b"hello"
            served.append(wire)
            waiting.remove(wire)
    return served, waiting
