"""An HTTP/2 client that sends the frames it is told to and believes nothing.

`Peer` is one connection, with TLS if it is given a context that offers `h2`. It keeps a window
open by itself unless it is told not to, answers SETTINGS and PING, and reads whole responses; all
else is a frame in and out. HPACK is the `hpack` package's.
"""

from __future__ import annotations

import ssl
import struct
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import hpack

from support.wire import DEADLINE_S, Address, ClosedError, Response, Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
STREAM_CLOSED, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 5, 7, 8, 11

# SETTINGS.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL = 5, 6, 8

Field = tuple[str | bytes, str | bytes]
Fields = Iterable[Field]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        assert self.kind in (RST_STREAM, GOAWAY), self
        return int(
            struct.unpack(
                ">I", self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8]
            )[0]
        )

    @property
    def last_stream(self) -> int:
        """The last stream that a GOAWAY promises to answer."""
        assert self.kind == GOAWAY, self
        return int(struct.unpack(">I", self.payload[:4])[0])


class ResetError(AssertionError):
    """The server ended the stream."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset with {code}")
        self.code = code


class GoneError(AssertionError):
    """The server ended the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the connection was ended with {code}")
        self.code = code


@dataclass
class Answer:
    """What has come of one response."""

    heads: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.ended or self.reset is not None

    def take(self, count: int) -> bytes:
        """The first bytes of the body, which are then gone from it."""
        taken = bytes(self.body[:count])
        del self.body[:count]
        return taken


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Peer:
    """One connection."""

    def __init__(
        self,
        address: Address,
        *,
        context: ssl.SSLContext | None = None,
        window: int | None = 1 << 30,
        settings: dict[int, int] | None = None,
        preface: bool = True,
    ) -> None:
        self.wire = Wire(address, context)
        self.scheme = "http" if context is None else "https"
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.settings: dict[int, int] = {}
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.frames: list[Frame] = []
        self.goaway: Frame | None = None
        self._next = 1
        # By how much the server has widened its windows, less what was sent; 0 is the connection's.
        self._widened: defaultdict[int, int] = defaultdict(int)
        chosen = dict(settings or {})
        if window is not None:
            chosen.setdefault(INITIAL_WINDOW_SIZE, window)
        if preface:
            payload = b"".join(struct.pack(">HI", *pair) for pair in chosen.items())
            self.wire.send(PREFACE + frame(SETTINGS, 0, 0, payload))
            if window is not None:
                self.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", window - 65535))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.wire.close()

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        if kind == DATA:
            self._widened[0] -= len(payload)
            self._widened[stream] -= len(payload)
        self.wire.send(frame(kind, flags, stream, payload))

    def room(self, stream: int) -> int:
        """How much the server's windows let through."""
        initial = self.settings.get(INITIAL_WINDOW_SIZE, 65535)
        return min(65535 + self._widened[0], initial + self._widened[stream])

    def head(self, method: str = "GET", target: str = "/", *fields: Field) -> bytes:
        """A request's header block."""
        pseudo = [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", self.wire.host),
            (":path", target),
        ]
        return bytes(self.encoder.encode([*pseudo, *fields]))

    def block(self, fields: Fields) -> bytes:
        """Any header block."""
        return bytes(self.encoder.encode(list(fields)))

    def number(self) -> int:
        """The next stream's number."""
        number, self._next = self._next, self._next + 2
        return number

    def begin(self, method: str, target: str, *fields: Field, end: bool = False) -> int:
        """Sends a request's head; returns the stream's number."""
        number = self.number()
        block = self.head(method, target, *fields)
        parts = [block[start : start + 16384] for start in range(0, len(block), 16384)]
        for position, part in enumerate(parts):
            kind = CONTINUATION if position else HEADERS
            flags = END_HEADERS if position + 1 == len(parts) else 0
            self.send(kind, flags | (END_STREAM if end and kind == HEADERS else 0), number, part)
        return number

    def request(
        self, method: str = "GET", target: str = "/", *fields: tuple[str, str], body: bytes = b""
    ) -> int:
        """Sends a whole request, its body as the server's windows allow."""
        number = self.begin(method, target, *fields, end=not body)
        if body:
            self.send_body(number, body)
        return number

    def send_body(self, number: int, body: bytes, *, end: bool = True) -> None:
        """Sends a piece of a body, as the server's windows allow."""
        until = time.monotonic() + DEADLINE_S
        while len(body) > (room := min(self.room(number), 16384)):
            if room > 0:
                self.send(DATA, 0, number, body[:room])
                body = body[room:]
            else:
                self.read_frame(deadline_s=until - time.monotonic())
        self.send(DATA, END_STREAM if end else 0, number, body)

    def get(self, target: str = "/", *fields: tuple[str, str]) -> Response:
        return self.response(self.request("GET", target, *fields))

    def response(self, number: int, *, deadline_s: float = DEADLINE_S) -> Response:
        """The whole answer on a stream."""
        until = time.monotonic() + deadline_s
        answer = self.answers[number]
        while not answer.ended:
            if answer.reset is not None:
                raise ResetError(answer.reset)
            self.read_frame(deadline_s=until - time.monotonic())
        return self.finished(number)

    def finished(self, number: int) -> Response:
        """What has come on a stream, as a response; trailers are `trailers`."""
        answer = self.answers[number]
        interim: list[int] = []
        heads = [dict(head) for head in answer.heads]
        for position, head in enumerate(heads):
            status = int(head[b":status"])
            if status >= 200:
                fields = tuple(pair for pair in answer.heads[position] if pair[0] != b":status")
                body = bytes(answer.body)
                return Response(status, b"", fields, body, "none", tuple(interim))
            interim.append(status)
        raise AssertionError(f"no response on stream {number}: {answer}")

    def trailers(self, number: int) -> list[tuple[bytes, bytes]]:
        """The fields that followed the body."""
        heads = self.answers[number].heads
        return heads[-1] if b":status" not in dict(heads[-1]) else []

    def wait_for(self, kind: int, *, stream: int | None = None, flags: int = 0) -> Frame:
        """Reads until a frame of this kind comes, and returns it."""
        until = time.monotonic() + DEADLINE_S
        while True:
            found = self.read_frame(deadline_s=until - time.monotonic())
            if (
                found.kind == kind
                and found.flags & flags == flags
                and stream in (None, found.stream)
            ):
                return found

    def wait_for_goaway(self, *, deadline_s: float = DEADLINE_S) -> Frame:
        """Reads until the server has ended the connection; its last GOAWAY."""
        until = time.monotonic() + deadline_s
        try:
            while True:
                self.read_frame(deadline_s=until - time.monotonic())
        except ClosedError:
            assert self.goaway is not None, "the connection ended without GOAWAY"
            return self.goaway

    def assert_open(self) -> None:
        """The server answers another request on this connection."""
        assert self.get("/").status == 200

    def read_frame(self, *, deadline_s: float = DEADLINE_S) -> Frame:
        """The next frame, after what it asks for has been done."""
        header = self._read(9, deadline_s)
        length = struct.unpack(">I", b"\0" + header[:3])[0]
        kind, flags, stream = struct.unpack(">BBI", header[3:])
        received = Frame(kind, flags, stream, self._read(length, deadline_s))
        self.frames.append(received)
        self._take(received)
        return received

    def _read(self, count: int, deadline_s: float) -> bytes:
        return self.wire.read(count, deadline_s=deadline_s) if count else b""

    def _take(self, received: Frame) -> None:
        kind, flags, stream, payload = received
        answer = self.answers[stream] if stream else None
        if kind == SETTINGS and not flags & ACK:
            for start in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[start : start + 6])
                self.settings[key] = value
            self.send(SETTINGS, ACK)
        elif kind == PING and not flags & ACK:
            self.send(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.goaway = received
        elif kind == WINDOW_UPDATE:
            self._widened[stream] += struct.unpack(">I", payload)[0]
        elif kind == HEADERS and answer is not None:
            assert flags & END_HEADERS, "the tests' answers have short heads"
            fields = self.decoder.decode(payload, raw=True)
            answer.heads.append([(bytes(name), bytes(value)) for name, value in fields])
        elif kind == DATA and answer is not None:
            answer.body += payload
        elif kind == RST_STREAM and answer is not None:
            answer.reset = received.code
        if kind in (HEADERS, DATA) and flags & END_STREAM and answer is not None:
            answer.ended = True
