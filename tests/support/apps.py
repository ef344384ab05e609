"""The application that most tests serve: one endpoint per behaviour, by the path's first segment.

`support.apps:app` is the import string. The endpoints stand in the `endpoints_*` modules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from support import (
    endpoints_basic,
    endpoints_browser,
    endpoints_faults,
    endpoints_files,
    endpoints_process,
    endpoints_script,
    endpoints_tasks,
    endpoints_websocket,
)
from support.asgi import (
    RECORDS,
    ROUTES,
    WEBSOCKET_ROUTES,
    Receive,
    Scope,
    Send,
    respond,
    respond_literal,
    segments,
)

__all__ = [
    "app",
    "endpoints_basic",
    "endpoints_browser",
    "endpoints_faults",
    "endpoints_files",
    "endpoints_process",
    "endpoints_script",
    "endpoints_tasks",
    "endpoints_websocket",
]


async def app(scope: Scope, receive: Receive, send: Send) -> Any:
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    if scope["type"] == "websocket":
        return await WEBSOCKET_ROUTES[segments(scope)[0]](scope, receive, send)
    assert scope["type"] == "http", scope["type"]
    endpoint = ROUTES.get(segments(scope)[0])
    if endpoint is None:
        return await respond(send, b"no such endpoint", status=404)
    return await endpoint(scope, receive, send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"].update(number=1, shared=[], text="from lifespan")
    RECORDS["lifespan states"].append(scope["state"])
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            print("lifespan shutdown", flush=True)
            return


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing but an answer."""
    assert scope["type"] == "http", scope["type"]
    await respond(send, b"hello")


async def scope_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its scope, whatever the path."""
    assert scope["type"] == "http", scope["type"]
    await respond_literal(send, {**scope, "state": None})


def double_callable(scope: Scope) -> Callable[[Receive, Send], Awaitable[None]]:
    """An ASGI 2 application: called with the scope, then with the channels."""

    async def instance(receive: Receive, send: Send) -> None:
        await scope_app(scope, receive, send)

    return instance


def no_coroutine(scope: Scope, receive: Receive, send: Send) -> None:
    """Not an application: nothing that could be awaited."""
