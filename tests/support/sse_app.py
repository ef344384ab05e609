"""Streams without an end, as frameworks make them: sse-starlette's and Starlette's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


async def ticks() -> AsyncIterator[str]:
    while True:
        yield "tick"
        await asyncio.sleep(0.05)


async def sse(request: Request) -> Response:
    return EventSourceResponse(ticks())


async def streaming(request: Request) -> Response:
    return StreamingResponse(ticks())


app = Starlette(routes=[Route("/sse", sse), Route("/streaming", streaming)])
