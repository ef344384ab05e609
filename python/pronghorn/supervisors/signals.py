"""A supervisor's signals: queued by handlers that do nothing else, and a wait that they end.

Handlers can only be set from the main thread; elsewhere the queue stays
empty unless a program fills it, and waits end by themselves.
"""

import signal
import socket
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

SIGNALS = {
    number: name
    for name in ["INT", "TERM", "BREAK", "HUP", "QUIT", "TTIN", "TTOU", "USR1", "USR2", "WINCH"]
    if (number := getattr(signal, f"SIG{name}", None)) is not None
}
"""Every signal that a supervisor takes, by number."""


class SignalQueue(list[int]):
    """The signals that have come since `listen`, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._pair: tuple[socket.socket, socket.socket] | None = None

    def listen(self) -> None:
        """Take the signals from now on, until `close`."""
        self._pair = socket.socketpair()
        for each in self._pair:
            each.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._came)

    def close(self) -> None:
        """Give back what ends waits; signals that come are still queued."""
        for each in self._pair or ():
            each.close()
        self._pair = None

    def wait(self, others: list[Any], timeout_s: float) -> None:
        """Return when a signal comes, one of the others is ready, or the time is over."""
        if self:
            return
        if self._pair is None:
            wait(others, timeout_s)
            return
        near, _ = self._pair
        wait([near, *others], timeout_s)
        with suppress(BlockingIOError):
            while near.recv(256):
                pass

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.append(number)
        if self._pair:
            with suppress(OSError):
                self._pair[1].send(b".")
