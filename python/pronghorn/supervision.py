"""What a supervised server process and its supervisor know of each other.

A `Board` is shared memory with a row for each process: its heartbeat, how many connections it
has, how often its loop has turned. What must arrive at once goes over a pipe, which also tells
either side that the other has died. The supervisor's side is in `supervisors/`; a server finds its
own through `link()`, which is None in a process that nobody supervises. The rule: nothing here
waits, and a supervisor that is gone is no error.
"""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from pronghorn._engine import start_pulse

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ROWS_MAX = 1024
"""Processes of one supervisor at a time, those that are on their way out included."""
ROW_WORDS = 16
"""A row fills a cache line, so that processes do not slow each other down."""

STARTED, REPLACE, GO = b"started", b"replace", b"go"
"""What the pipe carries: the first two to the supervisor, the last from it."""

IDLE_GRACE_S = 0.1
IDLE_GRACE_REPLACED_S_MAX = 3.0
LINGER_S_MAX = 0.5
LINGER_RELOADED_S_MAX = 0.1
GRACE_RELOADED_S = 5.0
"""How long open streams may go on after a change of the code, without a graceful timeout."""


class Word(IntEnum):
    """The words of a row."""

    BEATS = 0
    """Counted up by a thread that needs no interpreter."""
    CONNECTIONS = 1
    """Open connections, plus one; 0 while the process accepts none."""
    TURNS = 2
    """Counted up by the event loop."""
    REQUESTS = 3
    """Requests answered, modulo 2**32."""
    PARTING = 4
    """Why the process is being stopped, see `Parting`."""
    STOPPING = 5
    """1 while the application's lifespan shuts down, for which it has all the time it needs."""


class Parting(IntEnum):
    """Why a supervisor stops a process; on the board before the signal is sent."""

    END = 0
    """The whole server ends."""
    INTERRUPT = 1
    """The same, by someone who waits for it at a terminal."""
    REPLACED = 2
    """Another process serves already, and takes over what waits."""
    RELOADED = 3
    """Another process will serve in a moment."""

    @property
    def has_successor(self) -> bool:
        """Whether connections that wait are left to another process."""
        return self in (Parting.REPLACED, Parting.RELOADED)

    def grace_s(self, timeout_s: float | None) -> float | None:
        """How long requests may go on, given the graceful timeout; None for as long as they like.

        An old process whose streams have no end would stay for ever beside the new ones.
        """
        if timeout_s is None and self is Parting.RELOADED:
            return GRACE_RELOADED_S
        return timeout_s

    def idle_grace_s(self, keep_alive_s: float) -> float:
        """How long an idle connection stays open for one more request.

        A client that sends now and then finds its connection served once more and is told that
        it closes; none is closed under a request that is on its way.
        """
        if self is Parting.REPLACED:
            return min(keep_alive_s, IDLE_GRACE_REPLACED_S_MAX)
        return min(keep_alive_s, IDLE_GRACE_S)

    @property
    def linger_s_max(self) -> float:
        """How long a server that has nothing left to do waits for clients to close.

        Pools of connections look at them with their next request only, and a developer waits for
        the new code.
        """
        return LINGER_RELOADED_S_MAX if self is Parting.RELOADED else LINGER_S_MAX


class Board:
    """Shared memory with a row for each process of one supervisor."""

    def __init__(self) -> None:
        # A server without processes needs nothing of it, and it is slow to import.
        from multiprocessing import get_context

        self.words: Any = get_context("spawn").RawArray(ctypes.c_uint32, ROWS_MAX * ROW_WORDS)
        # The first row is the supervisor's own; its first word says how many are in use.
        self._free = list(range(ROWS_MAX - 1, 0, -1))

    def __getstate__(self) -> dict[str, Any]:
        # Only the supervisor hands out rows.
        return {"words": self.words, "_free": []}

    @property
    def memory(self) -> memoryview:
        """All words, for the engine."""
        # By way of bytes to the format that the engine knows.
        return memoryview(self.words).cast("B").cast("I")

    def take_row(self) -> int:
        """A row of zeros."""
        if not self._free:
            raise OSError(errno.EAGAIN, f"there are {ROWS_MAX - 1} of them already")
        row = self._free.pop()
        start = row * ROW_WORDS
        self.words[start : start + ROW_WORDS] = [0] * ROW_WORDS
        self.words[0] = max(self.words[0], row + 1)
        return row

    def give_back(self, row: int) -> None:
        """The row's process has ended."""
        self.set(row, Word.CONNECTIONS, 0)
        self._free.append(row)

    def word(self, row: int, word: Word) -> int:
        """What the row says."""
        return int(self.words[row * ROW_WORDS + word])

    def set(self, row: int, word: Word, value: int) -> None:
        """Write it."""
        self.words[row * ROW_WORDS + word] = value & 0xFFFFFFFF


class Link:
    """A supervised process's side."""

    def __init__(self, board: Board, row: int, channel: Connection, pulse_s: float) -> None:
        self.board = board
        self.row = row
        self._channel = channel
        self._pulse_s = pulse_s
        self._has_asked = False

    def start(self) -> None:
        """Begin to show signs of life, and to watch for the supervisor's end."""
        index = self.row * ROW_WORDS + Word.BEATS
        start_pulse(self.board.memory, index, self._channel.fileno(), self._pulse_s)

    @property
    def load_index(self) -> int:
        """The word that tells the other processes how many connections this one has."""
        return self.row * ROW_WORDS + Word.CONNECTIONS

    def wait_for_go(self) -> bool:
        """Return once the supervisor needs this process; false if it is gone."""
        try:
            return self._channel.recv_bytes() == GO
        except (EOFError, OSError):
            return False

    def is_orphaned(self) -> bool:
        """Whether the supervisor is gone."""
        try:
            return self._channel.poll() and not self._channel.recv_bytes()
        except (EOFError, OSError):
            return True

    def started(self) -> None:
        """Tell that the server accepts requests."""
        self._tell(STARTED)

    def ask_for_replacement(self) -> None:
        """Ask, once, to be stopped as soon as another process serves."""
        if not self._has_asked:
            self._has_asked = True
            self._tell(REPLACE)

    def turned(self, requests: int) -> None:
        """Tell that the event loop has turned."""
        board = self.board
        board.set(self.row, Word.TURNS, board.word(self.row, Word.TURNS) + 1)
        board.set(self.row, Word.REQUESTS, requests)

    def tell_stopping(self, is_stopping: bool) -> None:
        """Tell whether requests are over and the application shuts down."""
        self.board.set(self.row, Word.STOPPING, is_stopping)

    @property
    def parting(self) -> Parting:
        """Why this process is being stopped."""
        return Parting(self.board.word(self.row, Word.PARTING))

    def _tell(self, message: bytes) -> None:
        with suppress(OSError):
            self._channel.send_bytes(message)


_links: dict[int, Link] = {}


def attach(link: Link) -> None:
    """This process is supervised from now on."""
    _links.clear()
    _links[os.getpid()] = link


def link() -> Link | None:
    """The present process's link; a process that was forked off by one has none."""
    return _links.get(os.getpid())
