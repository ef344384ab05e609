"""Endpoints that do what an application should not, or what a server must not be harmed by."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from support.asgi import (
    RECORDS,
    Receive,
    Scope,
    Send,
    argument,
    piece,
    respond,
    route,
    start,
)


class UnprintableError(Exception):
    def __str__(self) -> NoReturn:
        raise ValueError("no text for you")

    __repr__ = __str__


class Strange(BaseException):
    pass


def recurse(depth: int) -> int:
    return recurse(depth + 1) + 1


@route("raise")
async def raise_exception(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises what the argument names."""
    kinds: dict[str, BaseException] = {
        "Exception": Exception("on purpose"),
        "BaseException": Strange("on purpose"),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "SystemExit": SystemExit(5),
        "GeneratorExit": GeneratorExit(),
        "CancelledError": asyncio.CancelledError("on purpose"),
        "StopAsyncIteration": StopAsyncIteration(),
        "MemoryError": MemoryError(),
        "ExceptionGroup": ExceptionGroup("on purpose", [ValueError("a"), ValueError("b")]),
        "UnprintableError": UnprintableError(),
    }
    if argument(scope) == "RecursionError":
        recurse(0)
    raise kinds[argument(scope)]


@route("send-for-ever")
async def send_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
    """Never looks up, whatever becomes of the client."""
    RECORDS[argument(scope)].append("sending")
    await start(send)
    while True:
        await piece(send, b"x" * 65_536)


@route("receive-for-ever")
async def receive_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes no notice of the disconnect."""
    RECORDS[argument(scope)].append("receiving")
    while True:
        await receive()


@route("give-up-sending")
async def give_up_sending(scope: Scope, receive: Receive, send: Send) -> None:
    """Gives the client a moment to take the response."""
    await start(send)
    try:
        async with asyncio.timeout(0.05):
            while True:
                await piece(send, b"x" * 1_000_000)
    except TimeoutError:
        RECORDS[argument(scope)].append("gave up")


@route("answer-then-linger")
async def answer_then_linger(scope: Scope, receive: Receive, send: Send) -> None:
    """Works on for so many milliseconds after the response, then prints that it did."""
    await respond(send, b"answered")
    await asyncio.sleep(int(argument(scope)) / 1000)
    print("lingered", flush=True)


@route("print-when-cancelled")
async def print_when_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams until it is cancelled, then prints that it was."""
    await start(send)
    try:
        while True:
            await piece(send, b"tick\n")
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise
