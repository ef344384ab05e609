"""What user code of a generated application tells, and what it is told to do.

`note` is called wherever user code runs: it records what that code can observe (order, values,
thread, context) and, where the request's plan says so, raises. `pause` is where it can be
cancelled. `describe` makes texts of values that are the same in each process.
"""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import inspect
import pathlib
import threading
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import anyio
from fastapi import HTTPException, UploadFile, WebSocketException
from fastapi.exceptions import RequestValidationError
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from accelerator.models import Item

colour_context: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")
MAIN_THREAD = threading.get_ident()


class World:
    """What the running request shall meet and what has been seen of it."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] = {}
        self.events: list[tuple[Any, ...]] = []
        self.cancel: Any = None
        self.seen = 0

    def start(self, plan: dict[str, Any], cancel: Any) -> None:
        self.plan = plan
        self.events = []
        self.cancel = cancel
        self.seen = 0


world = World()


class PlannedError(Exception):
    """An error that no framework knows."""


class PlannedBase(BaseException):
    """Not an `Exception`, as a cancellation."""


class HandledError(Exception):
    """An error that many generated applications have a handler for."""


def note(name: str, *values: Any) -> None:
    """Record that user code ran, and raise what the plan has for this place."""
    place = "main" if threading.get_ident() == MAIN_THREAD else "worker"
    world.events.append((name, place, colour_context.get(), *(describe(v) for v in values)))
    kind = world.plan.get("raise", {}).get(name)
    if kind is not None:
        raise ERRORS[kind]()


def grow(*values: Any) -> None:
    """Change what was given in place, as careless code does with a default."""
    for value in values:
        if isinstance(value, list):
            value.append("grown")
        elif isinstance(value, Item):
            value.__dict__["name"] = "grown"


async def pause(name: str) -> None:
    """Give the loop a turn; where the plan says so, be cancelled here."""
    if world.plan.get("cancel") == name:
        world.events.append(("cancelled at", name))
        world.cancel()
        for _ in range(3):
            await anyio.sleep(0)
        world.events.append(("shielded at", name))
    await anyio.sleep(0)


def chained() -> Exception:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        error = PlannedError("chained")
        error.__cause__ = inner
        return error


ERRORS: dict[str, Any] = {
    "planned": lambda: PlannedError("planned", 1),
    "handled": lambda: HandledError("handled"),
    "value": lambda: ValueError("a value"),
    "chained": chained,
    "http": lambda: HTTPException(418, {"why": "teapot"}, headers={"X-Tea": "green"}),
    "http204": lambda: HTTPException(204),
    "http304": lambda: HTTPException(304, headers={"etag": '"x"'}),
    "starlette": lambda: StarletteHTTPException(409),
    "starlette404": lambda: StarletteHTTPException(404, "gone"),
    "http500": lambda: HTTPException(500, "own 500"),
    "validation": lambda: RequestValidationError([{"type": "x", "loc": ("a",), "msg": "m"}]),
    "key": lambda: KeyError("k"),
    "stop": lambda: StopIteration(3),
    "stopasync": lambda: StopAsyncIteration(4),
    "runtime": lambda: RuntimeError("runtime"),
    "group": lambda: ExceptionGroup("group", [ValueError("one"), HandledError("two")]),
    "os": lambda: OSError(5, "io"),
    "base": lambda: PlannedBase("base"),
    "recursion": lambda: RecursionError("deep"),
    "assertion": lambda: AssertionError(),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "timeout": lambda: TimeoutError(),
    "lone": lambda: HTTPException(400, "\ud800"),
    "wsexception": lambda: WebSocketException(4001, "closed"),
}


def describe(value: Any, depth: int = 4) -> str:
    """A text of a value that is the same in each process."""
    if depth == 0:
        return "..."
    if isinstance(value, int) and abs(value) > 10**4000:
        return f"a huge {kind_of(value)}"
    if value is None or isinstance(value, bool | int | float | str | bytes | complex):
        if type(value) in (type(None), bool, int, float, str, bytes, complex):
            return repr(value)
        return f"{type(value).__qualname__}:{value!r}"
    if isinstance(value, dict):
        inner = ", ".join(
            f"{describe(key, depth - 1)}: {describe(item, depth - 1)}"
            for key, item in value.items()
        )
        return f"{kind_of(value)}{{{inner}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(describe(item, depth - 1) for item in value)
        return f"{kind_of(value)}[{inner}]"
    if isinstance(value, set | frozenset):
        return f"{kind_of(value)}{sorted(describe(item, depth - 1) for item in value)}"
    if isinstance(value, BaseModel):
        fields = describe(value.__dict__, depth - 1)
        return f"{kind_of(value)}({fields}, set={sorted(value.model_fields_set)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{kind_of(value)}({describe(attributes(value), depth - 1)})"
    if isinstance(value, SecurityScopes):
        return f"SecurityScopes({value.scopes})"
    if isinstance(value, UploadFile):
        return f"UploadFile({value.filename!r}, {value.size}, {value.headers.raw})"
    if isinstance(value, BaseException):
        return f"{kind_of(value)}{describe(value.args, depth - 1)}"
    if isinstance(value, enum.Enum | Decimal | date | time | timedelta | UUID | pathlib.PurePath):
        return repr(value)
    if inspect.isfunction(value) or inspect.isclass(value) or inspect.ismethod(value):
        return f"<{value.__module__}.{value.__qualname__}>"
    return f"<{kind_of(value)}>"


def attributes(value: Any) -> dict[str, Any]:
    return {row.name: getattr(value, row.name, "unset") for row in dataclasses.fields(value)}


def kind_of(value: Any) -> str:
    return type(value).__qualname__


def seen_in(scope: Any) -> str:
    """What a middleware can learn from the scope after the application has run."""
    route = scope.get("route")
    return describe(
        {
            "route": getattr(route, "path", None) and f"{type(route).__name__} {route.path}",
            "endpoint": getattr(scope.get("endpoint"), "__name__", None),
            "path_params": scope.get("path_params"),
            "router": len(getattr(scope.get("router"), "routes", ())),
            "app": type(scope.get("app")).__name__,
            "root_path": scope.get("root_path"),
            "app_root_path": scope.get("app_root_path"),
            "path": scope.get("path"),
            "fastapi": sorted(map(str, scope.get("fastapi", {}))),
            "cleanup": len(scope.get("fastapi_async_cleanup_scopes", ())),
        }
    )
