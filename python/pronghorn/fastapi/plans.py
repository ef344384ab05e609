"""What the accelerator knows about each application, and whether it still holds.

A `Plan` belongs to one `ExceptionMiddleware` object, that is to one application as it is built at
the moment: it has the table of routes and, for each route that has been asked for, the programs
made for it. `program` is the way of every request: it looks whether anything has changed, finds the
route and returns what runs it, or None where FastAPI's own code is to run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi.applications import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRouter
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from pronghorn.fastapi.analysis import Facts, read_route, tree
from pronghorn.fastapi.changes import Changes
from pronghorn.fastapi.codegen import make_program
from pronghorn.fastapi.matching import Place, Table
from pronghorn.fastapi.native import Snapshot
from pronghorn.fastapi.observing import make_observation, observation_places
from pronghorn.fastapi.sentry import is_in_use as sentry_is_in_use
from pronghorn.fastapi.sentry import is_only_wrapper, may_pass, names_transaction
from pronghorn.fastapi.shape import LAYERS_MAX, Layers, Program, Shape, Start
from pronghorn.fastapi.telemetry import (
    is_silent,
    libraries_in_use,
    telemetry,
    telemetry_places,
)

logger = logging.getLogger("pronghorn.error")

try:
    from fastapi._body_limit import AppBodyLimitMiddleware
except ImportError:  # FastAPI before 0.164
    AppBodyLimitMiddleware = None  # type: ignore[assignment,misc]

BODY_LIMIT_KEY = "starlette.max_body_size"
SWITCH = "__pronghorn_accelerate__"
"""An attribute of an application or an endpoint; False leaves it to FastAPI."""


ROUTED, TELEMETRY = 4, 8
"""Added to a `Start`, they say which of a route's programs it is."""


TELEMETRY_FEATURES = {"telemetry", "opentelemetry-api"}
"""What has to be known for a path operation with telemetry to be compiled."""


class Observer:
    """Told the tier of each request, where somebody counts."""

    tell: Callable[[str], None] | None = None


observer = Observer()


class Entry:
    """One route: how it is run, and whether that still holds."""

    __slots__ = ("facts", "programs", "provider", "reason", "requests", "snapshot", "tier")

    def __init__(self, place: Place, features: frozenset[str]) -> None:
        self.facts: Facts | None = None
        self.programs: dict[int, Program] = {}
        self.requests = 0
        self.reason = ""
        self.tier = "routed"
        about = place.about
        watched = [(about, "app"), (about, "endpoint")]
        if isinstance(getattr(about.endpoint, "__dict__", None), dict):
            watched.append((about.endpoint, SWITCH))
        if not _is_wanted(about.endpoint):
            self.tier, self.reason = "original", "it is switched off"
        elif not place.is_api:
            self.reason = "it is a Starlette route"
        else:
            found = _read(about.app, features)
            if isinstance(found, Facts):
                self.facts, self.tier = found, "compiled"
                for node in tree(found.dependant):
                    watched += [(node, name) for name in Dependant.__slots__]
            else:
                self.reason = found
        self.provider: Any = None if self.facts is None else self.facts.provider
        self.snapshot = Snapshot(watched)


def _read(app: Any, features: frozenset[str]) -> Facts | str:
    if "handlers" not in features:
        return "functions that path operations use are not known or have been replaced"
    found = read_route(app)
    if isinstance(found, Facts) and found.body_field is not None and "json_body" not in features:
        return "functions that read bodies are not known or have been replaced"
    return found


class Verdict:
    """What has been found out about an application, for as long as it is built as it was."""

    app: FastAPI
    changes: Changes
    epoch: int
    _snapshot: Snapshot

    def is_current(self) -> bool:
        """Whether the application is still built and routed as it was."""
        changes = self.changes
        if not changes.versions.are_current():
            changes.look()
        return changes.epoch == self.epoch and self._snapshot.holds()


class Refusal(Verdict):
    """An application that is left to FastAPI."""

    def __init__(self, app: FastAPI, changes: Changes) -> None:
        self.app, self.changes, self.epoch = app, changes, changes.epoch
        self._snapshot = Snapshot(
            [
                *((app, name) for name in ("middleware_stack", "router", "debug", SWITCH)),
                *((app.router, name) for name in ("middleware_stack", "routes", "form_limits")),
            ]
        )


class Plan(Verdict):
    """An application as it is at the moment."""

    def __init__(self, app: FastAPI, changes: Changes) -> None:
        self.app = app
        self.changes = changes
        self.is_silent = "outer" in changes.features and is_silent(app)
        """There is no telemetry."""
        for library in [] if self.is_silent else libraries_in_use():
            changes.include(library)
        if sentry_is_in_use():
            changes.include("sentry-sdk")
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
        self._layers: list[Any] = []
        if "inner" in changes.features:
            self._include_inner()
        if "outer" in changes.features:
            self._include_outer()
        self.is_whole = self.first is self.exception
        """There is nothing of the user's between the layers."""
        self.observation = None
        """What is recorded of requests, where that is not left to FastAPI."""
        self.knows_telemetry = changes.features >= TELEMETRY_FEATURES
        if not self.is_silent and self.knows_telemetry:
            self.observation = make_observation(app)
        self._snapshot = Snapshot(
            [
                *((app, name) for name in ("middleware_stack", "router", SWITCH)),
                (self.router, "middleware_stack"),
                *((layer, "app") for layer in self._layers),
                *self.table.watched,
                *telemetry_places(app),
                *(() if self.is_silent else observation_places(app)),
            ]
        )

    def run(self, start: int, scope: Any, receive: Any, send: Any) -> Any:
        """A coroutine that answers a request; None leaves it to FastAPI."""
        path = scope["path"] if not scope.get("root_path") else get_route_path(scope)
        place, path_params = self.table.find(scope["method"], path)
        if place is None:
            return None
        entry = place.entry
        if entry is None or not entry.snapshot.holds():
            place.entry = entry = Entry(place, self.changes.features)
        if entry.tier == "original":
            return None
        if self.changes.passes_sentry and start != Start.ROUTER:
            facts = entry.facts
            if facts is None or not names_transaction(facts.wrappers) or not may_pass(scope):
                return None
        key = start
        if entry.facts is None or (entry.provider and entry.provider.dependency_overrides):
            key |= ROUTED
        if telemetry.was_on or "fastapi.telemetry" in scope:
            key |= TELEMETRY if self.knows_telemetry else TELEMETRY | ROUTED
        program = entry.programs.get(key)
        if program is None:
            entry.programs[key] = program = self._make(key, start, place, entry)
        entry.requests += 1
        if observer.tell is not None:
            observer.tell("routed" if key & ROUTED else "compiled")
        return program(scope, receive, send, path_params)

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
            self._layers = [layer, exit_stack]

    def _include_outer(self) -> None:
        """Take in the layers outside of the user's middleware."""
        layer, layers = self.stack, []
        for kind in (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware):
            if kind is None:
                continue
            if type(layer) is not kind:
                return
            layers.append(layer)
            layer = layer.app
        self.server_error, self.first = self.stack, layer
        self._layers += layers

    def _make(self, key: int, start: int, place: Place, entry: Entry) -> Program:
        changes = self.changes
        facts = None if key & ROUTED else entry.facts
        has_sentry = (
            facts is not None
            and "sentry-sdk" in changes.features
            and is_only_wrapper(facts.wrappers)
        )
        if facts is not None and has_sentry:
            facts = replace(facts, wrappers=())
        shape = Shape(
            start, bool(key & TELEMETRY), has_sentry, changes.features, changes.replaced_steps
        )
        layers = Layers(self.app, self.server_error, self.exception, self.router)
        return make_program(shape, layers, place, facts)


def make_plan(app: Any, changes: Changes) -> Plan | None:
    """A plan for an application, or None if it is to be left to FastAPI."""
    if (
        not isinstance(app, FastAPI)
        or not _is_wanted(app)
        or app.debug
        or getattr(app.middleware_stack, "debug", False)
        or not _leads_to_starlette(type(app))
        or not _has_own_stack(app.router)
        or "routing" not in changes.features
    ):
        return None
    plan = Plan(app, changes)
    return plan if plan.table.is_readable else None


def _is_wanted(thing: Any) -> bool:
    return getattr(thing, SWITCH, True) is not False


def _leads_to_starlette(kind: type) -> bool:
    """Whether FastAPI's `__call__` calls Starlette's, and not that of a base class in between."""
    bases = kind.__mro__[kind.__mro__.index(FastAPI) + 1 :]
    return next(each for each in bases if "__call__" in vars(each)) is Starlette


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
