"""JSON in both directions: what the accelerator reads and writes by itself, byte for byte.

Bodies are documents that almost are what a model wants; the answers of FastAPI and of the
accelerator to each are compared. Responses are values of every kind that `json` and
`jsonable_encoder` treat in a way of their own.
"""

from __future__ import annotations

import json
import random
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pronghorn.fastapi import install, uninstall
from pronghorn.fastapi.json_text import dump

from accelerator.ask import asked
from accelerator.models import Aliased, Checked, Item, Numbers, Page, Pet, Strict, Wide
from accelerator.results import RESULTS
from accelerator.rewriting import accept
from accelerator.world import world

DOCUMENTS = 1500
VALUES = 20_000
MODELS = {
    "item": Item,
    "strict": Strict,
    "checked": Checked,
    "aliased": Aliased,
    "wide": Wide,
    "page": Page[Item],
    "numbers": Numbers,
    "pet": Pet,
    "any": Any,
    "floats": dict[str, float],
    "text": str,
}
SEEDS = (
    '{"name": "n", "price": 1.5, "tags": ["a"], "owner": {"name": "o"}}',
    '{"count": 1, "ratio": 2, "when": "2024-02-29T00:00:00Z"}',
    '{"low": 1, "high": 3, "word": "é"}',
    '{"firstValue": 1, "second-value": "\\u00e9\\ud83d\\ude00"}',
    '{"when": "2024-01-01T00:00:00", "amount": "1.50", "data": "eA==", "more": [1, null]}',
    '{"entries": [{"name": "n", "price": 1}], "total": 2}',
    "[1, 2, 3]",
    '{"kind": "cat", "lives": 9}',
    '{"a": 1e5, "b": -0.0, "c": 123456789012345678901234567890}',
    '"text \\ud800"',
)
PIECES = (
    '"', "{", "}", "[", "]", ",", ":", " ", "\n", "\t", "\\", "\\u12", "\\ud800", "0", "-", ".",
    "e", "1e999", "NaN", "Infinity", "-Infinity", "null", "true", "9" * 400, "\x00", "é",
    "\U0001f600", "\ufeff", "//", "/**/", "'", "1_0", "0x1", "01", ".5", "5.", "+1", "[" * 300,
)  # fmt: skip


def documents(count: int) -> list[bytes]:
    chance = random.Random(5)
    found = []
    for _ in range(count):
        text = chance.choice(SEEDS)
        for _ in range(chance.choice((0, 1, 1, 2))):
            place = chance.randrange(len(text) + 1)
            rest = text[place + chance.choice((0, 0, 1, 3)) :]
            text = text[:place] + chance.choice((*PIECES, "")) + rest
        encoding = "utf-8" if chance.random() < 0.95 else chance.choice(("utf-16", "latin-1"))
        data = text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
        found.append(data if chance.random() < 0.97 else data[: len(data) // 2])
    return found


def make_app() -> FastAPI:
    app = FastAPI()
    for name, model in MODELS.items():

        async def endpoint(value: Any) -> Any:
            return repr(value)

        endpoint.__annotations__["value"] = model
        app.post(f"/{name}")(endpoint)
    return app


def answers(bodies: list[bytes]) -> list[tuple[Any, ...]]:
    app = make_app()
    names = tuple(MODELS)
    headers = [(b"content-type", b"application/json")]

    async def main() -> list[tuple[Any, ...]]:
        found = []
        for number, body in enumerate(bodies):
            # The model that the document is for, or another one.
            for name in (names[number % len(names)], "any"):
                answer = await asked(app, f"/{name}", "POST", body=body, headers=headers)
                status = answer.messages[0]["status"] if answer.messages else None
                found.append((name, body, status, answer.body, repr(answer.error)))
        return found

    return anyio.run(main)


def test_bodies_are_read_as_by_fastapi() -> None:
    bodies = documents(DOCUMENTS)
    uninstall()
    expected = answers(bodies)
    accept()
    install()
    try:
        got = answers(bodies)
    finally:
        uninstall()
    for one, other in zip(expected, got, strict=True):
        assert other == one
    statuses = {each[2] for each in expected}
    assert {200, 422} <= statuses


def by_fastapi(value: Any) -> bytes | None:
    try:
        return JSONResponse(jsonable_encoder(value)).body
    except Exception:
        return None


def random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(14)
    if depth and kind < 3:
        keys = ["a", "_sa", "_sb", "é", "", '"', "\u2028", "_sa_instance_state", "k\n"]
        if chance.random() < 0.05:
            keys += [1, None, 2.5, True, (1,), b"b"]  # type: ignore[list-item]
        return {
            chance.choice(keys): random_value(chance, depth - 1) for _ in range(chance.randrange(4))
        }
    if depth and kind < 5:
        return [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if depth and kind == 5:
        return tuple(random_value(chance, depth - 1) for _ in range(chance.randrange(3)))
    if kind == 6:
        return chance.choice((1e16, 1e-7, 0.1, -0.0, 1e22, 5e-324, 1.7976931348623157e308, 1.0))
    if kind == 7 and chance.random() < 0.2:
        return chance.choice((float("nan"), float("inf"), -float("inf"), "\ud800", b"x", 10**5000))
    if kind == 8:
        return "".join(chance.choice('a"\\/\x00\x1f\x7f\x80é\u2028\U0001f600<>&') for _ in range(5))
    return chance.choice(
        (None, True, False, 0, -1, 2**64, 10**40, "", "text", 0.5, chance.random())
    )


def test_responses_are_written_as_by_fastapi() -> None:
    chance = random.Random(6)
    written = 0
    for _ in range(VALUES):
        value = random_value(chance, 4)
        mine = dump(value)
        if mine is not None:
            written += 1
            assert mine == by_fastapi(value), value
    # Most of what APIs return needs no second look.
    assert written > VALUES / 2


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"coroutine", "jsonnan"}))
def test_odd_responses_are_written_as_by_fastapi(name: str) -> None:
    world.start({}, None)
    mine = dump(RESULTS[name]())
    if mine is not None:
        assert mine == by_fastapi(RESULTS[name]())
        json.loads(mine)
