"""The checks that an answer is right, made before anything is measured.

Comes in: a port and an `Exchange`. Goes out: nothing, or `AnswerError`. Called by `measure.py`.

The rule it keeps: every wait is bounded, and no check sends `Connection: close` unless its case
does (one peer does not survive that header).
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator

from cases import Exchange
from processes import ServerProcess
from servers import HOST

READY_WAIT_S = 30.0
ANSWER_WAIT_S = 10.0  # for each read
READ_BYTES = 1024 * 1024


class AnswerError(Exception):
    """A server that did not answer, or not with what the case asks for."""


def wait_until_right(server: ServerProcess, port: int, exchange: Exchange) -> float:
    """Seconds from the start of `server` to its first right answer."""
    until_s = server.started_s + READY_WAIT_S
    while time.perf_counter() < until_s:
        if server.has_ended():
            raise AnswerError(f"ended before it answered: {server.last_words()}")
        try:
            check(port, exchange)
        except ConnectionRefusedError:
            time.sleep(0.001)
        else:
            return time.perf_counter() - server.started_s
    raise AnswerError(f"did not answer within {READY_WAIT_S:.0f} s: {server.last_words()}")


def check(port: int, exchange: Exchange) -> None:
    """Makes the exchange once; a refused connection passes through, all else is AnswerError."""
    try:
        if exchange.pipelined > 1:
            check_pipelined(port, exchange)
        else:
            check_single(port, exchange)
    except ConnectionRefusedError:
        raise
    except TimeoutError as error:
        raise AnswerError(f"no answer within {ANSWER_WAIT_S:.0f} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise AnswerError(f"broken answer: {type(error).__name__}: {error}") from error


def check_single(port: int, exchange: Exchange) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_WAIT_S)
    if exchange.tls:
        # The certificate is not what is measured.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(HOST, port, timeout=ANSWER_WAIT_S, context=context)
    with contextlib.closing(connection):
        method = "GET" if exchange.body is None else "POST"
        connection.request(method, exchange.path, exchange.body, dict(exchange.headers))
        response = connection.getresponse()
        if response.status != 200:
            raise AnswerError(f"status {response.status} to {method} {exchange.path}")
        check_body(response, exchange)


def check_body(response: http.client.HTTPResponse, exchange: Exchange) -> None:
    """Compares without holding more than one repetition of the body and one read."""
    expected_bytes = len(exchange.answer) * exchange.answer_repeats
    received_bytes = 0
    pending = b""
    while piece := response.read(READ_BYTES):
        received_bytes += len(piece)
        pending += piece
        whole = len(pending) // len(exchange.answer)
        if pending[: whole * len(exchange.answer)] != exchange.answer * whole:
            raise AnswerError(f"wrong body to {exchange.path}")
        pending = pending[whole * len(exchange.answer) :]
    if received_bytes != expected_bytes:
        raise AnswerError(f"{received_bytes} of {expected_bytes} body bytes to {exchange.path}")


def check_pipelined(port: int, exchange: Exchange) -> None:
    request = f"GET {exchange.path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()
    received = b""
    with socket.create_connection((HOST, port), timeout=ANSWER_WAIT_S) as connection:
        connection.sendall(request * exchange.pipelined)
        while received.count(exchange.answer) < exchange.pipelined:
            piece = connection.recv(READ_BYTES)
            if not piece:
                raise AnswerError("closed before all pipelined requests were answered")
            received += piece
    if received.count(b"HTTP/1.1 200 ") != exchange.pipelined:
        raise AnswerError("not every pipelined answer has status 200")


@contextlib.contextmanager
def idle_connections(port: int, exchange: Exchange, count: int) -> Iterator[list[socket.socket]]:
    """Opens `count` connections, has each one answered once, and keeps them open."""
    request = f"GET {exchange.path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()

    def ask(connection: socket.socket) -> None:
        connection.sendall(request)
        received = b""
        while not received.endswith(exchange.answer):
            received += received_from(connection, 1)

    with kept_open(port, count, ask) as connections:
        yield connections


WEBSOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, 1.3
ZERO_MASK = bytes(4)


@contextlib.contextmanager
def idle_websockets(
    port: int, path: str, count: int, *, deflate: bool
) -> Iterator[list[socket.socket]]:
    """Opens `count` WebSockets, has each echo one text, and keeps them open."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}:{port}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {WEBSOCKET_KEY}"]
    lines.append("Sec-WebSocket-Version: 13")
    if deflate:
        lines.append("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    request = "\r\n".join([*lines, "", ""]).encode()
    text = b"Hello, world! " * 8
    payload, first = text, 0x81
    if deflate:
        codec = zlib.compressobj(wbits=-9)
        payload = (codec.compress(text) + codec.flush(zlib.Z_SYNC_FLUSH))[:-4]
        first = 0xC1
    message = bytes([first, 0x80 | len(payload)]) + ZERO_MASK + payload

    def echo(connection: socket.socket) -> None:
        connection.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += received_from(connection, 1)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise AnswerError(f"answers a handshake with {head[:40]!r}")
        connection.sendall(message)
        first, size = received_from(connection, 2)
        answer = received_from(connection, size)
        if first & 0x40:
            answer = zlib.decompress(answer + b"\x00\x00\xff\xff\x03\x00", wbits=-15)
        if answer != text:
            raise AnswerError("echoes another message")

    with kept_open(port, count, echo) as connections:
        yield connections


@contextlib.contextmanager
def kept_open(
    port: int, count: int, use: Callable[[socket.socket], None]
) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has been used once."""
    with contextlib.ExitStack() as stack:
        connections = []
        try:
            for _ in range(count):
                connection = socket.create_connection((HOST, port), timeout=ANSWER_WAIT_S)
                connections.append(stack.enter_context(connection))
                use(connection)
        except (OSError, AnswerError) as error:
            raise AnswerError(f"connection {len(connections)} of {count}: {error}") from error
        yield connections


def received_from(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise AnswerError("closed a connection")
        data += piece
    return data


def count_closed(connections: list[socket.socket]) -> int:
    """How many of the idle connections the server has closed."""
    poller = select.poll()
    for connection in connections:
        poller.register(connection, select.POLLIN)
    return len(poller.poll(0))
