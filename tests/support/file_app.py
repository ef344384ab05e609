"""Starlette's own ways to answer with a file, with a record of the messages they send."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from support.asgi import Message, Receive, Scope, Send

FILE = Path(os.environ["TEST_FILE"])
MESSAGES: list[str] = []


async def file(request: Request) -> Response:
    return FileResponse(FILE)


async def messages(request: Request) -> Response:
    return PlainTextResponse(repr(MESSAGES[:]))


async def hints(request: Request) -> Response:
    await request.send_early_hints("</style.css>; rel=preload; as=style")
    return PlainTextResponse("hinted")


async def passed_on(request: Request, call_next: object) -> Response:
    return await call_next(request)  # type: ignore[operator]


routes = [
    Route("/file", file),
    Route("/messages", messages),
    Route("/hints", hints),
    Mount(
        "/middleware",
        routes=[Route("/file", file)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=passed_on)],
    ),
    Mount("/static", StaticFiles(directory=FILE.parent)),
]
starlette = Starlette(routes=routes)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    async def recorded(message: Message) -> None:
        if scope["type"] == "http" and scope["path"] != "/messages":
            MESSAGES.append(message["type"])
        await send(message)

    await starlette(scope, receive, recorded)
