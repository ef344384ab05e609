"""Chooses the event loop: the name given to `--loop` becomes a factory for `asyncio.Runner`.

The engine needs `loop.add_reader` and nothing else from a loop, so any selector loop will do and
uvloop only speeds up the application's own input and output. Called by
`Config.get_loop_factory`; opens nothing and sets no global policy.
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, TypeAlias, cast

from pronghorn.errors import ImportFromStringError
from pronghorn.importer import import_from_string

LoopName: TypeAlias = Literal["none", "auto", "asyncio", "uvloop", "zuvloop"]
LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: Any) -> LoopFactory | None:
    """A factory for the loop called `name`, or None to leave the choice to asyncio's policy.

    Besides the known names, `<module>:<factory>` names a callable that returns a new loop; it may
    also be given itself.
    """
    match name:
        case "none" | None:
            return None
        case "asyncio":
            return asyncio.SelectorEventLoop
        case "auto":
            return _auto()
        case "uvloop" | "zuvloop":
            return _named(name)
    return _custom(name)


def _auto() -> LoopFactory:
    try:
        return _named("uvloop")
    except ImportFromStringError:
        return asyncio.SelectorEventLoop


def _named(package: str) -> LoopFactory:
    try:
        module = import_module(package)
    except ImportError:
        raise ImportFromStringError(
            f"`{package}` is not installed; install it, or choose `auto` or `asyncio`."
        ) from None
    return cast(LoopFactory, module.new_event_loop)


def _custom(import_string: Any) -> LoopFactory:
    factory = import_from_string(import_string)
    if not callable(factory):
        raise ImportFromStringError(
            f"`{import_string}` is not callable; name a function that returns a new event loop."
        )
    return cast(LoopFactory, factory)
