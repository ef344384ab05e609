"""FastAPI applications several times faster, unmodified.

The server installs it before it imports the application (`--accelerate`); by hand:

    from pronghorn.fastapi import accelerate
    accelerate(app)  # `app` may be wrapped: every FastAPI application becomes faster

`install()` is the same without an application: it works at class level, for every application of
the process, and waits for FastAPI to be imported if it has not been. `uninstall()` restores the
classes. `report(app)` says of each route how it is run: *compiled* (its whole way written out as
straight-line code), *routed* (its own code behind fast routing and layers) or *original* (FastAPI's
code), with the reason. `keep_original(thing)` leaves an application or an endpoint to FastAPI; so
does the attribute `__pronghorn_accelerate__ = False` on either.

Nothing here imports FastAPI before the application does.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pronghorn.fastapi.installing import install, start_up_line, state, uninstall

__all__ = [
    "accelerate",
    "install",
    "keep_original",
    "report",
    "start_up_line",
    "state",
    "uninstall",
]

Thing = TypeVar("Thing")


def accelerate(app: Thing) -> Thing:
    """Install the accelerator, and return `app`, which may be wrapped in anything."""
    install()
    return app


def keep_original(thing: Thing) -> Thing:
    """Leave a FastAPI application, or an endpoint, to FastAPI's own code; also a decorator."""
    thing.__pronghorn_accelerate__ = False  # type: ignore[attr-defined]
    return thing


def report(app: Any) -> list[Any]:
    """How each route of a FastAPI application is run, and why."""
    from pronghorn.fastapi.reporting import report as make_report

    return make_report(app)
