"""How each route of an application is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pronghorn.fastapi.hooks import changes, plan_of
from pronghorn.fastapi.plans import Entry


@dataclass(frozen=True)
class RouteReport:
    """One route."""

    methods: tuple[str, ...]
    path: str
    tier: str
    """`compiled`, `routed` or `original`."""
    reason: str
    """Why it is not compiled."""
    requests: int
    """How many requests the accelerator has taken for it."""


def report(app: Any) -> list[RouteReport]:
    """Every HTTP route of a FastAPI application, in the order in which they are tried."""
    plan = plan_of(app)
    if plan is None:
        return [
            RouteReport(_methods(route), getattr(route, "path", ""), "original", "", 0)
            for route in app.routes
        ]
    reports = []
    for place in plan.table.places:
        about = place.about
        if place.is_opaque:
            tier, reason, requests = "original", f"`{type(place.route).__name__}` decides itself", 0
        else:
            entry = place.entry or Entry(place, changes.features)
            tier, reason, requests = entry.tier, entry.reason, entry.requests
        path: str = getattr(about, "path_format", "") or getattr(about, "path", "")
        reports.append(RouteReport(_methods(about), path, tier, reason, requests))
    return reports


def _methods(route: Any) -> tuple[str, ...]:
    return tuple(sorted(getattr(route, "methods", None) or ()))
