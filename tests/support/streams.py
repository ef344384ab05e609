"""An HTTP/2 connection with the methods of `Wire`, so that one case serves both versions.

A request is a stream here. What a case asks of a connection in HTTP/1.1, its next answer or its
end, it gets from the stream whose answer is due.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from support.http2 import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    Answer,
    Peer,
    ResetError,
)
from support.wire import DEADLINE_S, Address, ClosedError, Response, Socket, TruncatedError

# Frames that tell of an answer.
ANSWERS = (HEADERS, DATA, RST_STREAM)


class StreamWire:
    """One connection to a server."""

    def __init__(self, address: Address, context: ssl.SSLContext | None = None) -> None:
        self.peer = Peer(address, context=context)
        self.host = self.peer.wire.host
        # Streams whose answers have not been read, in their order.
        self._due: deque[int] = deque()
        # What the body of the last request lacks, if its length was told.
        self._missing: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def socket(self) -> Socket:
        return self.peer.wire.socket

    def send_request(self, method: str, target: str, *fields: str, body: bytes = b"") -> None:
        if body:
            self.begin(method, target, *fields, length=len(body))
            self.piece(body)
        else:
            self._due.append(self.peer.begin(method, target, *pairs(fields), end=True))

    def begin(self, method: str, target: str, *fields: str, length: int | None = None) -> None:
        told = () if length is None else ((b"content-length", b"%d" % length),)
        self._due.append(self.peer.begin(method, target, *pairs(fields), *told))
        self._missing = length

    def piece(self, data: bytes, *, end: bool = False) -> None:
        if self._missing is not None:
            self._missing -= len(data)
            end = self._missing == 0
        self.peer.send_body(self._due[-1], data, end=end)

    def tunnel(self, target: str) -> None:
        """Asks for a WebSocket (RFC 8441): what is sent from then on goes through it."""
        number = self.peer.number()
        pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": self.peer.scheme}
        place = {":authority": self.host, ":path": target, "sec-websocket-version": "13"}
        block = self.peer.block([*pseudo.items(), *place.items()])
        self.peer.send(HEADERS, END_HEADERS, number, block)
        self._due.append(number)

    def send(self, data: bytes) -> None:
        self.peer.send_body(self._due[-1], data, end=False)

    def end_tunnel(self) -> None:
        self.peer.send(DATA, END_STREAM, self._due[-1])

    def send_end(self) -> None:
        self.peer.wire.send_end()

    def close(self) -> None:
        self.peer.close()

    def reset(self) -> None:
        """Takes back what has been asked, and closes when the server has seen that."""
        for number in self._due:
            self.peer.send(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
        self._due.clear()
        self.assert_open()
        self.close()

    def is_readable(self, within_s: float = 0) -> bool:
        """Something of an answer has come."""
        due = [self.peer.answers[number] for number in self._due]
        if any(answer.heads or answer.is_over for answer in due):
            return True
        until = time.monotonic() + max(within_s, 0.001)
        with contextlib.suppress(AssertionError):
            while self.peer.read_frame(deadline_s=until - time.monotonic()).kind not in ANSWERS:
                pass
            return True
        return False

    def response(self, method: str = "GET", *, deadline_s: float = DEADLINE_S) -> Response:
        number = self._due[0]
        try:
            response = self.peer.response(number, deadline_s=deadline_s)
        except ResetError:
            answer = self._answer()
            if not answer.heads:
                raise ClosedError("the stream ended") from None
            raise TruncatedError(self.peer.finished(number), bytes(answer.body)) from None
        self._due.popleft()
        return response

    def head(self, *, deadline_s: float = DEADLINE_S) -> Response:
        answer = self._answer()
        self._read(lambda: bool(answer.heads), deadline_s)
        fields = answer.heads[0]
        status = int(dict(fields)[b":status"])
        if status < 200:
            del answer.heads[0]
        headers = tuple(pair for pair in fields if pair[0] != b":status")
        return Response(status, b"", headers)

    def read(self, count: int, *, deadline_s: float = DEADLINE_S) -> bytes:
        answer = self._answer()
        self._read(lambda: len(answer.body) >= count, deadline_s)
        return answer.take(count)

    def read_until(self, ending: bytes, *, deadline_s: float = DEADLINE_S) -> bytes:
        answer = self._answer()
        self._read(lambda: ending in answer.body, deadline_s)
        return answer.take(answer.body.index(ending) + len(ending))

    def read_all(self, *, deadline_s: float = DEADLINE_S) -> bytes:
        """What comes of the answer until it ends in any way."""
        answer = self._answer()
        self._read(lambda: answer.is_over, deadline_s)
        self._due.popleft()
        return answer.take(len(answer.body))

    def assert_given_up(self) -> None:
        """What has gone wrong ended its stream at the most."""
        self._due.clear()
        self.assert_open()

    def assert_open(self) -> None:
        self.send_request("GET", "/")
        response = self.response()
        assert response.status == 200, response

    def _answer(self) -> Answer:
        return self.peer.answers[self._due[0]]

    def _read(self, is_there: Callable[[], bool], deadline_s: float) -> None:
        until = time.monotonic() + deadline_s
        while not is_there():
            assert not self._answer().is_over, "the answer ended early"
            self.peer.read_frame(deadline_s=until - time.monotonic())


def pairs(fields: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """Field lines of HTTP/1.1 as HTTP/2 has them."""
    split = (line.encode("latin-1").partition(b":") for line in fields)
    return [(name.lower(), value.strip(b" \t")) for name, _, value in split]
