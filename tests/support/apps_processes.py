"""Applications that processes have trouble with: each is served by tests of workers and reload."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from glob import glob
from pathlib import Path
from typing import Any

from support.apps import app as everything
from support.asgi import respond

IMPORTED_IN = os.getpid()


async def holds_gil(scope: Any, receive: Any, send: Any) -> None:
    """`/hold/N` holds the GIL for N seconds in C."""
    if scope["type"] == "http" and scope["path"].startswith("/hold/"):
        # Called through PyDLL, which does not let go of the lock.
        ctypes.PyDLL(None).sleep(int(scope["path"].rpartition("/")[2]))
        return await respond(send, b"held")
    if scope["type"] == "http" and scope["path"].startswith("/block/"):
        time.sleep(float(scope["path"].rpartition("/")[2]))
        return await respond(send, b"blocked")
    return await everything(scope, receive, send)


async def dies_soon(scope: Any, receive: Any, send: Any) -> None:
    """Crashes a moment after it has started."""
    if scope["type"] == "lifespan":
        await receive()
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), 9)
        await send({"type": "lifespan.startup.complete"})
        await receive()


async def starts_or_not(scope: Any, receive: Any, send: Any) -> None:
    """Fails to start where the file `FAIL_IF` names exists, or waits while `HANG_IF` does."""
    if scope["type"] == "lifespan":
        await receive()
        if os.path.exists(os.environ.get("FAIL_IF", "/nowhere")):
            return await send({"type": "lifespan.startup.failed", "message": "not now"})
        print("starting", flush=True)
        while os.path.exists(os.environ.get("HANG_IF", "/nowhere")):
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    return await everything(scope, receive, send)


async def stops_slowly(scope: Any, receive: Any, send: Any) -> None:
    """Takes three seconds to shut down, the first two of them without letting go of the GIL."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        ctypes.PyDLL(None).sleep(2)
        await asyncio.sleep(1)
        print("stopped", flush=True)
        return await send({"type": "lifespan.shutdown.complete"})
    return await everything(scope, receive, send)


KEPT: list[bytes] = []
POOL: ProcessPoolExecutor | None = None
STRAYS: list[subprocess.Popen[bytes]] = []


async def with_pool(scope: Any, receive: Any, send: Any) -> None:
    """Has a pool of processes and one that it has forgotten."""
    global POOL
    if scope["type"] == "lifespan":
        POOL = ProcessPoolExecutor(2)
        await asyncio.gather(
            *(asyncio.get_running_loop().run_in_executor(POOL, time.sleep, 0.01) for _ in range(4))
        )
        STRAYS.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
    return await everything(scope, receive, send)


async def imported_in(scope: Any, receive: Any, send: Any) -> None:
    """`/imported-in` is the process that has imported this module."""
    if scope["type"] == "http" and scope["path"] == "/imported-in":
        return await respond(send, b"%d" % IMPORTED_IN)
    return await everything(scope, receive, send)


async def grows(scope: Any, receive: Any, send: Any) -> None:
    """Keeps a MiB for every request to `/grow`."""
    if scope["type"] == "http" and scope["path"] == "/grow":
        KEPT.append(b"x" * (1 << 20))
        return await respond(send, b"kept")
    return await everything(scope, receive, send)


async def in_thread(scope: Any, receive: Any, send: Any) -> None:
    """`/thread` blocks a thread that Python waits for at its end."""
    if scope["type"] == "http" and scope["path"] == "/thread":
        thread = threading.Thread(target=time.sleep, args=(600,))
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        return None
    return await everything(scope, receive, send)


async def leaves_orphans(scope: Any, receive: Any, send: Any) -> None:
    """`/orphan` makes a process whose parent ends at once; `/zombies` counts the unburied."""
    if scope["type"] == "http" and scope["path"] == "/orphan":
        subprocess.run(["sh", "-c", "sleep 0.05 & exit 0"], check=True)
        return await respond(send, b"left")
    if scope["type"] == "http" and scope["path"] == "/zombies":
        states = [
            Path(path).read_text().rpartition(") ")[2][0] for path in glob("/proc/[0-9]*/stat")
        ]
        return await respond(send, b"%d" % states.count("Z"))
    return await everything(scope, receive, send)
