"""An endpoint whose behaviour the test writes: a list of steps in the query string.

`script(key, *steps)` makes the request target. What each step did is recorded under the key. Steps:

- `("send", message)`: recorded as `("sent", type)`; an exception is recorded and goes on up.
- `("try", message)`: the same, but the script goes on after an exception.
- `("receive",)`: records the message.
- `("gate", name)`: waits until the gate is open.
- `("sleep", seconds)`.
- `("raise", text)`, `("return", value)`.
- `("until-disconnect",)`: receives until `http.disconnect`, which it records.
- `("fill", size)`: sends a piece of so many bytes, with more to come; records `("filled", size)`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import socket
import sys
import time
import urllib.parse
from typing import Any

from support.asgi import (
    RECORDS,
    Message,
    Receive,
    Scope,
    Send,
    argument,
    gate,
    piece,
    respond,
    route,
    start,
    wait_for_disconnect,
)

Step = tuple[Any, ...]


def script(key: str, *steps: Step) -> str:
    return f"/script/{key}?{urllib.parse.quote(repr(steps), safe='')}"


def start_message(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body_message(body: bytes = b"", more_body: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more_body}


@route("script")
async def run_script(scope: Scope, receive: Receive, send: Send) -> Any:
    record = RECORDS[argument(scope)]
    steps: tuple[Step, ...] = ast.literal_eval(urllib.parse.unquote(scope["query_string"].decode()))
    for name, *arguments in steps:
        if name == "return":
            record.append(("returned",))
            return arguments[0]
        try:
            await run_step(name, arguments, record, receive, send)
        except asyncio.CancelledError:
            record.append(("cancelled",))
            raise
        except Exception as error:
            record.append(("raised", type(error).__name__, str(error)))
            if name != "try":
                raise
    record.append(("finished",))
    return None


async def run_step(
    name: str, arguments: list[Any], record: list[Any], receive: Receive, send: Send
) -> None:
    if name in ("send", "try"):
        message: Message = arguments[0]
        await send(message)
        record.append(("sent", message["type"]))
    elif name == "receive":
        record.append(("received", dict(await receive())))
    elif name == "gate":
        await gate(arguments[0]).wait()
    elif name == "sleep":
        await asyncio.sleep(arguments[0])
    elif name == "raise":
        raise ValueError(arguments[0])
    elif name == "until-disconnect":
        await wait_for_disconnect(receive)
        record.append(("disconnected",))
    elif name == "fill":
        await piece(send, b"x" * arguments[0])
        record.append(("filled", arguments[0]))
    else:
        raise AssertionError(f"no such step: {name}")


@route("bytes-like")
async def bytes_like(scope: Scope, receive: Receive, send: Send) -> None:
    """`body` in so many pieces of the type that the argument names."""
    kinds: dict[str, Any] = {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}
    kind, pieces = kinds[argument(scope)], int(argument(scope, 1))
    await send(start_message())
    for number in range(pieces):
        more_body = number + 1 < pieces
        await send({"type": "http.response.body", "body": kind(b"body"), "more_body": more_body})


@route("headers-as")
async def headers_as(scope: Scope, receive: Receive, send: Send) -> None:
    """Two fields in the kind of iterable that the argument names."""
    pairs = [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"2")]
    message: dict[str, Any] = {"type": "http.response.start", "status": 200}
    kind = argument(scope)
    if kind == "list":
        message["headers"] = pairs
    elif kind == "tuple":
        message["headers"] = tuple(pairs)
    elif kind == "generator":
        message["headers"] = (pair for pair in pairs)
    elif kind == "pairs-as-lists":
        message["headers"] = [list(pair) for pair in pairs]
    await send(message)
    await send({"type": "http.response.body", "body": b"ok"})


@route("one-piece")
async def one_piece(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with so many bytes in one final piece, then does some background work."""
    record, length = RECORDS[argument(scope)], int(argument(scope, 1))
    await start(send, headers=[(b"content-length", str(length).encode())])
    record.append("sending")
    await piece(send, b"x" * length, more_body=False)
    record.append("sent")
    await asyncio.sleep(0)
    record.append("background work done")


@route("pieces")
async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Bytes that count from 0 to 250 again and again, in pieces of the given sizes."""
    sizes = [int(size) for size in argument(scope).split(",")]
    counted = bytes(range(251)) * (sum(sizes) // 251 + 1)
    await start(send)
    at = 0
    for size in sizes:
        await piece(send, counted[at : at + size])
        at += size
    await piece(send, b"", more_body=False)


class DerivedBytes(bytes):
    """Not exactly `bytes`: it could have a finaliser."""


@route("held-body")
async def held_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends one object, and records how often the server holds it: then, and behind a gate."""
    key, kind = argument(scope), argument(scope, 1)
    kinds: dict[str, type[bytes]] = {"bytes": bytes, "derived": DerivedBytes}
    body = kinds[kind](b"x" * int(argument(scope, 2)))
    references = sys.getrefcount(body)
    await start(send)
    await piece(send, body)
    RECORDS[key].append(sys.getrefcount(body) - references)
    await gate(key).wait()
    RECORDS[key].append(sys.getrefcount(body) - references)
    await piece(send, b"", more_body=False)


@route("pieces-that-wait")
async def pieces_that_wait(scope: Scope, receive: Receive, send: Send) -> None:
    """A hundred batches of so many pieces, none awaited; records each batch's time on the CPU."""
    key, count, length = argument(scope), int(argument(scope, 1)), int(argument(scope, 2))
    body = b"x" * length
    await start(send)
    batches_s = []
    for _ in range(100):
        began = time.thread_time()
        for _ in range(count):
            last = send({"type": "http.response.body", "body": body, "more_body": True})
        batches_s.append(time.thread_time() - began)
    RECORDS[key].append(batches_s)
    await last
    await piece(send, b"", more_body=False)


@route("tiny-pieces")
async def tiny_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """So many pieces of one byte, each awaited; records how often other tasks had their turn."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    await start(send)
    for _ in range(int(argument(scope, 1))):
        await piece(send, b"x")
    others.cancel()
    RECORDS[argument(scope)].append(turns)
    await piece(send, b"", more_body=False)


@route("receive-in-task")
async def receive_in_task(scope: Scope, receive: Receive, send: Send) -> None:
    """Once the gate is open another task receives, and records the messages, to the disconnect."""
    record = RECORDS[argument(scope)]

    async def read() -> None:
        kind = ""
        while kind != "http.disconnect":
            kind = (await receive())["type"]
            record.append(kind)

    await gate(argument(scope)).wait()
    await asyncio.create_task(read())


@route("client-without-port")
async def client_without_port(scope: Scope, receive: Receive, send: Send) -> None:
    scope["client"] = ("behind.a.proxy", None)
    await respond(send, b"ok")


@route("block")
async def block(scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the loop for so many milliseconds; says so first, as nobody could ask it then."""
    print("blocking", argument(scope, 1), flush=True)
    time.sleep(int(argument(scope)) / 1000)
    await respond(send, b"blocked")


@route("shut-listeners")
async def shut_listeners(scope: Scope, receive: Receive, send: Send) -> None:
    """Shuts down the listening sockets of the process and leaves them open."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                copy.shutdown(socket.SHUT_RDWR)
    await respond(send, b"shut")
