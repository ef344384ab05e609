"""Lets servers in other threads come to rest before the interpreter ends.

Up to CPython 3.13 the interpreter's end takes a thread away wherever it asks for the interpreter
the next time. A daemon thread that is inside an application then, called by the engine, has frames
of the engine below it that cannot be unwound, and the process aborts. So the end waits a moment for
each loop to be between two callbacks, and keeps it there. Called by `Server`, with its loop.
"""

import asyncio
import atexit
import sys
import threading
import time
from contextlib import suppress

PATIENCE_S = 1.0
"""How long the end waits for a callback that runs."""
REST_S = 1.0
"""How long a loop rests: longer than the end takes, and not for ever, for who waits for it."""

_loops: set[asyncio.AbstractEventLoop] = set()


def add(loop: asyncio.AbstractEventLoop) -> None:
    """The end of the interpreter waits for the loop, if it runs in another thread."""
    if sys.version_info < (3, 14) and threading.current_thread() is not threading.main_thread():
        _loops.add(loop)


def discard(loop: asyncio.AbstractEventLoop) -> None:
    """It need not wait for the loop any more."""
    _loops.discard(loop)


def _rest_all() -> None:
    for loop in list(_loops):
        with suppress(RuntimeError):  # It has been closed meanwhile.
            _rest(loop)


def _rest(loop: asyncio.AbstractEventLoop) -> None:
    rests = threading.Event()

    def rest() -> None:
        rests.set()
        time.sleep(REST_S)

    loop.call_soon_threadsafe(rest)
    rests.wait(PATIENCE_S)


# What programs register later is called before, and finds their servers at work.
atexit.register(_rest_all)
