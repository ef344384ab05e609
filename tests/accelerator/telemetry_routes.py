"""The application whose requests `telemetry_app` records: a route for each thing to be observed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Collect = Callable[[], list[Any]]
"""What was recorded since the last call."""


def build(has_middleware: bool = True, **options: Any) -> Any:
    from fastapi import (
        APIRouter,
        BackgroundTasks,
        Body,
        Depends,
        FastAPI,
        Header,
        HTTPException,
        Request,
        Response,
    )
    from fastapi.responses import PlainTextResponse, StreamingResponse
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str
        price: float = 1.0

    app = FastAPI(**options)
    router = APIRouter(prefix="/r")
    sub = FastAPI(**options)

    async def middleware(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-middleware"] = "1"
        return response

    if has_middleware:
        app.middleware("http")(middleware)

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/items/{number}")
    async def item(number: int, q: int = 0) -> dict[str, int]:
        return {"number": number, "q": q}

    async def post_item(given: Any) -> Any:
        return given

    post_item.__annotations__ = {"given": Item, "return": Item}
    app.post("/items")(post_item)

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    async def generator() -> Any:
        yield "a"

    def in_thread(value: str = Depends(generator)) -> str:
        return value + "b"

    @app.get("/dependencies")
    async def dependencies(value: str = Depends(in_thread)) -> str:
        return value

    def task() -> None:
        """Nothing to do."""

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(task)
        return "x"

    background.__annotations__["tasks"] = BackgroundTasks

    @app.get("/http-error")
    async def http_error() -> None:
        raise HTTPException(418, "teapot")

    @app.get("/error")
    async def error() -> None:
        raise ValueError("unhandled")

    @app.exception_handler(KeyError)
    async def handle(request: Request, error: KeyError) -> Response:
        return PlainTextResponse("handled", 503)

    @app.get("/handled")
    async def handled() -> None:
        raise KeyError("k")

    @router.get("/included")
    async def included() -> str:
        return "included"

    @sub.get("/sub/{number}")
    async def mounted(number: int) -> int:
        return number

    @app.get("/stream")
    async def stream() -> Any:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/invalid-response")
    async def invalid_response() -> int:
        return "x"  # type: ignore[return-value]

    async def not_json() -> Any:
        return float("nan")

    not_json.__annotations__.clear()
    app.get("/not-json")(not_json)

    @app.get("/failing")
    def failing() -> None:
        raise ValueError("unhandled")

    def limit(q: int) -> int:
        return q

    @app.get("/values/{number}")
    def values(
        number: int,
        limit: int = Depends(limit),
        host: str = Header(),
        wanted: int = Header(default=3),
    ) -> dict[str, Any]:
        return {"number": number, "limit": limit, "host": host, "wanted": wanted}

    @app.api_route("/message", methods=["GET", "POST"])
    async def message() -> None:
        if "sentry_sdk" in sys.modules:
            scope = sys.modules["sentry_sdk"].get_current_scope()
            span = scope.span
            scope.capture_message(f"{type(span).__name__} {getattr(span, 'sampled', None)}")

    async def embedded(one: Any, two: int = Body()) -> Any:
        return two

    embedded.__annotations__["one"] = Item
    app.post("/embedded")(embedded)
    app.include_router(router)
    app.mount("/mounted", sub)
    return app
