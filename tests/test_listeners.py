"""Listening sockets: every kind, their log line, and what is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from pronghorn.addresses import (
    DescriptorAddress,
    TCPAddress,
    UnixAddress,
    addresses_of,
    parse_address,
)
from pronghorn.config import Config
from pronghorn.errors import ConfigurationError
from pronghorn.listeners import (
    Listener,
    adopt_descriptor,
    bind_tcp,
    bind_unix,
    open_listener,
    open_listeners,
    running_on,
)


@contextlib.contextmanager
def opened(**options: object) -> Iterator[tuple[Listener, str]]:
    """A listener and what would be logged about it."""
    config = Config("main:app", log_config=None, **options)  # type: ignore[arg-type]
    (address,) = addresses_of(config)
    listener = open_listener(address)
    try:
        message, _, arguments = running_on(address, listener.sockets[0], is_ssl=config.is_ssl)
        yield listener, message % tuple(arguments)
    finally:
        listener.close()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6")


def test_port_0_picks_one_and_names_it() -> None:
    with opened(port=0) as (listener, line):
        port = listener.sockets[0].getsockname()[1]
        assert port > 0
        assert line == f"Pronghorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)"


@needs_ipv6
def test_ipv6_is_bound_without_ipv4_and_bracketed() -> None:
    with opened(host="::1", port=0) as (listener, line):
        (bound,) = listener.sockets
        assert bound.family == socket.AF_INET6
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert f"http://[::1]:{bound.getsockname()[1]} " in line


@pytest.mark.parametrize("host", ["", None, "localhost"])
def test_every_address_of_a_host_shares_the_port(host: str | None) -> None:
    sockets = bind_tcp(host, 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert len({each.family for each in sockets}) == len(sockets)
        assert socket.AF_INET in {each.family for each in sockets}
    finally:
        Listener(sockets).close()


def test_port_in_use_is_explained_as_asyncio_does() -> None:
    with opened(port=0) as (listener, _):
        port = listener.sockets[0].getsockname()[1]
        listener.sockets[0].listen()
        with pytest.raises(OSError, match="address already in use") as caught:
            bind_tcp("127.0.0.1", port)
        assert str(caught.value) == (
            f"[Errno {errno.EADDRINUSE}] error while attempting to bind on address "
            f"('127.0.0.1', {port}): address already in use"
        )


def test_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(OSError, match=r"`no-such-host\.invalid`"):
        bind_tcp("no-such-host.invalid", 0)


def test_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="error while attempting to bind"):
        bind_tcp("192.0.2.1", 0)


def test_unix_socket_is_open_to_all_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(uds=str(path)) as (_, line):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert line == f"Pronghorn running on unix socket {path} (Press CTRL+C to quit)"
    assert not path.exists()


def test_unix_socket_that_no_one_serves_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind_unix(str(path)).close()
    path.chmod(0o600)
    with opened(uds=str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_unix_socket_that_is_served_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(uds=str(path)) as (listener, _):
        listener.sockets[0].listen()
        with pytest.raises(OSError, match="address already in use"):
            bind_unix(str(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="the path is another file"):
        bind_unix(str(path))
    assert path.read_text() == "data"


def test_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(uds=str(path)):
        path.unlink()
        successor = bind_unix(str(path))
    assert path.exists()
    successor.close()


@pytest.mark.parametrize("path", ["/nonexistent/s", "/tmp/" + "x" * 200])
def test_path_that_cannot_be_bound_is_named(path: str) -> None:
    with pytest.raises(OSError, match="cannot bind the Unix socket `/"):
        bind_unix(path)


@pytest.mark.parametrize(
    "family",
    [socket.AF_INET, pytest.param(socket.AF_INET6, marks=needs_ipv6), socket.AF_UNIX],
)
def test_descriptor_keeps_its_family(family: socket.AddressFamily, tmp_path: Path) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as inherited:
        addresses = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
        inherited.bind(addresses.get(family, str(tmp_path / "s")))
        with opened(fd=inherited.fileno()) as (listener, line):
            (adopted,) = listener.sockets
            assert adopted.family == family
            assert adopted.fileno() != inherited.fileno()
            assert line.startswith(f"Pronghorn running on socket {adopted.getsockname()} (")


def test_descriptor_that_is_no_stream_socket_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        number = datagrams.fileno()
        with pytest.raises(OSError, match=f"descriptor `{number}`: it is no stream socket"):
            adopt_descriptor(number)
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match=f"descriptor `{reading}`"):
            adopt_descriptor(reading)
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(OSError, match="bad file descriptor"):
        adopt_descriptor(reading)


def test_bind_socket_is_inheritable_and_announced(capsys: pytest.CaptureFixture[str]) -> None:
    config = Config("main:app", port=0)
    with config.bind_socket() as bound:
        assert bound.get_inheritable()
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        port = bound.getsockname()[1]
    assert f"Pronghorn running on http://127.0.0.1:{port} (" in capsys.readouterr().err


def test_bind_socket_exits_when_the_port_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with opened(port=0) as (listener, _):
        listener.sockets[0].listen()
        config = Config("main:app", port=listener.sockets[0].getsockname()[1])
        with pytest.raises(SystemExit) as caught:
            config.bind_socket()
    assert caught.value.code == 3
    assert "address already in use" in capsys.readouterr().err


def test_closed_listener_serves_nothing() -> None:
    with opened(port=0) as (listener, _):
        assert listener.is_serving()
        listener.close()
        assert not listener.is_serving()
        assert listener.sockets == ()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", TCPAddress("127.0.0.1", 80)),
        ("example.org:0", TCPAddress("example.org", 0)),
        ("[::1]:8000", TCPAddress("::1", 8000)),
        (":8000", TCPAddress(None, 8000)),
        ("unix:/run/a b", UnixAddress("/run/a b")),
        ("unix:relative", UnixAddress("relative")),
        ("fd://3", DescriptorAddress(3)),
    ],
)
def test_address_is_read(text: str, address: object) -> None:
    assert parse_address(text) == address
    assert addresses_of(Config("main:app", bind=[text], fd=9)) == [address]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("127.0.0.1", "needs the form `host:port`"),
        ("::1:80", "needs the form"),
        ("[::1]", "needs the form"),
        ("[]:80", "needs an address between the brackets"),
        ("a:", "needs a port after the last colon"),
        ("a:http", "needs a port after the last colon"),
        ("a:65536", "has a port above 65535"),
        ("unix:", "needs a path after `unix:`"),
        ("fd://", "needs a number after `fd://`"),
        ("fd://-1", "needs a number after `fd://`"),
    ],
)
def test_address_that_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^`bind` {re.escape(complaint)}.*, got `"):
        Config("main:app", bind=[":80", text])


def test_one_address_that_fails_leaves_none_open(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(OSError, match="file descriptor `987`"):
        open_listeners([UnixAddress(path), DescriptorAddress(987)])
    assert not os.path.exists(path)


def test_bind_socket_binds_the_first_address_and_bind_sockets_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = Config("main:app", bind=["127.0.0.1:0", "127.0.0.2:0"])
    with config.bind_socket() as only:
        assert only.getsockname()[0] == "127.0.0.1"
        assert only.get_inheritable()
    assert capsys.readouterr().err.count("running on") == 1
    sockets = config.bind_sockets()
    assert [each.getsockname()[0] for each in sockets] == ["127.0.0.1", "127.0.0.2"]
    assert all(each.get_inheritable() for each in sockets)
    assert capsys.readouterr().err.count("running on") == 2
    for each in sockets:
        each.close()
