"""Where requests enter the accelerator: methods of FastAPI's and Starlette's classes.

`install` replaces them for every application of the process, mounted and wrapped ones included, and
`uninstall` restores them. A replaced method returns the coroutine of the program for the request,
or that of the original method where the accelerator stands back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any

from fastapi.applications import FastAPI
from opentelemetry import trace
from opentelemetry._logs import _internal as logs_internal
from opentelemetry.metrics import _internal as metrics_internal
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from pronghorn.fastapi.base_http import call as call_base_http
from pronghorn.fastapi.changes import Changes
from pronghorn.fastapi.plans import BODY_LIMIT_KEY, Plan, make_plan, observer
from pronghorn.fastapi.recovery import run_outer

LAYERS_MAX = 64
"""How deep in an application's layers its `ExceptionMiddleware` is looked for."""

# `os.environ` decodes and encodes with every question.
_environment: Any = getattr(os.environ, "_data", os.environ)
_PROVIDER_VARIABLES: tuple[Any, ...] = tuple(
    os.environ.encodekey(name) if _environment is not os.environ else name
    for name in (
        "OTEL_PYTHON_TRACER_PROVIDER",
        "OTEL_PYTHON_METER_PROVIDER",
        "OTEL_PYTHON_LOGGER_PROVIDER",
    )
)

logger = logging.getLogger("pronghorn.error")

changes = Changes()
_outer: dict[int, Plan] = {}
"""By application."""
_inner: dict[int, Plan] = {}
"""By `ExceptionMiddleware`."""
_originals: dict[tuple[type, str], Any] = {}


def hook(features: frozenset[str]) -> None:
    """Replace the methods and start to notice changes."""
    if _originals:
        return
    _replace(FastAPI, "__call__", _call_application)
    _replace(ExceptionMiddleware, "__call__", _call_exception_middleware)
    if "base_http" in features:
        _replace(BaseHTTPMiddleware, "__call__", _call_base_http)
    changes.watch(features)


def unhook() -> None:
    """Restore the methods that are still ours."""
    changes.unwatch()
    for (owner, name), (original, ours) in _originals.items():
        if vars(owner)[name] is ours:
            setattr(owner, name, original)
    _originals.clear()
    _outer.clear()
    _inner.clear()


def is_hooked() -> bool:
    """Whether the methods are replaced."""
    return bool(_originals)


def plan_of(app: Any) -> Plan | None:
    """The plan for an application, made if need be."""
    plan = _outer.get(id(app))
    if plan is None or plan.stack is not app.middleware_stack or not plan.is_current():
        plan = _plan_for_application(app)
    return plan


def _replace(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    original = vars(owner)[name]
    ours = _like(original, make(original))
    _originals[owner, name] = original, ours
    setattr(owner, name, ours)


def _like(original: Any, ours: Any) -> Any:
    """`ours` with the name of the original, and recognised as a coroutine function like it."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(ours, attribute, getattr(original, attribute))
    ours.__wrapped__ = original
    if hasattr(inspect, "markcoroutinefunction"):
        return inspect.markcoroutinefunction(ours)
    ours._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return ours


def _call_application(original: Any) -> Any:
    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if (
            scope["type"] == "http"
            and "fastapi.telemetry" not in scope
            and BODY_LIMIT_KEY not in scope
            and type(scope.get("query_string")) is bytes
            and "headers" in scope
        ):
            plan = _outer.get(id(self))
            if plan is None or plan.stack is not self.middleware_stack or not plan.is_current():
                plan = _plan_for_application(self)
            if (
                plan is not None
                and plan.server_error is not None
                and not plan.server_error.debug
                and not _has_telemetry(self)
            ):
                if self.root_path:
                    scope["root_path"] = self.root_path
                if not plan.is_whole:
                    return run_outer(self, plan.server_error, plan.first, scope, receive, send)
                found = plan.program(scope, True, False)
                if found is not None:
                    program, path_params = found
                    return program(scope, receive, send, path_params)
        return original(self, scope, receive, send)

    return __call__


def _call_exception_middleware(original: Any) -> Any:
    def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
        if (
            scope["type"] == "http"
            and type(scope.get("query_string")) is bytes
            and "headers" in scope
            and "fastapi.telemetry" not in scope
        ):
            plan = _inner.get(id(self))
            if plan is None or plan.exception is not self or not plan.is_current():
                plan = _plan_for_middleware(self, scope.get("app"))
            if plan is not None and scope.get("app") is plan.app:
                found = plan.program(scope, False, False)
                if found is not None:
                    program, path_params = found
                    return program(scope, receive, send, path_params)
        if observer.tell is not None and scope["type"] == "http":
            observer.tell("original")
        return original(self, scope, receive, send)

    return __call__


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


def _plan_for_application(app: Any) -> Plan | None:
    """A new plan for an application that has none, or whose plan does not hold any more."""
    _outer.pop(id(app), None)
    if app.middleware_stack is None:
        try:
            app.middleware_stack = app.build_middleware_stack()
        except Exception:  # FastAPI meets it again.
            return None
    layer = app.middleware_stack
    for _ in range(LAYERS_MAX):
        if type(layer) is ExceptionMiddleware:
            plan = _plan_for_middleware(layer, app)
            if plan is not None:
                _remember(_outer, app, plan)
            return plan
        layer = getattr(layer, "app", None)
    return None


def _plan_for_middleware(middleware: Any, app: Any) -> Plan | None:
    _inner.pop(id(middleware), None)
    changes.look()
    try:
        plan = make_plan(app, middleware, changes)
    except Exception:
        logger.exception("The accelerator cannot read an application, and leaves it to FastAPI.")
        return None
    if plan is not None:
        _remember(_inner, middleware, plan)
    return plan


def _remember(plans: dict[int, Plan], owner: Any, plan: Plan) -> None:
    """Keep a plan as long as what it belongs to."""
    plans[id(owner)] = plan


def _has_telemetry(app: Any) -> bool:
    """What `NativeTelemetry.enabled` says, without looking at the environment in its slow way."""
    if (
        trace._TRACER_PROVIDER is None
        and metrics_internal._METER_PROVIDER is None
        and logs_internal._LOGGER_PROVIDER is None
    ):
        config = app._native_telemetry.config
        if (
            config["tracer_provider"] is None
            and config["meter_provider"] is None
            and config["logger_provider"] is None
            and not any(name in _environment for name in _PROVIDER_VARIABLES)
        ):
            return False
    return bool(app._native_telemetry.enabled())
