"""What the case classes speak through: the fuzzing client of the Autobahn test suite, on asyncio.

The names of methods and attributes are those that the cases use. Texts and payloads are `str` with
a character for each byte, as the cases have them, or `bytes`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from loader import CloseCodes

TAIL = b"\x00\x00\xff\xff"


def as_bytes(payload: str | bytes) -> bytes:
    return payload.encode("latin-1") if isinstance(payload, str) else payload


class Deflate:
    """A client's side of permessage-deflate, as the server has agreed to it."""

    def __init__(self, response: str) -> None:
        words = dict(
            (word.strip().partition("=")[::2]) for word in response.split(";")[1:] if word.strip()
        )
        self.bits = int(words.get("client_max_window_bits") or 15)
        self.forgets = "client_no_context_takeover" in words
        self.peer_bits = int(words.get("server_max_window_bits") or 15)
        self.peer_forgets = "server_no_context_takeover" in words
        self.deflater: Any = None
        self.inflater: Any = None

    def compress(self, data: bytes) -> bytes:
        if self.deflater is None or self.forgets:
            self.deflater = zlib.compressobj(wbits=-max(self.bits, 9))
        compressed: bytes = self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        return compressed[:-4]

    def inflate(self, data: bytes) -> bytes:
        if self.inflater is None or self.peer_forgets:
            self.inflater = zlib.decompressobj(wbits=-self.peer_bits)
        inflated: bytes = self.inflater.decompress(data + TAIL)
        return inflated


class Peer(CloseCodes):
    """One connection to the server under test."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.factory = SimpleNamespace(isServer=False)
        self.state = self.STATE_CONNECTING
        self.connectionWasOpen = False
        self.closedByMe = self.failedByMe = self.droppedByMe = self.wasClean = False
        self.localCloseCode: int | None = None
        self.localCloseReason: Any = None
        self.remoteCloseCode: int | None = None
        self.autoFragmentSize = 0
        self.createWirelog = False
        self.trafficStats = None
        self.txFrameStats: Counter[int] = Counter()
        self.perMessageCompressionOffers: list[Any] = []
        self.perMessageCompressionAccept: Any = None
        self._perMessageCompress: Deflate | None = None
        self._frame_left = 0
        self._mask = b""
        self._timers: list[asyncio.TimerHandle] = []
        self._binary = False
        self._compressed = False
        self._parts: list[bytes] = []

    async def run(self, case: Any, path: str) -> None:
        """Connects, lets the case do its work and judges when the connection has ended."""
        self.case = case
        self.reader, self.writer = await asyncio.open_connection(
            self.host, self.port, limit=1 << 22
        )
        try:
            await self._handshake(path)
            self.state, self.connectionWasOpen = self.STATE_OPEN, True
            case.onOpen()
            await self._receive()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.state = self.STATE_CLOSED
            for timer in self._timers:
                timer.cancel()
            self.writer.close()
            case.onConnectionLost(self.failedByMe)

    async def _handshake(self, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        if self.perMessageCompressionOffers:
            offers = ", ".join(map(str, self.perMessageCompressionOffers))
            lines.append(f"Sec-WebSocket-Extensions: {offers}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        for line in head.split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-extensions":
                self._perMessageCompress = Deflate(value)

    async def _receive(self) -> None:
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(size)
            self._frame(first >> 7, first >> 4 & 7, first & 15, payload)

    def _frame(self, fin: int, rsv: int, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            return self._close_frame(payload)
        if opcode == 9:
            self.sendFrame(opcode=10, payload=payload)
            return self.case.onPing(payload.decode("latin-1"))  # type: ignore[no-any-return]
        if opcode == 10:
            return self.case.onPong(payload.decode("latin-1"))  # type: ignore[no-any-return]
        if opcode:
            self._binary, self._compressed = opcode == 2, bool(rsv & 4)
        self._parts.append(payload)
        if not fin:
            return None
        data = b"".join(self._parts)
        self._parts = []
        if self._compressed:
            assert self._perMessageCompress is not None
            data = self._perMessageCompress.inflate(data)
        offers = self.perMessageCompressionOffers
        self.case.onMessage(data if offers else data.decode("latin-1"), self._binary)
        return None

    def _close_frame(self, payload: bytes) -> None:
        self.remoteCloseCode = int.from_bytes(payload[:2], "big") if payload else None
        self.wasClean = True
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(self.remoteCloseCode, isReply=True)

    def sendFrame(
        self,
        opcode: int,
        payload: str | bytes = b"",
        fin: bool = True,
        rsv: int = 0,
        mask: str | None = None,
        payload_len: int | None = None,
        chopsize: int | None = None,
        sync: bool = False,
    ) -> None:
        data = as_bytes(payload)
        if payload_len is not None:
            data = (data * (payload_len // max(len(data), 1) + 1))[:payload_len]
        self.txFrameStats[opcode] += 1
        self._write(self._header(opcode, len(data), fin, rsv) + self._masked(data), chopsize)

    def _header(self, opcode: int, size: int, fin: bool, rsv: int) -> bytes:
        self._mask = os.urandom(4)
        first = fin << 7 | rsv << 4 | opcode
        if size < 126:
            return bytes([first, 0x80 | size]) + self._mask
        if size < 1 << 16:
            return struct.pack("!BBH", first, 0x80 | 126, size) + self._mask
        return struct.pack("!BBQ", first, 0x80 | 127, size) + self._mask

    def _masked(self, data: bytes) -> bytes:
        key = (self._mask * (len(data) // 4 + 1))[: len(data)]
        masked = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
        # The next piece of the same frame goes on where this one ends.
        turn = len(data) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        return masked.to_bytes(len(data), "big")

    def _write(self, data: bytes, chopsize: int | None = None) -> None:
        step = chopsize or len(data) or 1
        for start in range(0, len(data), step):
            self.writer.write(data[start : start + step])

    def sendMessage(
        self,
        payload: str | bytes,
        isBinary: bool = False,
        fragmentSize: int | None = None,
        sync: bool = False,
    ) -> None:
        data, rsv = as_bytes(payload), 0
        if self._perMessageCompress is not None:
            data, rsv = self._perMessageCompress.compress(data), 4
        size = fragmentSize or self.autoFragmentSize or len(data) or 1
        starts = range(0, len(data), size) or range(1)
        for start in starts:
            is_first, is_last = start == 0, start == starts[-1]
            opcode = (2 if isBinary else 1) if is_first else 0
            piece = data[start : start + size]
            self.sendFrame(opcode, piece, fin=is_last, rsv=rsv if is_first else 0)

    def beginMessage(self, isBinary: bool = False) -> None:
        self._binary = isBinary

    def beginMessageFrame(self, length: int) -> None:
        # The one frame of its message, so that it can be its last as well.
        self._write(self._header(2 if self._binary else 1, length, True, 0))

    def sendMessageFrameData(self, payload: str | bytes, sync: bool = False) -> None:
        self._write(self._masked(as_bytes(payload)))

    def endMessage(self) -> None:
        pass

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:
        self.sendCloseFrame(code, as_bytes(reason) if reason else None)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: str | bytes | None = None, isReply: bool = False
    ) -> None:
        if self.state != self.STATE_OPEN:
            return
        self.state = self.STATE_CLOSING
        self.closedByMe = not isReply
        self.localCloseCode, self.localCloseReason = code, reasonUtf8
        payload = b"" if code is None else struct.pack("!H", code) + as_bytes(reasonUtf8 or b"")
        self.sendFrame(opcode=8, payload=payload)

    def continueLater(self, delay: float, step: Callable[[], None], tag: str | None = None) -> None:
        def go_on() -> None:
            if self.state != self.STATE_CLOSED:
                step()

        self._timers.append(asyncio.get_running_loop().call_later(delay, go_on))

    def closeAfter(self, delay: float) -> None:
        self.continueLater(delay, self.sendClose)

    def killAfter(self, delay: float) -> None:
        self.continueLater(delay, self._fail)

    def _fail(self) -> None:
        self.failedByMe = self.droppedByMe = True
        self.writer.transport.abort()

    def enableWirelog(self, enable: bool) -> None:
        self.createWirelog = enable
