"""Counts which way each HTTP request took: compiled, routed, or FastAPI's own code."""

from __future__ import annotations

from collections import Counter

TIERS = ("compiled", "routed", "original")
_counts: Counter[str] = Counter()


def watch() -> None:
    """Have the accelerator tell the way of each request."""
    from pronghorn.fastapi.plans import observer

    observer.tell = _count


def _count(tier: str) -> None:
    _counts[tier] += 1


def requests_by_tier() -> dict[str, int]:
    """The requests since the last call."""
    taken = {tier: _counts[tier] for tier in TIERS}
    _counts.clear()
    return taken
