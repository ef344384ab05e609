"""The small ASGI toolkit of the test applications: routes, answers, records and gates.

An endpoint is an ASGI application under the first segment of the path. Values travel as Python
literals, so that a test sees bytes as bytes and tuples as tuples. A record is what an endpoint
tells a later request; a gate is what it waits for until a later request opens it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]
Headers = Iterable[tuple[bytes, bytes]]

ROUTES: dict[str, App] = {}
WEBSOCKET_ROUTES: dict[str, App] = {}
RECORDS: defaultdict[str, list[Any]] = defaultdict(list)
GATES: dict[str, Gate] = {}


class Gate:
    """An event that counts who waits for it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def wait(self) -> None:
        self.waiting += 1
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1


def gate(name: str) -> Gate:
    return GATES.setdefault(name, Gate())


def route(name: str, routes: dict[str, App] = ROUTES) -> Callable[[App], App]:
    """Serves the decorated application under `/name` and everything below it."""

    def register(app: App) -> App:
        assert name not in routes, name
        routes[name] = app
        return app

    return register


def websocket_route(name: str) -> Callable[[App], App]:
    """The same for a WebSocket."""
    return route(name, WEBSOCKET_ROUTES)


def segments(scope: Scope) -> list[str]:
    """The path's segments after `root_path`: the endpoint's name, then its arguments."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.removeprefix("/").split("/")


def argument(scope: Scope, position: int = 0) -> str:
    return segments(scope)[position + 1]


async def respond(send: Send, body: bytes, status: int = 200, headers: Headers = ()) -> None:
    """A whole response with its length."""
    length = (b"content-length", str(len(body)).encode())
    await start(send, status, [length, *headers])
    await send({"type": "http.response.body", "body": body})


async def respond_literal(send: Send, value: object) -> None:
    await respond(send, repr(value).encode(), headers=[(b"content-type", b"text/x-python")])


async def start(send: Send, status: int = 200, headers: Headers = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def piece(send: Send, body: bytes, more_body: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body, or nothing if the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
