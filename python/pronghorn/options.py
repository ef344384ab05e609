"""What an option is: its name, type, default, flag, environment variable, help and checks.

`settings.py` writes the table with `option()`, one row a line of the documentation. `Option.accept`
takes the value that a caller gave and returns the one to use, or raises a `ConfigurationError`.
The command line, `Config` and the documentation read the finished table through `options_of`.
An option whose feature does not exist yet is in the table too: its name is known everywhere, its
default passes, and asking for the feature is refused by name.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args, get_origin

from pronghorn.errors import ConfigurationError

T = TypeVar("T")
Kind: TypeAlias = Literal[
    "switch",  # a boolean, `--x/--no-x`
    "flag",  # a boolean that can only be turned on, `--x`
    "boolean",  # a boolean with a value, `--x true`
    "integer",
    "number",
    "choice",
    "text",
    "path",
    "texts",
    "paths",
    "files",  # like paths, but looked for when they are needed
    "object",  # anything; only programs can set it
]
Check: TypeAlias = Callable[[Any], str | None]

ENVIRONMENT_PREFIXES = ("PRONGHORN_", "UVICORN_")
"""In order of precedence."""

_UNSET: Any = object()
_OFF = "leave the option out"


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table."""

    name: str
    annotation: Any
    default: Any
    kind: Kind
    types: tuple[type, ...]
    """The types of its values, or none where the annotation is a text."""
    optional: bool
    """Whether None is a value."""
    about: str
    group: str
    flag: str | None
    """The long flag, or None for what only programs can set."""
    choices: tuple[str, ...]
    metavar: str | None
    minimum: float | None
    maximum: float | None
    convert: Callable[[Any], Any] | None
    """Turns other spellings of a value into the one that is checked."""
    check: Check | None
    """Returns what is wrong with a value of the right type, or None."""
    feature: str | None
    """What the option asks for, when that does not exist yet."""
    ready: tuple[Any, ...]
    """The values that do not ask for `feature`."""

    @property
    def environment_variables(self) -> list[str]:
        """The variables that set it, in order of precedence."""
        return [prefix + self.name.upper() for prefix in ENVIRONMENT_PREFIXES]

    def accept(self, value: Any) -> Any:
        """The value to use for `value`; raises `ConfigurationError` when there is none."""
        if value is None and self.optional:
            return None
        value = self._converted(self.convert(value) if self.convert else value)
        self._check_bounds(value)
        complaint = self.check(value) if self.check else None
        if complaint:
            raise ConfigurationError(self.name, complaint)
        if self.feature and value not in self.ready:
            self._refuse(value)
        return value

    def _converted(self, value: Any) -> Any:
        match self.kind:
            case "switch" | "flag" | "boolean":
                if value is not None and not isinstance(value, int):
                    raise self._wrong("must be True or False", value)
                return bool(value)
            case "integer":
                return self._number(value, int, "must be a whole number")
            case "number":
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
                return self._number(value, float, "must be a number")
            case "choice" if value not in self.choices:
                raise self._wrong(f"must be one of {', '.join(self.choices)}", value)
            case "text" | "path" if not isinstance(value, self.types or object):
                if isinstance(value, os.PathLike):
                    return os.fspath(value)
                raise self._wrong("must be a text", value)
            case "texts" | "paths" | "files":
                return self._texts(value)
        return value

    def _texts(self, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str) and str in self.types:
            return value
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise self._wrong("must be a list", value)
        return list(value)

    def _number(self, value: Any, number_type: type[int] | type[float], rule: str) -> Any:
        try:
            if not isinstance(value, str | number_type) or isinstance(value, bool):
                raise TypeError
            return number_type(value)
        except (TypeError, ValueError):
            raise self._wrong(rule, value) from None

    def _check_bounds(self, value: Any) -> None:
        # Written so that a NaN, which compares false with everything, is refused.
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not low <= value <= high:
            raise self._wrong(f"must be between {low:g} and {high:g}", value)
        if low is not None and not low <= value:
            raise self._wrong(f"must be {low:g} or more", value)

    def _refuse(self, value: Any) -> None:
        usable = [str(ready) for ready in self.ready if ready not in (None, False, "")]
        remedy = f"use {' or '.join(f'`{ready}`' for ready in usable)}" if usable else _OFF
        shown = "used" if isinstance(value, bool) or self.is_secret else f"`{value}`"
        raise ConfigurationError(
            self.name, f"cannot be {shown}: this version has no {self.feature} yet; {remedy}."
        )

    def _wrong(self, rule: str, value: Any) -> ConfigurationError:
        shown = "a secret" if self.is_secret else f"`{value}`"
        return ConfigurationError(self.name, f"{rule}, got {shown}.")

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return "password" in self.name


def option(
    default: T = _UNSET,
    about: str = "",
    *,
    group: str,
    factory: Callable[[], Any] | None = None,
    **details: Any,
) -> T:
    """A row of the table, to be assigned to a field of a dataclass.

    The field gives name and type, and `details` any other field of `Option` that does not follow
    from these. `factory` replaces `default` where the default is a mutable object.
    """
    metadata = {"option": {"about": about, "group": group, **details}}
    if factory is not None:
        return cast(T, dataclasses.field(default_factory=factory, metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


def options_of(settings: type[Any]) -> dict[str, Option]:
    """The table that the dataclass `settings` holds, in the order of its fields."""
    return {
        field.name: _row(field)
        for field in dataclasses.fields(settings)
        if "option" in field.metadata
    }


def _row(field: "dataclasses.Field[Any]") -> Option:
    details = dict(field.metadata["option"])
    members = get_args(field.type) or (field.type,)
    # A type that is costly to import is written as a string.
    optional = NoneType in members or str(field.type).endswith("| None")
    kind = details.pop("kind", None) or _kind(members, get_origin(field.type))
    has_factory = field.default is dataclasses.MISSING
    default = None if has_factory else field.default
    choices = details.pop("choices", ())
    if kind == "choice" and not choices:
        choices = _literals(field.type)
    return Option(
        name=field.name,
        annotation=field.type,
        default=default,
        kind=kind,
        types=_types(members),
        optional=optional,
        flag=details.pop("flag", None if kind == "object" else "--" + _dashed(field.name)),
        choices=choices,
        metavar=details.pop("metavar", None),
        minimum=details.pop("minimum", None),
        maximum=details.pop("maximum", None),
        convert=details.pop("convert", None),
        check=details.pop("check", None),
        feature=details.pop("feature", None),
        ready=details.pop("ready", (default,)),
        **details,
    )


def _kind(members: tuple[Any, ...], origin: Any) -> Kind:
    if origin is Literal:
        return "choice"
    kinds: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number", str: "text"}
    return next((kinds[member] for member in members if member in kinds), "object")


def _types(members: tuple[Any, ...]) -> tuple[type, ...]:
    origins = (get_origin(member) or member for member in members)
    return tuple(each for each in origins if isinstance(each, type))


def _literals(annotation: Any) -> tuple[str, ...]:
    return tuple(choice for choice in get_args(annotation) if isinstance(choice, str))


def _dashed(name: str) -> str:
    return name.replace("_", "-")
