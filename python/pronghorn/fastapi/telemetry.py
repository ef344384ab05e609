"""Whether an application has FastAPI's telemetry, found out once instead of with every request.

FastAPI asks three times for each request whether a provider of OpenTelemetry is set: in the
process, for the application, or by a variable of the environment. Where all that can change the
answer is as it was (`telemetry_places`, for a `Snapshot`), so is the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from fastapi.telemetry._asgi import NativeTelemetry
from opentelemetry import trace
from opentelemetry._logs import _internal as logs_internal
from opentelemetry.metrics import _internal as metrics_internal


class Telemetry:
    """Whether FastAPI's telemetry has been on at any time.

    Then a request may be part of another one's trace although its own application has none.
    """

    was_on = False


telemetry = Telemetry()

_GLOBALS: tuple[tuple[Any, str], ...] = (
    (trace, "_TRACER_PROVIDER"),
    (metrics_internal, "_METER_PROVIDER"),
    (logs_internal, "_LOGGER_PROVIDER"),
)
_OWN = ("tracer_provider", "meter_provider", "logger_provider")
_METHODS = ("enabled", "_get_tracer", "_instruments")
_VARIABLES = (
    "OTEL_PYTHON_TRACER_PROVIDER",
    "OTEL_PYTHON_METER_PROVIDER",
    "OTEL_PYTHON_LOGGER_PROVIDER",
)
# What is in `os.environ`, whose own look-ups are functions of Python.
_environment: Any = os.environ._data  # type: ignore[attr-defined]


def telemetry_places(app: Any) -> list[tuple[Any, Any]]:
    """Where the answers of `is_plain` and `is_silent` come from."""
    native = app._native_telemetry
    return [
        *_GLOBALS,
        (app, "_native_telemetry"),
        *((native, name) for name in ("config", *_METHODS)),
        *((native.config, name) for name in _OWN),
        *((_environment, os.environ.encodekey(name)) for name in _VARIABLES),
    ]


def is_plain(native: Any) -> bool:
    """Whether an application's telemetry does what FastAPI's does, and not what a user's would."""
    return type(native) is NativeTelemetry and not any(name in vars(native) for name in _METHODS)


def is_silent(app: Any) -> bool:
    """Whether there is certainly no telemetry."""
    config = app._native_telemetry.config
    return (
        is_plain(app._native_telemetry)
        and all(getattr(module, name) is None for module, name in _GLOBALS)
        and all(config[name] is None for name in _OWN)
        and not any(name in os.environ for name in _VARIABLES)
    )


def libraries_in_use() -> list[str]:
    """The distributions of OpenTelemetry that telemetry is made with."""
    has_sdk = "opentelemetry.sdk.trace" in sys.modules
    return ["opentelemetry-api", *(["opentelemetry-sdk"] if has_sdk else [])]


def run_endpoint(operation: Any, function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call an endpoint that is a plain function, within its span."""
    with operation(name="endpoint", function=function):
        return function(**values)


def has_telemetry(app: Any) -> bool:
    """Whether there may be telemetry for this request; the user's own is not asked twice."""
    native = app._native_telemetry
    return not is_plain(native) or bool(native.enabled())
