"""Bodies that are validated as text come out as they do when they are parsed first."""

from __future__ import annotations

import json
import random
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pronghorn.fastapi.bodies import VALIDATED, receive_json
from pronghorn.fastapi.json_models import is_same_from_json
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model

DOCUMENTS = 20_000
PIECES = (
    *'{}[]",:-+.eE0123456789 \t\n\\u/', "null", "true", "false", "NaN", "Infinity", "-Infinity",
    "1e400", "-0", "-0.0", "1e22", "0.1", "9" * 20, "9" * 310, '"\\ud800"', '"\\u0000"', '"a"',
    "\xe4", "\U0001f600", '"name":', '"price":', '"tags":', '"inner":', "{}", "[]", "1.0", "2.5",
    '"1"', '"1.5"', '"nan"', '"true"', '"on"', "\x00", "\x7f", "\ufeff",
)  # fmt: skip


class Inner(BaseModel):
    number: int = 0
    flag: bool = False


class Item(BaseModel):
    name: str = Field(max_length=40)
    price: float = Field(alias="price", gt=-1e30)
    tags: list[str] = []
    inner: Inner | None = None
    more: list[Inner] | None = None


GOOD = json.dumps(
    {
        "name": "hammer",
        "price": 9.5,
        "tags": ["a", "b"],
        "inner": {"number": 3, "flag": True},
        "more": [{"number": "7"}],
        "other": [1, {"x": None}],
    }
)


def documents() -> list[bytes]:
    chance = random.Random(1)
    found = []
    for _ in range(DOCUMENTS):
        text = list(GOOD)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            start = chance.randrange(len(text))
            text[start : start + chance.choice((0, 1, 1, 2, 5))] = chance.choice(PIECES)
        found.append("".join(text).encode("utf-8", "surrogatepass"))
    return found


def shown(item: Any) -> str:
    """Its content, the fields that were given, and the types of all values."""
    return repr((item, item.model_fields_set, item.inner and item.inner.model_fields_set))


def test_documents_come_out_the_same() -> None:
    validator = TypeAdapter(Item).validator
    scope = {"headers": [(b"content-type", b"application/json")], "method": "POST"}
    accepted = 0
    for document in documents():
        try:
            body, item = receive_json(document, scope, validator.validate_json, print, None, True)
        except Exception:
            body = None
        if body is VALIDATED:
            accepted += 1
            parsed = validator.validate_python(json.loads(document), from_attributes=True)
            assert shown(item) == shown(parsed), document
    assert accepted > DOCUMENTS / 20


class Colour(Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class PostInit(BaseModel):
    def model_post_init(self, context: Any) -> None: ...


class OwnInit(BaseModel):
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


@pytest.mark.parametrize(
    "kind", [int, str, float, bool, None, Inner, Item, list[Item], list[list[int]]]
)
def test_plain_types_are_the_same(kind: Any) -> None:
    assert is_same_from_json(TypeAdapter(kind).core_schema)


@pytest.mark.parametrize(
    "kind",
    [
        bytes, date, Colour, Any, dict[str, int], tuple[int, str], set[int], int | str,
        Literal["a"], Annotated[int, BeforeValidator(int)], Annotated[int, Field(strict=True)],
        Strict, Extra, PostInit, OwnInit, list[Strict], date | None,
        create_model("Made", number=(int, Field(default_factory=int))),
        create_model("Checked", number=(int, Field(default="x", validate_default=True))),
    ],
)  # fmt: skip
def test_other_types_are_parsed_first(kind: Any) -> None:
    assert not is_same_from_json(TypeAdapter(kind).core_schema)
