"""Endpoints that look at the server's own process: memory, descriptors, sockets, log records."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from pathlib import Path
from typing import Any

from support.asgi import Receive, Scope, Send, respond, respond_literal, route

ACCESS_RECORDS: list[tuple[str, object, str]] = []


class Keep(logging.Filter):
    """Keeps the arguments of each access record, and lets it pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        ACCESS_RECORDS.append((record.name, record.args, record.getMessage()))
        return True


def filter_access() -> None:
    """As applications do that were written for Uvicorn."""
    logging.getLogger("uvicorn.access").addFilter(Keep())


if "TEST_FILTER_ACCESS" in os.environ:
    filter_access()


@route("process")
async def process(scope: Scope, receive: Receive, send: Send) -> None:
    """Resident bytes, open descriptors, objects that the collector tracks, and tasks."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    figures = {
        "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
    }
    await respond_literal(send, figures)


@route("filter-access")
async def filter_access_now(scope: Scope, receive: Receive, send: Send) -> None:
    filter_access()
    await respond_literal(send, True)


@route("access-records")
async def access_records(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_literal(send, list(ACCESS_RECORDS))


@route("socket")
async def own_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """What the socket that carries this request is set to."""
    found: dict[str, object] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as copy:
            if copy.getpeername()[:2] == tuple(scope["client"]):
                found["nodelay"] = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                found["inheritable"] = os.get_inheritable(int(name))
                found["blocking"] = os.get_blocking(int(name))
    await respond_literal(send, found)


@route("listeners")
async def listeners(scope: Scope, receive: Receive, send: Send) -> None:
    """Whether each listening socket of the process would be inherited by a child."""
    found: list[tuple[object, bool]] = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append((copy.getsockname(), os.get_inheritable(int(name))))
    await respond_literal(send, found)


@route("pid")
async def pid(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"%d" % os.getpid())


@route("forked")
async def forked(scope: Scope, receive: Receive, send: Send) -> None:
    """Says whose answer it is. The child ends in the loop's next turn."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    child = os.fork()
    if child == 0:
        go_on_in_child(loop, task)
        loop.call_soon(os._exit, 0)
    else:
        os.waitpid(child, 0)
    await respond(send, b"parent" if child else b"child")


def go_on_in_child(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    """From 3.14 on, a child has forgotten what runs, and asyncio does not let the task end."""
    if asyncio.current_task(loop) is None:
        asyncio._set_running_loop(loop)
        asyncio.tasks._enter_task(loop, task)
