"""What endpoints return when a request's plan asks for something odd."""

# ruff: noqa: F403, F405, F601
from __future__ import annotations

import math
import pathlib
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from fastapi import Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.background import BackgroundTask

from accelerator.models import *
from accelerator.world import note, world


def result(default: Any) -> Any:
    """What an endpoint returns: its own value, or the odd one that the plan asks for."""
    kind = world.plan.get("result")
    return default if kind is None else RESULTS[kind]()


class OwnObject:
    def __init__(self) -> None:
        self.a = 1
        self._b = 2
        self._sa_instance = 3


class TextSubclass(str):
    pass


class IntSubclass(int):
    def __repr__(self) -> str:
        return "int!"


class FloatSubclass(float):
    def __repr__(self) -> str:
        return "float!"


class DictSubclass(dict):  # type: ignore[type-arg]
    pass


class ListSubclass(list):  # type: ignore[type-arg]
    pass


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def generated() -> Any:
    yield 1
    yield 2


RESULTS: dict[str, Any] = {
    "none": lambda: None,
    "dict": lambda: {"a": 1, "b": [1, 2.5, "x", None, True]},
    "empty": lambda: {},
    "text": lambda: "text é \u2028 \U0001f600",
    "bytes": lambda: b"bytes",
    "badbytes": lambda: b"\xff",
    "nan": lambda: {"x": math.nan},
    "inf": lambda: [math.inf],
    "topnan": lambda: math.nan,
    "float": lambda: [1e400 - 1e400 if False else 1e22, 0.1, -0.0, 5e-324, 1e16, 123456789.123],
    "big": lambda: {"n": 10**400},
    "huge": lambda: {"n": 10**5000},
    "surrogate": lambda: {"s": "\ud800"},
    "surrogatekey": lambda: {"\udfff": 1},
    "sa": lambda: {"_sa_state": 1, "ok": 2, "_sa": 3, "sub": {"_sa_x": 1, "_s": 0}},
    "intkeys": lambda: {1: "a", 2.5: "b", None: "c", True: "d"},
    "tuplekey": lambda: {(1, 2): 3},
    "enumkey": lambda: {Colour.red: 1, Level.high: 2},
    "odd": lambda: {"e": OddText.one, "c": Colour.blue, "l": Level.low},
    "oddkey": lambda: {OddText.one: 1},
    "point": lambda: Point(1, 2),
    "points": lambda: [Point(1, 2), Point(3)],
    "pointclass": lambda: Point,
    "hybrid": lambda: HybridPoint(5),
    "checkpoint": lambda: Checkpoint(3),
    "set": lambda: {3},
    "frozen": lambda: frozenset([1]),
    "tuple": lambda: (1, "a"),
    "when": lambda: datetime(2024, 2, 29, 1, 2, 3, 4),
    "date": lambda: {"d": date(2024, 2, 29), "t": time(3, 4), "x": timedelta(days=1, seconds=5)},
    "decimal": lambda: [Decimal("1.10"), Decimal("10"), Decimal("NaN"), Decimal("1E+3")],
    "uuid": lambda: UUID(int=5),
    "path": lambda: pathlib.PurePosixPath("/a/b"),
    "item": lambda: Item(name="n", price=1, tags=["t"], owner=Owner(name="o")),
    "itemdict": lambda: {"name": "n", "price": "1.5", "extra": 1},
    "items": lambda: [Item(name="n", price=1), Sub(name="m", price=2)],
    "sub": lambda: Sub(name="n", price=1.0, secret="hidden"),
    "aliased": lambda: Aliased(first=1),
    "checked": lambda: Checked(low=1),
    "unchecked": lambda: Checked.model_construct(low="odd", high=4),
    "wide": lambda: Wide(when=datetime(2024, 1, 1), amount=Decimal("2.50"), more=[1], members={2}),
    "page": lambda: Page[Item](entries=[Item(name="n", price=0)]),
    "numbers": lambda: Numbers([1, 2]),
    "cat": lambda: Cat(kind="cat"),
    "movie": lambda: {"title": "t", "year": "1999"},
    "object": OwnObject,
    "bare": object,
    "textsub": lambda: TextSubclass("sub"),
    "intsub": lambda: [IntSubclass(4), FloatSubclass(4.5)],
    "dictsub": lambda: DictSubclass(a=ListSubclass([1])),
    "deep": lambda: deep(60),
    "deeper": lambda: deep(1500),
    "cycle": cycle,
    "generator": generated,
    "response": lambda: Response("raw", 202, {"X-Raw": "1"}, "text/x-raw"),
    "json": lambda: JSONResponse({"own": 1}, 203, {"x-b": "2", "X-A": "1"}),
    "jsonnan": lambda: JSONResponse({"own": math.nan}),
    "background": lambda: Response("bg", background=BackgroundTask(note, "own background")),
    "empty204": lambda: Response(status_code=204),
    "body204": lambda: Response("x", status_code=204),
    "redirect": lambda: RedirectResponse("/else where?é"),
    "stream": lambda: StreamingResponse(iter(["a", b"b", "c"]), 206, media_type="text/plain"),
    "asgi": lambda: PlainTextResponse("p"),
    "ints": lambda: list(range(40)),
    "rows": lambda: [{"id": i, "name": f"row {i}", "ok": i % 2 == 0} for i in range(30)],
    "coroutine": lambda: noop(),
    "exception": lambda: ValueError("as value"),
    "string1": lambda: "a",
    "zero": lambda: 0,
    "false": lambda: False,
}

# Those that JSON encoders with short cuts get wrong.
PLAIN_RESULTS = (
    "nan", "inf", "topnan", "float", "big", "huge", "surrogate", "surrogatekey", "sa", "intkeys",
    "enumkey", "odd", "oddkey", "deep", "deeper", "cycle", "text", "textsub", "intsub", "dictsub",
)  # fmt: skip


async def noop() -> None:
    return None
