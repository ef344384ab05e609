"""`--proxy-protocol`: addresses that a proxy tells before the first byte of HTTP or TLS."""

from __future__ import annotations

import ast
import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from support.server import Server, serve
from support.tls import Certificates
from support.wire import ClosedError, Wire, request

pytestmark = pytest.mark.strict

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 9.8.7.6 1.2.3.4 1111 443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::1 2001:db8::2 1111 443\r\n"


def v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


ADDRESSES = bytes([9, 8, 7, 6, 1, 2, 3, 4]) + struct.pack("!HH", 1111, 443)
SIX = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + struct.pack("!HH", 1111, 443)
)
V2 = v2(0x21, 0x11, ADDRESSES)
TLVS = b"\x03\x00\x04abcd" + b"\x04\x00\x03\0\0\0"


@pytest.fixture(scope="module")
def proxied() -> Iterator[Server]:
    options = ("--proxy-protocol", "--timeout-request-header", "1")
    with serve("support.apps:scope_app", *options) as server:
        yield server


def scope(wire: Wire, *fields: str) -> dict[str, Any]:
    wire.send_request("GET", "/", *fields)
    found: dict[str, Any] = ast.literal_eval(wire.response().body.decode())
    return found


@pytest.mark.parametrize(
    ("header", "client", "server"),
    [
        (V1, ("9.8.7.6", 1111), ("1.2.3.4", 443)),
        (V1_SIX, ("2001:db8::1", 1111), ("2001:db8::2", 443)),
        (V2, ("9.8.7.6", 1111), ("1.2.3.4", 443)),
        (v2(0x21, 0x21, SIX), ("2001:db8::1", 1111), ("2001:db8::2", 443)),
        (v2(0x21, 0x11, ADDRESSES + TLVS), ("9.8.7.6", 1111), ("1.2.3.4", 443)),
        (v2(0x21, 0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")), None, ("/b", None)),
        (b"PROXY UNKNOWN\r\n", "own", "own"),
        (v2(0x20, 0x00, b""), "own", "own"),
        (v2(0x20, 0x11, ADDRESSES), "own", "own"),
        (v2(0x21, 0x00, TLVS), "own", "own"),
    ],
    ids=repr,
)
def test_addresses_are_those_that_the_proxy_tells(
    proxied: Server, header: bytes, client: Any, server: Any
) -> None:
    for step in (len(header), 1):
        with proxied.connect() as wire:
            own = wire.socket.getsockname()
            for start in range(0, len(header), step):
                wire.send(header[start : start + step])
            found = scope(wire)
            assert found["client"] == (own if client == "own" else client)
            assert found["server"] == (proxied.address if server == "own" else server)
            # It holds for the connection.
            assert scope(wire)["client"] == found["client"]


def test_header_and_request_may_come_together(proxied: Server) -> None:
    with proxied.connect() as wire:
        wire.send(V2 + request("GET", "/a") + request("GET", "/b"))
        paths = [ast.literal_eval(wire.response().body.decode())["path"] for _ in range(2)]
        assert paths == ["/a", "/b"]


def test_client_that_the_proxy_tells_of_is_not_trusted_itself(proxied: Server) -> None:
    with proxied.connect() as wire:
        wire.send(V1)
        assert scope(wire, "X-Forwarded-For: 5.5.5.5")["client"] == ("9.8.7.6", 1111)


def test_access_log_names_the_client(proxied: Server) -> None:
    since = proxied.stdout.count()
    with proxied.connect() as wire:
        wire.send(V1)
        scope(wire)
    proxied.stdout.wait_for('9.8.7.6:1111 - "GET / HTTP/1.1" 200 OK', since=since)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 9.8.7.6 1.2.3.4 1111\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        v2(0x22, 0x11, ADDRESSES),
        v2(0x21, 0x12, ADDRESSES),
        v2(0x21, 0x11, ADDRESSES[:-1]),
        v2(0x21, 0x11, bytes(5000)),
        b"\x16\x03\x01",
    ],
    ids=repr,
)
def test_anything_else_is_closed_without_an_answer(proxied: Server, data: bytes) -> None:
    since = proxied.stderr.count()
    with proxied.connect() as wire:
        wire.send(data + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_all() == b""
    line = proxied.stderr.wait_for("Invalid PROXY protocol header received", since=since)
    assert line.startswith("WARNING:  Invalid PROXY protocol header received. From 127.0.0.1:")


@pytest.mark.parametrize("part", [b"", b"P", V1[:-1], V2[:5], V2[:-1]], ids=repr)
def test_header_that_does_not_come_is_waited_for_in_vain(proxied: Server, part: bytes) -> None:
    began = time.monotonic()
    with proxied.connect() as wire:
        wire.send(part)
        wire.assert_closed()
    assert 0.5 < time.monotonic() - began < 5


def test_peer_that_ends_within_the_header_is_closed(proxied: Server) -> None:
    with proxied.connect() as wire:
        wire.send(V1[:10])
        wire.send_end()
        wire.assert_closed(deadline_s=0.8)


def test_slow_headers_use_no_processor_time(proxied: Server) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(proxied.connect()) for _ in range(50)]
        for wire in wires:
            wire.send(V1[:10])
        before = proxied.cpu_s()
        for wire in wires:
            wire.assert_closed()
        assert proxied.cpu_s() - before < 0.5


def test_peers_that_are_not_trusted_speak_for_themselves(start: Start) -> None:
    server = start(
        "support.apps:scope_app", "--proxy-protocol", "--forwarded-allow-ips", "10.0.0.0/8"
    )
    with server.connect() as wire:
        assert scope(wire)["client"] == wire.socket.getsockname()
    for header in (V1, V2):
        with server.connect() as wire:
            wire.send(header + request("GET", "/"))
            with contextlib.suppress(ClosedError):
                assert wire.response().status == 400
            wire.assert_closed()


def test_networks_and_unix_sockets_are_trusted_by_name(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for options, listen in (
        (["--forwarded-allow-ips", "127.0.0.0/8"], ["--port", "0"]),
        (["--forwarded-allow-ips", path], ["--uds", path]),
    ):
        server = start("support.apps:scope_app", "--proxy-protocol", *options, listen=listen)
        with server.connect() as wire:
            wire.send(V1)
            assert scope(wire)["client"] == ("9.8.7.6", 1111)


def test_header_comes_before_the_handshake(start: Start, certificates: Certificates) -> None:
    options = certificates.issue("localhost").options
    server = start("support.apps:scope_app", "--proxy-protocol", *options)
    for header in (V1, V2):
        raw = socket.create_connection(server.address)
        raw.sendall(header)
        with certificates.client().wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(request("GET", "/", "Connection: close"))
            received = b"".join(iter(lambda: tls.recv(65536), b""))
        found = ast.literal_eval(received.partition(b"\r\n\r\n")[2].decode())
        assert found["client"] == ("9.8.7.6", 1111)
        assert found["scheme"] == "https"


def test_without_the_option_a_header_is_a_malformed_request(server: Server) -> None:
    with server.connect() as wire:
        wire.send(V1 + request("GET", "/"))
        assert wire.response().status == 400
