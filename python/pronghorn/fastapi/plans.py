"""What the accelerator knows about each application, and whether it still holds.

A `Plan` belongs to one `ExceptionMiddleware` object, that is to one application as it is built at
the moment: it has the table of routes and, for each route that has been asked for, the programs
made for it. `program` is the way of every request: it looks whether anything has changed, finds the
route and returns what runs it, or None where FastAPI's own code is to run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from fastapi.applications import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRouter
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette._utils import get_route_path
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from pronghorn.fastapi.analysis import Facts, read_route, tree
from pronghorn.fastapi.changes import Changes
from pronghorn.fastapi.codegen import make_program
from pronghorn.fastapi.matching import Place, Table
from pronghorn.fastapi.sentry import may_pass, names_transaction
from pronghorn.fastapi.shape import Layers, Program, Shape, Start

logger = logging.getLogger("pronghorn.error")

try:
    from fastapi._body_limit import AppBodyLimitMiddleware
except ImportError:  # FastAPI before 0.164
    AppBodyLimitMiddleware = None  # type: ignore[assignment,misc]

BODY_LIMIT_KEY = "starlette.max_body_size"
LAYERS_MAX = 64
"""How deep in an application's layers its `ExceptionMiddleware` is looked for."""
SWITCH = "__pronghorn_accelerate__"
"""An attribute of an application or an endpoint; False leaves it to FastAPI."""


class Observer:
    """Told the tier of each request, where somebody counts."""

    tell: Callable[[str], None] | None = None


observer = Observer()


class Telemetry:
    """Whether FastAPI's telemetry has been on at any time.

    Then a request may be part of another one's trace although its own application has none.
    """

    was_on = False


telemetry = Telemetry()


class Entry:
    """One route: how it is run, and whether that still holds."""

    __slots__ = ("facts", "is_current", "programs", "reason", "requests", "tier")

    def __init__(self, place: Place, features: frozenset[str]) -> None:
        self.facts: Facts | None = None
        self.programs: dict[Any, Program] = {}
        self.requests = 0
        self.reason = ""
        self.tier = "routed"
        about = place.about
        if not _is_wanted(about.endpoint):
            self.tier, self.reason = "original", "it is switched off"
        elif not place.is_api:
            self.reason = "it is a Starlette route"
        else:
            found = _read(about.app, features)
            if isinstance(found, Facts):
                self.facts, self.tier = found, "compiled"
            else:
                self.reason = found
        self.is_current = _current(about, self.facts)


def _read(app: Any, features: frozenset[str]) -> Facts | str:
    if "handlers" not in features:
        return "functions that path operations use are not known or have been replaced"
    found = read_route(app)
    if isinstance(found, Facts) and found.body_field is not None and "json_body" not in features:
        return "functions that read bodies are not known or have been replaced"
    return found


_FIELDS = attrgetter(*Dependant.__slots__)


def _state(node: Dependant) -> tuple[Any, ...]:
    return tuple(list(each) if type(each) is list else each for each in _FIELDS(node))


def _current(about: Any, facts: Facts | None) -> Callable[[], bool]:
    """What tells whether a route is still what it was."""
    app, endpoint = about.app, about.endpoint
    if facts is None:
        return lambda: about.app is app and about.endpoint is endpoint
    nodes = [(each, _state(each)) for each in tree(facts.dependant)]
    call, root, before = facts.dependant.call, *nodes[0]
    fields = _FIELDS
    if len(nodes) == 1:
        return lambda: about.app is app and root.call is call and fields(root) == before

    def is_current() -> bool:
        if about.app is not app or root.call is not call:
            return False
        return all(fields(node) == state for node, state in nodes)

    return is_current


class Plan:
    """An application as it is at the moment."""

    def __init__(self, app: FastAPI, changes: Changes) -> None:
        self.app = app
        self.changes = changes
        self.epoch = changes.epoch
        self.stack: Any = app.middleware_stack
        self.router: Any = app.router
        self.exception: Any = None
        """The application's `ExceptionMiddleware`, if all from there in is FastAPI's."""
        self.server_error: Any = None
        """The outermost layer, if it and the next ones are FastAPI's."""
        self.first: Any = None
        """The layer inside of those: the user's outermost middleware, or `exception`."""
        self.table = Table(self.router)
        self._middleware_stack = self.router.middleware_stack
        self._chain: list[tuple[Any, Any]] = []
        if "inner" in changes.features:
            self._include_inner()
        if "outer" in changes.features:
            self._include_outer()

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing of the user's between the layers."""
        return self.first is self.exception

    def is_current(self) -> bool:
        """Whether the application is still built and routed as it was."""
        app, router = self.app, self.router
        if (
            self.changes.look() != self.epoch
            or app.middleware_stack is not self.stack
            or app.router is not router
            or router.middleware_stack is not self._middleware_stack
        ):
            return False
        for layer, inner in self._chain:
            if layer.app is not inner:
                return False
        return self.table.is_current()

    def program(self, scope: Any, start: Start) -> tuple[Program, dict[str, Any] | None] | None:
        """What runs a request, with its path parameters; None leaves it to FastAPI."""
        path = scope["path"] if not scope.get("root_path") else get_route_path(scope)
        place, path_params = self.table.find(scope["method"], path)
        if place is None:
            return None
        entry = place.entry
        if entry is None or not entry.is_current():
            place.entry = entry = Entry(place, self.changes.features)
        if entry.tier == "original":
            return None
        facts = entry.facts
        if (
            self.changes.passes_sentry
            and start is not Start.ROUTER
            and not (facts is not None and names_transaction(facts.wrappers) and may_pass(scope))
        ):
            return None
        is_compiled = facts is not None and not (
            facts.provider and facts.provider.dependency_overrides
        )
        has_telemetry = "fastapi.telemetry" in scope or telemetry.was_on
        key = (start, has_telemetry, is_compiled)
        program = entry.programs.get(key)
        if program is None:
            program = self._make(key, place, entry)
        entry.requests += 1
        if observer.tell is not None:
            observer.tell("compiled" if is_compiled else "routed")
        return program, path_params

    def _include_inner(self) -> None:
        """Take in `ExceptionMiddleware` and what is inside of it."""
        layer = self.stack
        for _ in range(LAYERS_MAX):
            if layer is None or type(layer) is ExceptionMiddleware:
                break
            layer = getattr(layer, "app", None)
        exit_stack = getattr(layer, "app", None)
        if (
            layer is not None
            and type(exit_stack) is AsyncExitStackMiddleware
            and exit_stack.context_name == "fastapi_middleware_astack"
            and exit_stack.app is self.router
        ):
            self.exception = layer
            self._chain = [(layer, exit_stack), (exit_stack, self.router)]

    def _include_outer(self) -> None:
        """Take in the layers outside of the user's middleware."""
        layer, chain = self.stack, []
        for kind in (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware):
            if kind is None:
                continue
            if type(layer) is not kind:
                return
            chain.append((layer, layer.app))
            layer = layer.app
        self.server_error, self.first = self.stack, layer
        self._chain = chain + self._chain

    def _make(self, key: tuple[Start, bool, bool], place: Place, entry: Entry) -> Program:
        start, has_telemetry, is_compiled = key
        shape = Shape(start, has_telemetry, self.changes.features, self.changes.replaced_steps)
        layers = Layers(self.app, self.server_error, self.exception, self.router)
        program = make_program(shape, layers, place, entry.facts if is_compiled else None)
        entry.programs[key] = program
        return program


def make_plan(app: Any, changes: Changes) -> Plan | None:
    """A plan for an application, or None if it is to be left to FastAPI."""
    if (
        not isinstance(app, FastAPI)
        or not _is_wanted(app)
        or app.debug
        or getattr(app.middleware_stack, "debug", False)
        or not _has_own_stack(app.router)
        or "routing" not in changes.features
    ):
        return None
    plan = Plan(app, changes)
    return plan if plan.table.is_readable else None


def _is_wanted(thing: Any) -> bool:
    return getattr(thing, SWITCH, True) is not False


def _has_own_stack(router: Any) -> bool:
    """Whether the router has no middleware of its own, and finds routes as FastAPI's does."""
    kind = type(router)
    stack = router.middleware_stack
    return (
        isinstance(router, APIRouter)
        and kind.app is APIRouter.app
        and kind.__call__ is APIRouter.__call__
        and getattr(stack, "__func__", None) is APIRouter.app
        and stack.__self__ is router
    )
