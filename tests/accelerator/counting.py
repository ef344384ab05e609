"""Counts which way each HTTP request took: compiled, routed, or FastAPI's own code.

The accelerator itself counts only the requests it takes; what it leaves to FastAPI costs it nothing
and is not counted. So `watch` puts itself around the two places where that is decided, before the
accelerator is installed. A request to a mounted application counts once.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

TIERS = ("compiled", "routed", "original")
_counts: Counter[str] = Counter()


def watch() -> None:
    from pronghorn.fastapi import hooks, plans

    entrance = "fastapi.applications:FastAPI.__call__"
    make_call, program_for, make_program = (
        hooks._MAKERS[entrance],
        plans.Plan.program,
        plans.Plan._make,
    )

    def call_application(original: Any) -> Any:
        call = make_call(original)

        def __call__(self: Any, scope: Any, receive: Any, send: Any) -> Any:  # noqa: N807
            if scope["type"] == "http" and "app" not in scope:
                _counts["all"] += 1
            return call(self, scope, receive, send)

        return __call__

    def make(self: Any, key: Any, place: Any, entry: Any) -> Any:
        program = make_program(self, key, place, entry)
        program.tier = "compiled" if key[2] else "routed"
        return program

    def program(self: Any, *arguments: Any) -> Any:
        found = program_for(self, *arguments)
        if found is not None:
            _counts[found[0].tier] += 1
        return found

    hooks._MAKERS[entrance] = call_application
    plans.Plan.program, plans.Plan._make = program, make  # type: ignore[method-assign]


def requests_by_tier() -> dict[str, int]:
    """The requests since the last call."""
    taken = {tier: _counts[tier] for tier in ("compiled", "routed")}
    taken["original"] = max(_counts["all"] - sum(taken.values()), 0)
    _counts.clear()
    return taken
