"""The raw ASGI application of the WebSocket cases.

Comes in: the ASGI scope. Goes out: what `websocket_floor.c` does. The servers import it as
`websocket_app:app` from this directory. It does as little as an application can.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import apps

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SUBSCRIBERS: set[Send] = set()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await PATHS[scope["path"]](receive, send)
    else:
        await apps.app(scope, receive, send)


async def echo(receive: Receive, send: Send) -> None:
    """Every text comes back."""
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def subscribe(receive: Receive, send: Send) -> None:
    """Gets what is published."""
    SUBSCRIBERS.add(send)
    await send({"type": "websocket.send", "text": "subscribed"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    SUBSCRIBERS.discard(send)


async def publish(receive: Receive, send: Send) -> None:
    """Every text goes to all subscribers, a message of its own to each."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        for other in SUBSCRIBERS:
            await other({"type": "websocket.send", "text": text})


PATHS = {"/echo": echo, "/broadcast/subscribe": subscribe, "/broadcast/publish": publish}
