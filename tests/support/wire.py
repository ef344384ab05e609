"""A client that believes nothing: bytes out as they are given, responses read by the letter.

`Wire` is one connection. Its reader takes a response only if status line, field lines and framing
are what RFC 9112 asks of a server; anything else is a `FramingError`, and a response cut short is a
`TruncatedError`. Every read has a deadline. `deliveries()` sends the same bytes whole, byte by byte
and cut at every point.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from support.tls import TLSSocket

if TYPE_CHECKING:
    from support.server import Server

Address = tuple[str, int] | str
Framing = Literal["none", "length", "chunked", "close"]
Head = tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]
Delivery = Literal["whole", "bytes", "cuts"]
Socket = socket.socket | TLSSocket

DEADLINE_S = 8.0
HEAD_BYTES_MAX = 1 << 20

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)")
CHUNK_LINE = re.compile(rb"[0-9a-fA-F]{1,16}")


class FramingError(AssertionError):
    """The server sent what a client could misread."""


class ClosedError(AssertionError):
    """The connection ended where a response should have begun."""


@dataclass(frozen=True)
class Response:
    status: int
    reason: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    framing: Framing = "none"
    # 1xx statuses that came before it.
    interim: tuple[int, ...] = ()
    chunks: tuple[bytes, ...] = field(default=(), repr=False)

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: bytes) -> bytes | None:
        """The field's value; it must not be there twice."""
        values = self.values(name)
        assert len(values) <= 1, f"{name!r} is there {len(values)} times: {self.headers}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        return self.header(b"connection") == b"close"


def parse_head(block: bytes) -> Head:
    """Status, reason and field lines of a response's head, its empty line included."""
    lines = block[:-4].split(b"\r\n")
    status_line = STATUS_LINE.fullmatch(lines[0])
    if status_line is None:
        raise FramingError(f"not a status line: {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        found = FIELD_LINE.fullmatch(line)
        if found is None:
            raise FramingError(f"not a field line: {line!r}")
        headers.append((found[1], found[2].strip(b" \t")))
    return int(status_line[1]), status_line[2], tuple(headers)


class TruncatedError(FramingError):
    """The connection ended within a response; `partial` is what there was of it."""

    def __init__(self, partial: Response | None, received: bytes) -> None:
        super().__init__(f"the connection ended within a response: {partial or received!r}")
        self.partial = partial
        self.received = received


class Wire:
    """One connection to a server."""

    def __init__(
        self,
        address: Address,
        context: ssl.SSLContext | None = None,
        *,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        raw = connect(address, receive_buffer_bytes)
        self.socket: Socket = raw
        if context is not None:
            self.socket = TLSSocket(raw, context)
            try:
                self.socket.handshake()
            except OSError:
                raw.close()
                raise
        self.host = authority(address)
        self._received = bytearray()
        self._ended = False
        # The body of the last request is chunked.
        self._is_chunked = False
        # The peer's RST instead of its FIN.
        self.was_reset = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Sends it all, or as much as a peer that closes will take."""
        try:
            self.socket.settimeout(DEADLINE_S)
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_request(self, method: str, target: str, *fields: str, body: bytes = b"") -> None:
        """Sends a well-formed request with a `Host` field and, for a body, its length."""
        self.send(request(method, target, *fields, host=self.host, body=body))

    def begin(self, method: str, target: str, *fields: str, length: int | None = None) -> None:
        """Sends the head of a request whose body is to come, of so many bytes if that is told."""
        self._is_chunked = length is None
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        self.send_request(method, target, *fields, framing)

    def piece(self, data: bytes, *, end: bool = False) -> None:
        """Sends a piece of that body. It says whether it is the last one unless the length does."""
        if not self._is_chunked:
            return self.send(data)
        chunk = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
        return self.send(chunk + (b"0\r\n\r\n" if end else b""))

    def send_end(self) -> None:
        """Half-closes: nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def is_readable(self, within_s: float = 0) -> bool:
        """Something of the server's waits to be read, its end of the connection included."""
        if isinstance(self.socket, TLSSocket):
            # A record may hold nothing for the reader.
            try:
                self._fill(time.monotonic() + max(within_s, 0.001))
            except AssertionError:
                return False
            return True
        return bool(self._received) or bool(select.select([self.socket], [], [], within_s)[0])

    def response(self, method: str = "GET", *, deadline_s: float = DEADLINE_S) -> Response:
        """Reads one response to a request with `method`, all of it and nothing after it."""
        until = time.monotonic() + deadline_s
        interim: list[int] = []
        while True:
            status, reason, headers = self._head(until)
            if status >= 200:
                break
            if status == 101:
                raise FramingError("switched protocols unasked")
            interim.append(status)
        partial = Response(status, reason, headers, interim=tuple(interim))
        return self._with_body(partial, method, until)

    def head(self, *, deadline_s: float = DEADLINE_S) -> Response:
        """Reads one head, interim or final, and leaves what follows."""
        status, reason, headers = self._head(time.monotonic() + deadline_s)
        return Response(status, reason, headers)

    def read(self, count: int, *, deadline_s: float = DEADLINE_S) -> bytes:
        """Exactly so many bytes, whatever they mean."""
        until = time.monotonic() + deadline_s
        while len(self._received) < count:
            if not self._fill(until):
                if not self._received:
                    raise ClosedError("the connection ended")
                raise TruncatedError(None, bytes(self._received))
        return self._take(count)

    def read_until(self, ending: bytes, *, deadline_s: float = DEADLINE_S) -> bytes:
        """All bytes up to and including the first `ending`."""
        until = time.monotonic() + deadline_s
        while ending not in self._received:
            if not self._fill(until):
                raise TruncatedError(None, bytes(self._received))
        return self._take(self._received.index(ending) + len(ending))

    def read_all(self, *, deadline_s: float = DEADLINE_S) -> bytes:
        """Everything until the connection ends."""
        until = time.monotonic() + deadline_s
        while self._fill(until):
            pass
        return self._take(len(self._received))

    def assert_closed(self, *, deadline_s: float = DEADLINE_S) -> None:
        """The server closes the connection without another byte."""
        rest = self.read_all(deadline_s=deadline_s)
        assert not rest, f"the server sent more before it closed: {rest[:200]!r}"

    def assert_given_up(self) -> None:
        """What has gone wrong has ended the connection."""
        self.assert_closed()

    def assert_open(self) -> None:
        """The server answers another request on this connection."""
        self.send_request("GET", "/")
        response = self.response()
        assert response.status == 200, response

    def _head(self, until: float) -> Head:
        while b"\r\n\r\n" not in self._received:
            if len(self._received) > HEAD_BYTES_MAX:
                raise FramingError("a head without an end")
            if not self._fill(until):
                if self._received:
                    raise TruncatedError(None, bytes(self._received))
                raise ClosedError("the connection ended before a response")
        return parse_head(self._take(self._received.index(b"\r\n\r\n") + 4))

    def _with_body(self, head: Response, method: str, until: float) -> Response:
        lengths = head.values(b"content-length")
        codings = head.values(b"transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise FramingError(f"ambiguous framing: {head.headers}")
        if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
            raise FramingError(f"not a length: {lengths[0]!r}")
        if codings and codings[0] != b"chunked":
            raise FramingError(f"not a transfer coding: {codings[0]!r}")
        if head.status == 204 and (lengths or codings):
            raise FramingError(f"a 204 with framing (RFC 9110, 8.6): {head.headers}")
        if method == "HEAD" or head.status in (204, 304):
            return head
        if codings:
            return self._chunked(head, until)
        if lengths:
            return self._counted(head, int(lengths[0]), until)
        while self._fill(until):
            pass
        return self._finish(head, self._take(len(self._received)), "close")

    def _counted(self, head: Response, length: int, until: float) -> Response:
        while len(self._received) < length:
            if not self._fill(until):
                part = self._take(len(self._received))
                raise TruncatedError(self._finish(head, part, "length"), part)
        return self._finish(head, self._take(length), "length")

    def _chunked(self, head: Response, until: float) -> Response:
        chunks: list[bytes] = []

        def partial() -> Response:
            return self._finish(head, b"".join(chunks), "chunked", chunks)

        def line() -> bytes:
            while b"\r\n" not in self._received:
                if not self._fill(until):
                    raise TruncatedError(partial(), self._take(len(self._received)))
            return self._take(self._received.index(b"\r\n") + 2)[:-2]

        while True:
            size_line = line()
            if CHUNK_LINE.fullmatch(size_line) is None:
                raise FramingError(f"not a chunk size: {size_line!r}")
            size = int(size_line, 16)
            if size == 0:
                if line() != b"":
                    raise FramingError("trailers that nobody sent")
                return partial()
            while len(self._received) < size + 2:
                if not self._fill(until):
                    rest = self._take(len(self._received))
                    chunks.append(rest[:size])
                    raise TruncatedError(partial(), rest)
            chunks.append(self._take(size))
            if self._take(2) != b"\r\n":
                raise FramingError("no line end after a chunk")

    @staticmethod
    def _finish(
        head: Response, body: bytes, framing: Framing, chunks: list[bytes] | None = None
    ) -> Response:
        return Response(
            head.status,
            head.reason,
            head.headers,
            body,
            framing,
            head.interim,
            tuple(chunks or ()),
        )

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _fill(self, until: float) -> bool:
        """Reads more; false at the end of the connection."""
        if self._ended:
            return False
        left = until - time.monotonic()
        if left <= 0:
            raise AssertionError(f"no more within the deadline, after {self._received[:200]!r}")
        self.socket.settimeout(max(left, 0.001))
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise AssertionError(
                f"no more within the deadline, after {self._received[:200]!r}"
            ) from None
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        self._received += data
        self._ended = not data
        return bool(data)


def connect(address: Address, receive_buffer_bytes: int | None = None) -> socket.socket:
    """A connected socket with a deadline."""
    family = socket.AF_UNIX
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        if receive_buffer_bytes is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connected.settimeout(DEADLINE_S)
        connected.connect(address)
        if isinstance(address, tuple):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        connected.close()
        raise
    return connected


def authority(address: Address) -> str:
    """What a `Host` field holds."""
    if not isinstance(address, tuple):
        return "localhost"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def request(
    method: str, target: str, *fields: str, host: str = "localhost", body: bytes = b""
) -> bytes:
    """A well-formed HTTP/1.1 request; its fields as lines without their ends."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def deliveries(
    server: Server,
    data: bytes,
    rest: bytes = b"",
    *,
    before: bytes = b"",
    how: tuple[Delivery, ...] = ("whole", "bytes", "cuts"),
) -> Iterator[tuple[str, Wire]]:
    """Connections on which `before`, `data` and `rest` were sent, `data` in every way.

    That is whole, byte by byte, and in two parts, cut at every point of it, a connection for each.
    Yields what was done, for messages, with the connection, which is closed afterwards.
    """
    for kind in how:
        if kind == "whole":
            with server.connect() as wire:
                wire.send(before + data + rest)
                yield "whole", wire
        elif kind == "bytes":
            with server.connect() as wire:
                wire.send(before)
                for position in range(len(data)):
                    wire.send(data[position : position + 1])
                    server.barrier()
                wire.send(rest)
                yield "byte by byte", wire
        else:
            yield from _cuts(server, before, data, rest)


def _cuts(server: Server, before: bytes, data: bytes, rest: bytes) -> Iterator[tuple[str, Wire]]:
    wires = [server.connect() for _ in range(1, len(data))]
    try:
        for position, wire in enumerate(wires, 1):
            wire.send(before + data[:position])
        server.barrier()
        for position, wire in enumerate(wires, 1):
            wire.send(data[position:] + rest)
        for position, wire in enumerate(wires, 1):
            yield f"cut after {data[:position][-12:]!r}", wire
    finally:
        for wire in wires:
            wire.close()
