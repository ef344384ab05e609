"""Where requests enter the accelerator: methods of FastAPI's and Starlette's classes.

`install` replaces them for every application of the process, mounted and wrapped ones included, and
`uninstall` restores them. A replaced method returns the coroutine of the program for the request,
or that of the original method where the accelerator stands back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from fastapi.applications import FastAPI
from fastapi.routing import APIRouter
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from pronghorn.fastapi.base_http import call as call_base_http
from pronghorn.fastapi.changes import Changes
from pronghorn.fastapi.cors import call as call_cors
from pronghorn.fastapi.observing import observe
from pronghorn.fastapi.plans import BODY_LIMIT_KEY, Plan, Refusal, Verdict, make_plan, observer
from pronghorn.fastapi.recovery import run_outer
from pronghorn.fastapi.sentry import follower
from pronghorn.fastapi.shape import Start
from pronghorn.fastapi.standins import ENTRANCES, resolve
from pronghorn.fastapi.telemetry import has_telemetry, telemetry

PLAN = "_pronghorn_plan"
"""The attribute of an application's outermost layer that holds the plan, or the refusal to make
one: they end together. Where that layer has no attributes, the application holds the refusal."""

logger = logging.getLogger("pronghorn.error")

changes = Changes()


class Ours:
    """Methods of ours that are compared with."""

    starlette: Any = None
    original: Any = None
    """What `starlette` stands in for."""
    outer: Any = None
    """What has wrapped `starlette`."""
    follower: Any = None
    """What does the same as `outer`, if that is known."""


ours = Ours()
_originals: dict[tuple[type, str], Any] = {}


def hook(features: frozenset[str], strange: frozenset[str]) -> None:
    """Replace methods, but for strange ones, and start to notice changes."""
    if _originals:
        return
    for name, feature in ENTRANCES.items():
        if feature in features and name not in strange:
            owner, method, _ = resolve(name)
            _replace(owner, method, _MAKERS[name])
    ours.starlette = vars(Starlette)["__call__"]
    ours.original = getattr(ours.starlette, "__wrapped__", ours.starlette)
    ours.outer = ours.follower = None
    changes.watch(features)


def unhook() -> None:
    """Restore the methods that are still ours."""
    changes.unwatch()
    for (owner, name), (original, replacement) in _originals.items():
        if vars(owner)[name] is replacement:
            setattr(owner, name, original)
    _originals.clear()


def is_hooked() -> bool:
    """Whether the methods are replaced."""
    return bool(_originals)


def plan_of(app: Any) -> Plan | None:
    """The plan for an application, made if need be; None if it is left to FastAPI."""
    try:
        verdict: Verdict = app.middleware_stack._pronghorn_plan
    except AttributeError:
        return _new_plan(app)
    if verdict.app is not app or not verdict.is_current():
        return _new_plan(app)
    return verdict if type(verdict) is Plan else None


def _new_plan(app: Any) -> Plan | None:
    if not isinstance(app, FastAPI):
        return None
    refusal = getattr(app, PLAN, None)
    if refusal is not None and refusal.is_current():
        return None
    changes.look()
    try:
        if app.middleware_stack is None:
            app.middleware_stack = app.build_middleware_stack()
            # Layers may patch functions when they are made, as Elastic APM's does.
            changes.look()
        plan = make_plan(app, changes)
    except Exception:
        logger.debug("The accelerator leaves an application to FastAPI.", exc_info=True)
        plan = None
    try:
        setattr(app.middleware_stack, PLAN, plan or Refusal(app, changes))
    except AttributeError:  # A layer of the user's that has slots, or there are no layers.
        setattr(app, PLAN, Refusal(app, changes))
        return None
    return plan


def _replace(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    replacement = _like(original, make(original))
    _originals[owner, name] = original, replacement
    setattr(owner, name, replacement)


def _like(original: Any, replacement: Any) -> Any:
    """`replacement` under the name of the original, and recognised as a coroutine function too."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(replacement, attribute, getattr(original, attribute))
    replacement.__wrapped__ = original
    if hasattr(inspect, "markcoroutinefunction"):
        return inspect.markcoroutinefunction(replacement)
    replacement._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return replacement


def _call_fastapi(original: Any) -> Any:
    """The application: whether it has telemetry is found out in a quicker way."""

    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if _is_readable(scope) and "fastapi.telemetry" not in scope:
            plan = plan_of(self)
            if plan is not None and plan.is_silent:
                if self.root_path:
                    scope["root_path"] = self.root_path
                running = _run_wrapped(self, scope, receive, send)
                if running is None:
                    running = _run(self, plan, scope, receive, send)
                if running is not None:
                    return running
            elif plan is not None and plan.observation is not None:
                telemetry.was_on = True
                if self.root_path:
                    scope["root_path"] = self.root_path
                return observe(plan.observation, _run_observed, self, scope, receive, send)
            elif "outer" in changes.features and has_telemetry(self):
                telemetry.was_on = True
        return original(self, scope, receive, send)

    return __call__


def _call_starlette(original: Any) -> Any:
    """The same without telemetry, or within it."""

    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if _is_readable(scope) and isinstance(self, FastAPI):
            running = _run(self, plan_of(self), scope, receive, send)
            if running is not None:
                return running
        return original(self, scope, receive, send)

    return __call__


def _run_observed(app: Any, scope: Any, receive: Any, send: Any) -> Any:
    """What answers a request of an application that is observed."""
    running = _run_wrapped(app, scope, receive, send)
    return running if running is not None else _run_layers(app, scope, receive, send)


def _run_wrapped(app: Any, scope: Any, receive: Any, send: Any) -> Any:
    """What has wrapped the application's method, or does the same as that; None if nothing has."""
    outer = Starlette.__call__
    if outer is ours.starlette:
        return None
    if "sentry-sdk" in changes.features:
        if outer is not ours.outer:
            ours.outer = outer
            ours.follower = follower(outer, ours.starlette, _run_layers)
        if ours.follower is not None and ours.follower.can_follow():
            return ours.follower.follow(app, scope, receive, send)
    return super(FastAPI, app).__call__(scope, receive, send)


def _run_layers(app: Any, scope: Any, receive: Any, send: Any) -> Any:
    """What runs an application's layers, or FastAPI's own code for that."""
    running = _run(app, plan_of(app), scope, receive, send)
    return running if running is not None else ours.original(app, scope, receive, send)


def _run(app: Any, plan: Plan | None, scope: Any, receive: Any, send: Any) -> Any:
    """What runs an application's layers, all or those outside of the user's; None if FastAPI is."""
    if plan is None or plan.server_error is None or BODY_LIMIT_KEY in scope:
        return None
    if plan.is_whole:
        return plan.run(Start.APPLICATION, scope, receive, send)
    if changes.passes_sentry:
        return None
    return run_outer(app, plan.server_error, plan.first, scope, receive, send)


def _call_exception_middleware(original: Any) -> Any:
    """What is inside of the user's middleware."""

    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if _is_readable(scope):
            plan = plan_of(scope.get("app"))
            if plan is not None and plan.exception is self:
                running = plan.run(Start.EXCEPTIONS, scope, receive, send)
                if running is not None:
                    return running
        return original(self, scope, receive, send)

    return __call__


def _call_router(original: Any) -> Any:
    """The router alone, where something has wrapped the layers around it."""

    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if _is_readable(scope) and isinstance(self, APIRouter):
            plan = plan_of(scope.get("app"))
            if (
                plan is not None
                and plan.router is self
                and "router" not in scope
                and type(scope.get("fastapi_middleware_astack")) is AsyncExitStack
            ):
                running = plan.run(Start.ROUTER, scope, receive, send)
                if running is not None:
                    return running
            if observer.tell is not None:
                observer.tell("original")
        return original(self, scope, receive, send)

    return __call__


def _is_readable(scope: Any) -> bool:
    """Whether a scope is one of HTTP that has what programs rely on."""
    return (
        scope["type"] == "http" and type(scope.get("query_string")) is bytes and "headers" in scope
    )


def _call_base_http(original: Any) -> Any:
    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if scope["type"] == "http":
            loop = asyncio._get_running_loop()
            changes.look()
            if (
                loop is not None
                and loop.get_task_factory() is None
                and "base_http" in changes.features
            ):
                return call_base_http(self, scope, receive, send)
        return original(self, scope, receive, send)

    return __call__


def _call_cors(original: Any) -> Any:
    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if scope["type"] == "http" and type(self) is CORSMiddleware:
            changes.look()
            if "cors" in changes.features:
                running = call_cors(self, scope, receive, send)
                if running is not None:
                    return running
        return original(self, scope, receive, send)

    return __call__


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "fastapi.applications:FastAPI.__call__": _call_fastapi,
    "starlette.applications:Starlette.__call__": _call_starlette,
    "starlette.middleware.exceptions:ExceptionMiddleware.__call__": _call_exception_middleware,
    "starlette.routing:Router.__call__": _call_router,
    "starlette.middleware.base:BaseHTTPMiddleware.__call__": _call_base_http,
    "starlette.middleware.cors:CORSMiddleware.__call__": _call_cors,
}
