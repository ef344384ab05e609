"""What clients of TLS begin after the handshake: new keys, and another handshake."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from support.records import HANDSHAKE, KEY_UPDATE_REQUEST, Records
from support.server import Server
from support.tls import Certificates, TLSSocket
from support.wire import DEADLINE_S, connect, request
from test_server import address_of, in_loop, serving

pytestmark = pytest.mark.strict

UPDATES_MAX = 20_000
SMALL_BUFFER_BYTES = 8192


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket whose connections the kernel keeps little for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for direction in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            listener.setsockopt(socket.SOL_SOCKET, direction, SMALL_BUFFER_BYTES)
        yield listener


@pytest.fixture
def server(start: Start, certificates: Certificates, listening: socket.socket) -> Server:
    files = certificates.issue("localhost", file="late")
    server = start(
        "support.apps:app",
        *files.options,
        "--log-level=debug",
        listen=("--fd", str(listening.fileno())),
        pass_fds=(listening.fileno(),),
        client_context=certificates.client(),
    )
    server.address = listening.getsockname()
    return server


@contextlib.contextmanager
def agreed(
    server: Server, certificates: Certificates, folder: Path
) -> Iterator[tuple[TLSSocket, Records]]:
    """A connection, and what goes on in its client's place."""
    context = certificates.client()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(folder / "keys")
    raw = connect(server.address, SMALL_BUFFER_BYTES)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    with contextlib.closing(TLSSocket(raw, context)) as tls:
        tls.handshake()
        yield tls, Records(tls.session, folder / "keys")


def sendable(raw: socket.socket, data: bytes) -> int:
    """Sends what the kernel takes at once."""
    raw.setblocking(False)
    try:
        return raw.send(data)
    except BlockingIOError:
        return 0
    finally:
        raw.settimeout(DEADLINE_S)


def test_client_that_asks_for_new_keys_and_takes_nothing_is_not_read_from(
    server: Server, certificates: Certificates, tmp_path: Path
) -> None:
    with agreed(server, certificates, tmp_path) as (tls, records):
        tls.raw.sendall(records.data(request("POST", "/digest", "Content-Length: 5")))
        unsent = b""
        for _ in range(UPDATES_MAX):
            unsent += records.key_update()
            if len(unsent) < SMALL_BUFFER_BYTES:
                continue
            sent = sendable(tls.raw, unsent)
            if sent == 0:
                server.barrier()
                sent = sendable(tls.raw, unsent)
            if sent == 0:
                break
            unsent = unsent[sent:]
        else:
            pytest.fail("the server has read everything")
        # Once it takes what it has asked for, it is heard.
        unsent += records.data(b"hello")
        while unsent:
            tls._receive()
            unsent = unsent[sendable(tls.raw, unsent) :]
        assert hashlib.sha256(b"hello").hexdigest().encode() in tls.recv(1 << 17)


def test_half_a_change_of_keys_before_an_answer_ends_the_connection_quietly(
    server: Server, certificates: Certificates, tmp_path: Path
) -> None:
    with agreed(server, certificates, tmp_path) as (tls, records):
        asks = records.data(request("GET", "/delay/100/later"))
        tls.raw.sendall(asks + records.record(HANDSHAKE, KEY_UPDATE_REQUEST[:4]))
        assert tls.recv(1) == b""
        assert not tls.ended_cleanly
    server.stderr.wait_for("TLS with .* failed: a handshake has begun within an answer")
    assert "Traceback" not in server.stderr.text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_client_may_not_shake_hands_again(certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="again")

    def context(_: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        made = default()
        # `SSL_OP_ALLOW_CLIENT_RENEGOTIATION`: what OpenSSL before 3.0 does without being asked.
        made.options |= 1 << 8
        return made

    async def body() -> None:
        options = {"ssl_certfile": files.certificate, "ssl_keyfile": files.key}
        async with serving(ssl_context_factory=context, **options) as server:
            target = f"127.0.0.1:{address_of(server)[1]}"
            client = await asyncio.create_subprocess_exec(
                *("openssl", "s_client", "-connect", target, "-tls1_2"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            # A line that begins with this letter asks for another handshake.
            client.stdin.write(b"R\n")
            said = await asyncio.wait_for(client.stdout.read(), DEADLINE_S)
            client.stdin.close()
            await client.wait()
            assert b"RENEGOTIATING" in said
            assert b"no renegotiation" in said

    in_loop(body)
