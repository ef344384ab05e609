"""How each route of an application is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

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


def report(app: Any, prefix: str = "") -> list[RouteReport]:
    """Every HTTP route of a FastAPI application, in the order in which they are tried.

    Those of FastAPI applications that are mounted in it are in the place of the mount.
    """
    plan = plan_of(app)
    if plan is None:
        reason = "its application is not one that the accelerator understands"
        return [
            RouteReport(_methods(route), prefix + getattr(route, "path", ""), "original", reason, 0)
            for route in app.routes
        ]
    reports = []
    for place in plan.table.places:
        about = place.about
        mounted = getattr(about, "app", None) if place.is_opaque else None
        if isinstance(mounted, FastAPI):
            reports += report(mounted, prefix + about.path)
            continue
        if place.is_opaque:
            tier, reason, requests = "original", f"`{type(place.route).__name__}` decides itself", 0
        else:
            entry = place.entry or Entry(place, changes.features)
            tier, reason, requests = entry.tier, entry.reason, entry.requests
        path: str = getattr(about, "path_format", "") or getattr(about, "path", "")
        reports.append(RouteReport(_methods(about), prefix + path, tier, reason, requests))
    return reports


def _methods(route: Any) -> tuple[str, ...]:
    return tuple(sorted(getattr(route, "methods", None) or ()))
