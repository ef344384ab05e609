"""A Starlette application that uses what applications use."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

DONE: list[str] = []
# Where the tests put files; `static` in it is served.
FILES = os.environ.get("TEST_FILES", ".")


class AddField(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-middleware"] = request.method
        return response


class Noted(StreamingResponse):
    """Tells when it ended. (A `finally` in the generator may wait for the collector.)"""

    def __init__(self, content: AsyncIterator[str], key: str) -> None:
        super().__init__(content, media_type="text/event-stream")
        self.key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            DONE.append(self.key)


async def home(request: Request) -> Response:
    return JSONResponse({"number": request.state.number, "url": str(request.url)})


async def done(request: Request) -> Response:
    return JSONResponse(DONE)


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers.get("content-type"))


async def echo_json(request: Request) -> Response:
    return JSONResponse(await request.json())


async def echo_stream(request: Request) -> Response:
    # Not a streaming response: its listener for the disconnect would take messages of the body.
    return Response(b"".join([piece async for piece in request.stream()]))


async def upload(request: Request) -> Response:
    async with request.form() as form:
        found: dict[str, Any] = {}
        for name, value in form.items():
            found[name] = value if isinstance(value, str) else len(await value.read())
    return JSONResponse(found)


async def count(request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(int(request.path_params["count"])):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


def count_in_thread(request: Request) -> Response:
    def numbers() -> Iterator[str]:
        for number in range(int(request.path_params["count"])):
            yield f"{number}\n"

    return StreamingResponse(numbers(), media_type="text/plain")


async def ticks(request: Request) -> Response:
    key = request.path_params["key"]

    async def events() -> AsyncIterator[str]:
        while True:
            yield "data: tick\n\n"
            await asyncio.sleep(0.005)

    return Noted(events(), key)


async def wait_for_disconnect(request: Request) -> Response:
    key = request.path_params["key"]
    DONE.append(f"{key} waits")
    while not await request.is_disconnected():
        await asyncio.sleep(0.005)
    DONE.append(key)
    return Response()


async def read_after_disconnect(request: Request) -> Response:
    try:
        await request.body()
    except ClientDisconnect:
        DONE.append(request.path_params["key"])
    return Response()


async def background(request: Request) -> Response:
    key = request.path_params["key"]

    async def later(name: str) -> None:
        await asyncio.sleep(0.01)
        DONE.append(name)

    def in_thread(name: str) -> None:
        DONE.append(name)

    tasks = BackgroundTasks(
        [BackgroundTask(later, f"{key} 1"), BackgroundTask(in_thread, f"{key} 2")]
    )
    return PlainTextResponse("answered", background=tasks)


async def in_threadpool(request: Request) -> Response:
    return PlainTextResponse(await run_in_threadpool(lambda: "from a thread"))


def synchronous(request: Request) -> Response:
    return PlainTextResponse("synchronous")


async def fail(request: Request) -> Response:
    raise ValueError("on purpose")


async def forbid(request: Request) -> Response:
    raise HTTPException(403, "no entry", headers={"x-why": "because"})


async def redirect(request: Request) -> Response:
    return RedirectResponse(request.url_for("home"))


async def cookies(request: Request) -> Response:
    response = JSONResponse(request.cookies)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def file(request: Request) -> Response:
    return FileResponse(os.path.join(FILES, "file.bin"))


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, int]]:
    yield {"number": 7}


ROUTES = [
    Route("/", home, name="home"),
    Route("/done", done),
    Route("/echo", echo, methods=["POST"]),
    Route("/echo-json", echo_json, methods=["POST"]),
    Route("/echo-stream", echo_stream, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/count/{count}", count),
    Route("/count-in-thread/{count}", count_in_thread),
    Route("/ticks/{key}", ticks),
    Route("/wait-for-disconnect/{key}", wait_for_disconnect),
    Route("/read-after-disconnect/{key}", read_after_disconnect, methods=["POST"]),
    Route("/background/{key}", background),
    Route("/threadpool", in_threadpool),
    Route("/synchronous", synchronous),
    Route("/fail", fail),
    Route("/forbid", forbid),
    Route("/redirect", redirect),
    Route("/cookies", cookies),
    Route("/file", file),
    Mount("/static", StaticFiles(directory=os.path.join(FILES, "static"), check_dir=False)),
]

app = Starlette(routes=ROUTES, lifespan=lifespan)
with_middleware = Starlette(
    routes=ROUTES,
    lifespan=lifespan,
    middleware=[Middleware(AddField), Middleware(GZipMiddleware, minimum_size=500)],
)
