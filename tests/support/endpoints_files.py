"""Endpoints that answer with files, through ASGI's extensions."""

from __future__ import annotations

import ast
import asyncio
import os
import urllib.parse
from typing import Any

from support.asgi import RECORDS, Receive, Scope, Send, argument, piece, route, start


def zero_copy(key: str, path: object, *steps: object, **how: object) -> str:
    """A target for `/zero-copy`; the steps are those of the endpoint."""
    query = urllib.parse.quote(repr((str(path), how, steps)), safe="")
    return f"/zero-copy/{key}?{query}"


@route("file-behind")
async def file_behind(scope: Scope, receive: Receive, send: Send) -> None:
    """A piece of a size, 31 of 5,000 bytes and a file, none of which is waited for alone."""
    path = urllib.parse.unquote(scope["query_string"].decode())
    await start(send)
    sizes = [int(argument(scope)), *[5000] * 31]
    sent = [piece(send, b"x" * size) for size in sizes]

    async def send_file() -> None:
        with open(path, "rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file})

    await asyncio.gather(*sent, send_file())


@route("zero-copy")
async def zero_copy_endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends parts of a file, and closes it before they can be out.

    A step is a piece of the body (`bytes`, or how many of them) or the entries of a zerocopysend
    message (`dict`).
    `by="number"` passes the descriptor, `by="buffered"` a file object that has read its first byte;
    `headers` go into the start. Positions of the file after each step are recorded.
    """
    path, how, steps = ast.literal_eval(urllib.parse.unquote(scope["query_string"].decode()))
    record = RECORDS[argument(scope)]
    await start(send, headers=how.get("headers", []))
    file = open(path, "rb", buffering=-1 if how.get("by") == "buffered" else 0)  # noqa: SIM115
    try:
        if how.get("by") == "buffered":
            file.read(1)
        passed: Any = file.fileno() if how.get("by") == "number" else file
        for step in steps:
            if isinstance(step, bytes | int):
                await piece(send, step if isinstance(step, bytes) else b"x" * step)
            else:
                await send({"type": "http.response.zerocopysend", "file": passed, **step})
            record.append(
                file.tell() if how.get("by") == "buffered" else os.lseek(file.fileno(), 0, 1)
            )
    except Exception as error:
        record.append((type(error).__name__, str(error)))
        raise
    finally:
        file.close()
