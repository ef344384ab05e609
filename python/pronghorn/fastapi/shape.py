"""What a program is made for: where it begins, with which layers, and what it may stand in for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Program = Callable[..., Any]
"""`program(scope, receive, send, path_params)`, a coroutine function."""


LAYERS_MAX = 64
"""How deep in an application's layers one is looked for."""


class Start:
    """Where a program begins. Plain numbers, since an enumeration's are hashed by Python code."""

    APPLICATION = 1
    EXCEPTIONS = 2
    ROUTER = 3


@dataclass(frozen=True)
class Shape:
    """What a program stands in for."""

    start: int
    """Where it begins: with the application, with `ExceptionMiddleware`, or with the router."""
    has_telemetry: bool
    """FastAPI's telemetry is on."""
    has_sentry: bool
    """Sentry is told about the path operation, which is wrapped by nothing else."""
    features: frozenset[str]
    """What may be stood in for."""
    replaced_steps: frozenset[str]
    """Functions of `fastapi.routing` that something has replaced, and that are to be called."""


@dataclass(frozen=True)
class Layers:
    """The objects that an application consists of."""

    app: Any
    server_error: Any
    exception: Any
    router: Any
