"""WebSocket endpoints: one behaviour each, by the path's first segment."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from support.asgi import (
    RECORDS,
    Message,
    Receive,
    Scope,
    Send,
    argument,
    gate,
    segments,
    websocket_route,
)

Messages = list[Message]


async def accept(receive: Receive, send: Send, **more: Any) -> None:
    message = await receive()
    assert message == {"type": "websocket.connect"}, message
    await send({"type": "websocket.accept", **more})


async def messages(receive: Receive) -> Messages:
    """Everything up to the disconnect."""
    received = []
    while True:
        received.append(await receive())
        if received[-1]["type"] == "websocket.disconnect":
            return received


async def send_text(send: Send, value: object) -> None:
    await send({"type": "websocket.send", "text": value if isinstance(value, str) else repr(value)})


@websocket_route("echo")
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back what comes, as it came."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@websocket_route("scope")
async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await accept(receive, send)
    await send_text(send, {**scope})
    await messages(receive)


@websocket_route("record")
async def record(scope: Scope, receive: Receive, send: Send) -> None:
    """Records what comes under a name."""
    await accept(receive, send)
    name = argument(scope)
    while True:
        message = await receive()
        RECORDS[name].append(message)
        if message["type"] == "websocket.disconnect":
            return


@websocket_route("lag")
async def lag(scope: Scope, receive: Receive, send: Send) -> None:
    """Records what comes once a gate is open, a message in each turn of the loop. After as many as
    it is told, it waits at a second gate."""
    await accept(receive, send)
    _, name, *pause = segments(scope)
    await gate(name).wait()
    while True:
        message = await receive()
        RECORDS[name].append(message)
        if message["type"] == "websocket.disconnect":
            return
        if [str(len(RECORDS[name]))] == pause:
            await gate(f"{name}-rest").wait()
        await asyncio.sleep(0)


@websocket_route("accept")
async def accept_with(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts with a header and the client's last subprotocol."""
    subprotocol = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await accept(receive, send, headers=[(b"X-App", b"1")], subprotocol=subprotocol)
    await messages(receive)


@websocket_route("late-accept")
async def late_accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts once a gate has been opened, then echoes."""
    await gate(argument(scope)).wait()
    await echo(scope, receive, send)


@websocket_route("bad-answer")
async def bad_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, or denies, with what may not go out, given as a literal in the query string."""
    import ast
    from urllib.parse import unquote

    given = ast.literal_eval(unquote(scope["query_string"].decode()))
    try:
        if "status" in given:
            await receive()
            await send({"type": "websocket.http.response.start", **given})
        else:
            await accept(receive, send, **given)
    except RuntimeError as error:
        RECORDS[argument(scope)].append(str(error))
        raise


@websocket_route("deny")
async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 4001, "reason": "no"})
    RECORDS[argument(scope)].append(await receive())


@websocket_route("denial-response")
async def denial_response(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"X-Why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
    for piece, more in ((b"tea", True), (b"pot", False)):
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": more})
    RECORDS[argument(scope)].append(await receive())


@websocket_route("return")
async def return_early(scope: Scope, receive: Receive, send: Send) -> None:
    if argument(scope) == "accepted":
        await accept(receive, send)


@websocket_route("raise")
async def raise_early(scope: Scope, receive: Receive, send: Send) -> None:
    if argument(scope) == "accepted":
        await accept(receive, send)
    raise ValueError("on purpose")


@websocket_route("close")
async def close(scope: Scope, receive: Receive, send: Send) -> None:
    """Closes with the arguments' code and reason; records what it receives then."""
    await accept(receive, send)
    code, reason = argument(scope, 1), argument(scope, 2)
    try:
        await send({"type": "websocket.close", "code": int(code), "reason": reason})
    except RuntimeError as error:
        RECORDS[argument(scope)].append(str(error))
        raise
    RECORDS[argument(scope)].append(await receive())


@websocket_route("send-after-close")
async def send_after_close(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends after its own close, and after the client has gone; records what that raises."""
    await accept(receive, send)
    name = argument(scope)
    if argument(scope, 1) == "own":
        await send({"type": "websocket.close"})
    else:
        await messages(receive)
    try:
        await send_text(send, "too late")
    except Exception as error:
        RECORDS[name].append((type(error).__name__, isinstance(error, OSError), str(error)))
        raise


@websocket_route("wrong-order")
async def wrong_order(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends messages that are not allowed, and records what that raises."""
    errors = RECORDS[argument(scope)]

    async def attempt(**message: Any) -> None:
        try:
            await send(message)
        except (RuntimeError, TypeError, KeyError, UnicodeEncodeError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            errors.append("no error")

    await receive()
    await attempt(type="websocket.send", text="early")
    await attempt(type="http.response.start", status=200)
    await send({"type": "websocket.accept"})
    await attempt(type="websocket.accept")
    await attempt(type="websocket.http.response.start", status=200)
    await attempt(type="websocket.send", text=7)
    await attempt(type="websocket.send", bytes="text")
    await attempt(type="websocket.send", text="\ud800")
    await attempt(type="websocket.send")
    await attempt(text="no type")
    await attempt(type="websocket.send", bytes=bytearray(b"a buffer"))
    await send_text(send, "done")
    await messages(receive)


@websocket_route("count")
async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """Waits for a gate, then tells how many messages come until one that is empty."""
    await accept(receive, send)
    await gate(argument(scope)).wait()
    number = 0
    while (message := await receive()).get("text") or message.get("bytes"):
        number += 1
    await send_text(send, number)
    await messages(receive)


@websocket_route("flood")
async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends messages of 16 KiB for ever, and records how many it could."""
    await accept(receive, send)
    number = 0
    try:
        while True:
            await send({"type": "websocket.send", "bytes": bytes(16384)})
            number += 1
            RECORDS[argument(scope)][:] = [number]
    except OSError:
        RECORDS[argument(scope)].append("disconnected")
        raise


@websocket_route("two-receivers")
async def two_receivers(scope: Scope, receive: Receive, send: Send) -> None:
    """Two tasks receive; then one whose wait is cancelled takes nothing with it."""
    await accept(receive, send)
    pair = await asyncio.gather(receive(), receive())
    await send_text(send, sorted(message["text"] for message in pair))
    try:
        await asyncio.wait_for(receive(), 0.01)
    except TimeoutError:
        await send_text(send, "timed out")
    await send_text(send, (await receive())["text"])
    task = asyncio.current_task()
    await send_text(send, task is not None and task in asyncio.all_tasks())
    await messages(receive)


SUBSCRIBERS: list[Send] = []


@websocket_route("subscribe")
async def subscribe(scope: Scope, receive: Receive, send: Send) -> None:
    """Joins those to whom `publish` sends."""
    await accept(receive, send)
    SUBSCRIBERS.append(send)
    await send_text(send, "subscribed")
    try:
        await messages(receive)
    finally:
        SUBSCRIBERS.remove(send)


@websocket_route("publish")
async def publish(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message to every subscriber, and then how many there were."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        subscribers = list(SUBSCRIBERS)
        for other in subscribers:
            await send_text(other, message["text"])
        await send_text(send, len(subscribers))


@websocket_route("exit-in-task")
async def exit_in_task(scope: Scope, receive: Receive, send: Send) -> None:
    """The first message ends the process, from a task of the application's own."""
    await accept(receive, send)

    async def wait() -> None:
        await receive()
        sys.exit(7)

    waiting = asyncio.create_task(wait())
    # Somebody must, or asyncio tells of it when the task is gone.
    waiting.add_done_callback(asyncio.Task.exception)
    await asyncio.sleep(60)
