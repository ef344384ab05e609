"""The data of the generated applications: models of every kind that Pydantic has."""

# ruff: noqa: UP042
from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict


class Colour(str, enum.Enum):
    red = "red"
    blue = "blue"


class Level(enum.IntEnum):
    low = 1
    high = 2


class OddText(str, enum.Enum):
    one = "one"

    def __str__(self) -> str:
        return "odd"

    def __repr__(self) -> str:
        return "<odd>"


class Owner(BaseModel):
    name: str
    email: str | None = None


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []
    owner: Owner | None = None


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    first: int = Field(alias="firstValue")
    second: str = Field("two", alias="second-value", min_length=2)
    hidden: int = Field(9, exclude=True)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    count: int
    ratio: float = 1.0
    when: datetime | None = None


class Checked(BaseModel):
    low: int
    high: int = 10
    word: str = "ok"

    @field_validator("word")
    @classmethod
    def no_x(cls, value: str) -> str:
        if "x" in value:
            raise ValueError("x is not allowed")
        return value

    @model_validator(mode="after")
    def ordered(self) -> Checked:
        if self.low > self.high:
            raise ValueError("low above high")
        return self

    @computed_field
    @property
    def span(self) -> int:
        return self.high - self.low


class Sub(Item):
    secret: str = "s"


class Wide(BaseModel):
    model_config = ConfigDict(extra="allow")
    when: datetime | None = None
    day: date | None = None
    amount: Decimal | None = None
    key: UUID | None = None
    colour: Colour = Colour.red
    level: Level = Level.low
    data: bytes = b""
    odd: OddText | None = None
    anything: Any = None
    span: timedelta | None = None
    members: set[int] = set()

    @field_serializer("level")
    def level_name(self, value: Level) -> str:
        return value.name


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool = True


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
Thing = TypeVar("Thing")


class Page(BaseModel, Generic[Thing]):
    entries: list[Thing]
    total: int = 0


class Numbers(RootModel[list[int]]):
    pass


class Filters(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: int = Field(100, gt=0, le=100)
    order: Literal["up", "down"] = "up"
    tags: list[str] = []


class CommonHeaders(BaseModel):
    x_one: str = "1"
    x_many: list[str] = []


class LoginForm(BaseModel):
    username: str
    password: str = "p"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass
class HybridPoint(dict):  # type: ignore[type-arg]
    x: int = 1


@pydantic_dataclass
class Checkpoint:
    x: int
    label: str = "l"


class Movie(TypedDict, total=False):
    title: str
    year: int
