"""A WebSocket client that believes nothing: frames go out as given and are read by the letter.

`WebSocket` is one on a `Wire`. `frame()` makes the bytes of one frame, well-formed or not.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from support.wire import DEADLINE_S, FramingError, Response, Wire

if TYPE_CHECKING:
    from support.server import Server

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    length: int | None = None,
) -> bytes:
    """The bytes of one frame. `length` is what it says of its payload."""
    size = len(payload) if length is None else length
    first = fin << 7 | rsv << 4 | opcode
    masked = 0x80 if mask is not None else 0
    if size < 126:
        head = bytes([first, masked | size])
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    plain, key_number = int.from_bytes(payload, "big"), int.from_bytes(key, "big")
    return head + mask + (plain ^ key_number).to_bytes(len(payload), "big")


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def close_payload(code: int, reason: bytes | str = b"") -> bytes:
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def handshake(target: str, *fields: str, host: str = "test", key: str | None = None) -> bytes:
    """A request for a WebSocket. A field given replaces the one of its name; one without a value
    leaves it out."""
    lines = {
        "host": f"Host: {host}",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {key or new_key()}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    for index, field in enumerate(fields):
        name, _, value = field.partition(":")
        if value:
            known = name.lower() in lines
            lines[name.lower() if known else f"{name} {index}"] = field
        else:
            lines.pop(name.lower())
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines.values(), "", ""]).encode("latin-1")


def new_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


class WebSocket:
    """A connection that has asked for a WebSocket and got it."""

    def __init__(
        self,
        server: Server,
        target: str,
        *fields: str,
        early: bytes = b"",
        wire: Wire | None = None,
    ) -> None:
        self.wire: Any = wire or server.connect()
        if server.http_version == "2":
            self.wire.tunnel(target)
            self.response: Response = self.wire.head()
            assert self.response.status == 200, self.response
            return
        key = new_key()
        self.wire.send(handshake(target, *fields, host=server.host, key=key) + early)
        self.response = self.wire.head()
        assert self.response.status == 101, (self.response, self.wire.read_all())
        expected = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())
        assert self.response.header(b"sec-websocket-accept") == expected

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def send(self, *frames: bytes) -> None:
        self.wire.send(b"".join(frames))

    def end(self) -> None:
        """Says that no more will be sent: without a close frame the WebSocket is lost."""
        is_stream = not isinstance(self.wire, Wire)
        self.wire.end_tunnel() if is_stream else self.wire.send_end()

    def text(self, *texts: str) -> None:
        self.send(*(frame(TEXT, text.encode()) for text in texts))

    def frame(self, *, deadline_s: float = DEADLINE_S) -> Frame:
        first, second = self.wire.read(2, deadline_s=deadline_s)
        if second & 0x80:
            raise FramingError("a server must not mask")
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.wire.read(2))
            minimal = size >= 126
        elif size == 127:
            (size,) = struct.unpack("!Q", self.wire.read(8))
            minimal = size >= 1 << 16
        else:
            minimal = True
        if not minimal:
            raise FramingError("a length with more bytes than it needs")
        payload = self.wire.read(size, deadline_s=deadline_s)
        return Frame(first & 0xF, payload, bool(first & 0x80), first >> 4 & 0x7)

    def expect(self, opcode: int, payload: bytes | str) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        received = self.frame()
        assert received == Frame(opcode, data), received

    def expect_text(self, text: str) -> None:
        self.expect(TEXT, text)

    def expect_close(self, code: int | None, reason: bytes | str | None = None) -> None:
        """A close frame, with any reason unless one is given."""
        received = self.frame()
        assert received.opcode == CLOSE, received
        if code is None:
            assert received.payload == b"", received
        else:
            assert received.payload[:2] == struct.pack("!H", code), received
        if reason is not None:
            expected = reason.encode() if isinstance(reason, str) else reason
            assert received.payload[2:] == expected, received

    def expect_failure(self, code: int) -> None:
        """The server fails the connection: a close frame, then the end."""
        self.expect_close(code)
        self.wire.assert_closed()
