"""The application of the chaos test: answers can be checked, and say which process gave them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

PID = b"%d" % os.getpid()
PAUSE_S = 0.005


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await echo_messages(receive, send)
    kind, _, rest = scope["path"][1:].partition("/")
    if kind == "upload":
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return await answer(send, b"%d" % sum(body))
    if kind in ("stream", "events"):
        return await stream(send, int(rest), is_events=kind == "events")
    if kind == "slow":
        await asyncio.sleep(PAUSE_S)
    return await answer(send, rest.encode())


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"x-pid", PID)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Any, count: int, *, is_events: bool) -> None:
    media_type = b"text/event-stream" if is_events else b"application/octet-stream"
    headers = [(b"content-type", media_type), (b"x-pid", PID)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(count):
        body = b"data: %d\n\n" % number if is_events else b"%d," % number
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(PAUSE_S)
    await send({"type": "http.response.body", "body": b""})


async def echo_messages(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-pid", PID)]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
