"""Finds out what a route's ASGI application does, without running it.

FastAPI makes a route's application out of closures. `read_route` recognises them by their code
objects and returns what the closures hold as `Facts`; for code that it does not know it returns a
reason why the route cannot be compiled. A handler that something has wrapped (a custom route
class, Sentry) is found inside its wrapper, which is kept: `rewrap` makes the same wrapper around a
compiled handler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from fastapi import routing
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import (
    Dependant,
    _get_cache_key,
    _is_async_gen_callable,
    _is_gen_callable,
)

from pronghorn.fastapi.standins import code_of

WRAPPERS_MAX = 8
"""How deep a handler is looked for in its wrappers."""


@dataclass(frozen=True)
class Facts:
    """What `get_request_handler` was told, and the wrappers around what it made."""

    dependant: Dependant
    body_field: Any
    is_body_form: bool
    status_code: int | None
    response_class: Any
    is_default_class: bool
    response_field: Any
    dump_arguments: dict[str, Any]
    provider: Any
    embed_body_fields: bool
    is_strict: bool
    is_coroutine: bool
    form_limits: Any
    has_form_limits: bool
    wrappers: tuple[FunctionType, ...]
    """From the outermost to the one around FastAPI's own handler."""

    @property
    def call(self) -> Callable[..., Any]:
        """The endpoint."""
        assert self.dependant.call is not None
        return self.dependant.call


def _inner(code: CodeType, *names: str) -> CodeType:
    for name in names:
        code = next(
            each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name
        )
    return code


def _of_routing(function: Any) -> FunctionType:
    """FastAPI's function of a name that a library may have wrapped before, as Sentry does."""
    for _ in range(WRAPPERS_MAX):
        if function.__module__ == routing.__name__:
            break
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        function = next(each for each in held if isinstance(each, FunctionType))
    found: FunctionType = function
    return found


APPLICATION_CODE = _inner(_of_routing(routing.request_response).__code__, "app")
HANDLER_CODE = _inner(_of_routing(routing.get_request_handler).__code__, "app")
NOT_AWAITED = next(
    text
    for text in _inner(APPLICATION_CODE, "app").co_consts
    if isinstance(text, str) and text.startswith("Response not awaited")
)


def read_route(app: Any) -> Facts | str:
    """What the application of a route does, or why it cannot be compiled."""
    if code_of(app) is not APPLICATION_CODE:
        return f"its application is `{_name(app)}`, not FastAPI's own"
    wrappers: list[FunctionType] = []
    handler = _closure(app)["f"]
    while code_of(handler) is not HANDLER_CODE:
        inside = _wrapped_by(handler)
        if inside is None or len(wrappers) == WRAPPERS_MAX:
            return f"its handler is `{_name(handler)}`"
        wrappers.append(handler)
        handler = inside
    return _facts(_closure(handler), tuple(wrappers))


def rewrap(wrappers: tuple[FunctionType, ...], handler: Any) -> Any:
    """The outermost of `wrappers`, with `handler` in the place of FastAPI's own."""
    for wrapper in reversed(wrappers):
        inside = _wrapped_by(wrapper)
        cells = tuple(
            CellType(handler) if _content(cell) is inside else cell
            for cell in wrapper.__closure__ or ()
        )
        again = FunctionType(
            wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, cells
        )
        again.__kwdefaults__ = wrapper.__kwdefaults__
        again.__dict__.update(wrapper.__dict__)
        handler = again
    return handler


def _facts(closure: dict[str, Any], wrappers: tuple[FunctionType, ...]) -> Facts | str:
    dependant = closure["dependant"]
    call = dependant.call
    if closure["is_sse_stream"] or closure["is_json_stream"]:
        return "it streams"
    if _is_gen_callable(call) or _is_async_gen_callable(call):
        return "it streams"
    try:
        hash(call)
        for each in tree(dependant):
            hash(_get_cache_key(dependant=each))
    except TypeError:
        return "a dependency cannot be hashed"
    response_class = closure["response_class"]
    return Facts(
        dependant=dependant,
        body_field=closure["body_field"],
        is_body_form=bool(closure["is_body_form"]),
        status_code=closure["status_code"],
        response_class=closure["actual_response_class"],
        is_default_class=isinstance(response_class, DefaultPlaceholder),
        response_field=closure["response_field"],
        dump_arguments={
            name: closure[f"response_model_{name}"]
            for name in (
                "include",
                "exclude",
                "by_alias",
                "exclude_unset",
                "exclude_defaults",
                "exclude_none",
            )
        },
        provider=closure["dependency_overrides_provider"],
        embed_body_fields=closure["embed_body_fields"],
        is_strict=closure["actual_strict_content_type"],
        is_coroutine=closure["is_coroutine"],
        form_limits=closure.get("form_limits"),
        has_form_limits="form_limits" in closure,
        wrappers=wrappers,
    )


def tree(dependant: Dependant) -> list[Dependant]:
    """A dependant and everything that it depends on."""
    found = [dependant]
    for each in dependant.dependencies:
        found += tree(each)
    return found


def _wrapped_by(wrapper: Any) -> Any:
    """The one handler that a wrapper's closure holds, if it can be replaced there."""
    if type(wrapper) is not FunctionType:
        return None
    found = []
    for name, cell in zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True):
        inside = _content(cell)
        is_handler = code_of(inside) is HANDLER_CODE
        if is_handler or _wrapped_by(inside) is not None:
            found.append((name, inside))
    if len(found) != 1 or found[0][0] in _assigned(wrapper.__code__):
        return None
    return found[0][1]


def _assigned(code: CodeType) -> set[str]:
    """Names of the closure that the code, or code in it, may set."""
    import dis

    names = {
        each.argval
        for each in dis.get_instructions(code)
        if each.opname in ("STORE_DEREF", "DELETE_DEREF")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _assigned(constant)
    return names


def _closure(function: Any) -> dict[str, Any]:
    return {
        name: _content(cell)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True)
    }


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # It has not been set.
        return None


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or type(thing).__qualname__
