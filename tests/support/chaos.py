"""Clients that never stop, and that know when a request was lost.

`Clients` runs several of each kind in a thread of its own. A request is lost when it was sent on a
connection on which the server had not announced its end and no whole, right answer came. Those
that a killed process had are excused: nobody could answer them. So are, where idle connections are
closed after a moment, those of clients that were themselves held up for as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType

from support import frames
from support.tls import HOST
from support.wire import FramingError, Response, parse_head, request

ANSWER_S_MAX = 15.0
TURN_S = 0.01
LATE_S = 0.05
"""A client whose event loop has stood still for so long may meet the end of its idle connection."""
PIPELINED = 8


class LostError(Exception):
    """No whole, right answer came."""


class Connection:
    """One connection of a client, by hand: nothing is sent again behind its back."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened_at: float
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.pid: int | None = None
        self.is_open = True
        self.opened_at = opened_at

    def send(self, method: str, target: str, body: bytes = b"") -> None:
        self.writer.write(request(method, target, body=body))

    async def head(self) -> Response:
        """The next head; notes which process it came from."""
        response = Response(*parse_head(await self.reader.readuntil(b"\r\n\r\n")))
        pid = response.header(b"x-pid")
        if pid is None:
            raise LostError(f"not the application's answer: {response}")
        self.pid = int(pid)
        return response

    async def answer(self, expected: bytes) -> None:
        async with asyncio.timeout(ANSWER_S_MAX):
            response = await self.head()
            length = response.header(b"content-length")
            body = await (self._chunks() if length is None else self._exactly(int(length)))
        if response.status != 200 or body != expected:
            raise LostError(f"a wrong answer: {response} {body[:100]!r}, not {expected[:100]!r}")
        self.is_open = not response.closes

    async def _exactly(self, length: int) -> bytes:
        return await self.reader.readexactly(length)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body


class Clients:
    """Clients of all kinds, from entering the block to leaving it."""

    def __init__(
        self, port: int, context: ssl.SSLContext | None = None, *, may_be_late: bool = False
    ) -> None:
        self.port = port
        self.context = context
        self.may_be_late = may_be_late
        self.late = 0
        self.answered: Counter[str] = Counter()
        self.by_pid: Counter[int] = Counter()
        self.lost: list[str] = []
        self.killed: dict[int, float] = {}
        self._was_late_at = 0.0
        self._counts = {
            "keep_alive": 8,
            "pipelining": 2,
            "streaming": 4,
            "events": 2,
            "uploading": 2,
            "websocket": 2,
            "connecting": 2,
        }
        self._numbers = itertools.count()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._thread.join()

    def total(self) -> int:
        return self.answered.total()

    def will_kill(self, pid: int) -> None:
        """What this process has not answered is excused."""
        self.killed[pid] = time.monotonic()

    def wait_for_answers(self, count: int) -> None:
        """Returns once there are so many more."""
        goal = self.total() + count
        until = time.monotonic() + ANSWER_S_MAX
        while self.total() < goal:
            assert time.monotonic() < until, f"no more answers: {self.answered}"
            time.sleep(0.002)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_the_clock())
            for kind, count in self._counts.items():
                talk: Callable[[Connection], Awaitable[None]] = getattr(self, f"_{kind}")
                for _ in range(count):
                    group.create_task(self._client(kind, talk))

    async def _watch_the_clock(self) -> None:
        while not self._ends.is_set():
            began_at = time.monotonic()
            await asyncio.sleep(TURN_S)
            if time.monotonic() - began_at > TURN_S + LATE_S:
                self._was_late_at = time.monotonic()

    async def _client(self, kind: str, talk: Callable[[Connection], Awaitable[None]]) -> None:
        while not self._ends.is_set():
            async with self._connected() as connection:
                try:
                    while connection.is_open and not self._ends.is_set():
                        await talk(connection)
                        if connection.pid is not None:
                            self.by_pid[connection.pid] += 1
                except (OSError, EOFError, TimeoutError, LostError, FramingError) as error:
                    self._note(kind, connection, error)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        began_at = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                self.port,
                ssl=self.context,
                server_hostname=HOST if self.context else None,
            )
        except OSError as error:
            self.lost.append(f"no connection: {error!r}")
            await asyncio.sleep(0.05)
            reader, writer = asyncio.StreamReader(), None  # type: ignore[assignment]
        connection = Connection(reader, writer, began_at)
        connection.is_open = writer is not None
        try:
            yield connection
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(ANSWER_S_MAX):
                        await writer.wait_closed()

    def _note(self, kind: str, connection: Connection, error: Exception) -> None:
        if self._is_excused(connection):
            return
        # Nothing of an answer: the connection had ended before the request was sent.
        had_ended = isinstance(error, OSError) or getattr(error, "partial", None) == b""
        late_s = time.monotonic() - self._was_late_at
        if self.may_be_late and connection.pid and had_ended and late_s < 1:
            self.late += 1
            return
        age_s = time.monotonic() - connection.opened_at
        self.lost.append(
            f"{kind} from {connection.pid} after {age_s:.3f} s, late {late_s:.3f} s ago: {error!r}"
        )

    def _is_excused(self, connection: Connection) -> bool:
        if connection.pid is not None:
            return connection.pid in self.killed
        return any(at >= connection.opened_at for at in self.killed.values())

    async def _keep_alive(self, connection: Connection) -> None:
        number = next(self._numbers)
        connection.send("GET", f"/value/{number}")
        await connection.answer(b"%d" % number)
        self.answered["keep_alive"] += 1

    async def _connecting(self, connection: Connection) -> None:
        await self._keep_alive(connection)
        connection.is_open = False

    async def _pipelining(self, connection: Connection) -> None:
        numbers = [next(self._numbers) for _ in range(PIPELINED)]
        for number in numbers:
            connection.send("GET", f"/slow/{number}")
        for number in numbers:
            await connection.answer(b"%d" % number)
            self.answered["pipelining"] += 1
            if not connection.is_open:
                return  # The rest was sent behind the announced end.

    async def _uploading(self, connection: Connection) -> None:
        body = b"%d" % next(self._numbers) * 5000
        connection.send("POST", "/upload", body)
        await connection.answer(b"%d" % sum(body))
        self.answered["uploading"] += 1

    async def _streaming(self, connection: Connection) -> None:
        connection.send("GET", "/stream/10")
        await connection.answer(b"".join(b"%d," % number for number in range(10)))
        self.answered["streaming"] += 1

    async def _events(self, connection: Connection) -> None:
        connection.send("GET", "/events/20")
        await connection.answer(b"".join(b"data: %d\n\n" % number for number in range(20)))
        self.answered["events"] += 1

    async def _websocket(self, connection: Connection) -> None:
        connection.writer.write(frames.handshake("/socket"))
        connection.is_open = False
        async with asyncio.timeout(ANSWER_S_MAX):
            response = await connection.head()
            if response.status != 101:
                raise LostError(f"no WebSocket: {response}")
            for _ in range(10):
                text = b"%d" % next(self._numbers)
                connection.writer.write(frames.frame(frames.TEXT, text))
                start = await connection.reader.readexactly(2)
                payload = await connection.reader.readexactly(start[1] & 0x7F)
                if start[0] == 0x80 | frames.CLOSE and payload == frames.close_payload(1012):
                    return  # The announced end: the server restarts.
                if start[0] != 0x80 | frames.TEXT or payload != text:
                    raise LostError(f"a wrong message: {start!r} {payload!r}, not {text!r}")
                self.answered["websocket"] += 1
