"""The engine's ways round messages, for a server that is not the engine: the one of `play`.

Compiled routes take a body, and give a response, without ASGI's messages where the engine serves
them. Here the same is done for some of the exchanges, with the messages that it stands for, so that
the fuzzer sees what compiled routes do in either case.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from zlib import crc32

from pronghorn.fastapi import codegen

from accelerator.play import Exchange


def take_shortcuts() -> None:
    """Have all programs that are compiled from now on take them."""
    codegen._RUNTIME["respond"] = respond
    codegen._RUNTIME["whole_body"] = whole_body


def respond(send: Any, status: int, content: bytes) -> Coroutine[Any, Any, None] | None:
    if getattr(send, "__func__", None) is not Exchange.send or not has_shortcuts(send.__self__):
        return None

    async def send_both() -> None:
        headers = [
            (b"content-length", str(len(content)).encode()),
            (b"content-type", b"application/json"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return send_both()


def whole_body(receive: Any) -> bytes | None:
    if getattr(receive, "__func__", None) is not Exchange.receive:
        return None
    exchange: Exchange = receive.__self__
    if not has_shortcuts(exchange):
        return None
    message = exchange.incoming[0] if exchange.incoming else {}
    body = message.get("body", b"")
    if message.get("type") != "http.request" or message.get("more_body") or type(body) is not bytes:
        return None
    exchange.take()
    return body


def has_shortcuts(exchange: Exchange) -> bool:
    """Half of all, by what they ask for."""
    return bool(crc32(exchange.action["path"].encode() + exchange.action["query"]) & 1)
