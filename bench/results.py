"""From single measurements to what is published: medians, spreads, and ratios within a round.

Comes in: the outcomes of all rounds of a case. Goes out: plain dictionaries, the very ones that
`results/latest.json` holds; `report.py` and `chart.py` draw from them. Called by `run.py`.

The rule it keeps: a ratio compares two figures of the same round, and never two medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from cases import Bulk, Case, H2load, IdleMemory, Load, Startup, WebSocket, Wrk
from measure import Failed, NotOffered, Outcome, Sample
from servers import SERVERS, Role

Round = Mapping[str, Outcome]  # by server


class Spread(TypedDict):
    """A median with the lowest and the highest value it stands for."""

    median: float
    lowest: float
    highest: float


class ServerResult(TypedDict):
    """One row of a table."""

    rounds: list[dict[str, float] | None]  # None where the server failed
    figures: dict[str, Spread]
    against_floor: Spread | None
    against_best_peer: Spread | None
    failures: list[str]
    not_offered: str | None
    remarks: list[str]


class CaseResult(TypedDict):
    """One table."""

    name: str
    title: str
    figure: str  # the one that is compared
    more_is_better: bool
    best_peers: list[str | None]  # of each round
    servers: dict[str, ServerResult]


class Document(TypedDict):
    """The whole of `results/latest.json`."""

    machine: dict[str, str]
    settings: dict[str, float]
    versions: dict[str, str]
    commands: dict[str, str]
    cases: list[CaseResult]


def compared_figure(load: Load) -> tuple[str, bool]:
    """The figure that ranks the servers, and whether more of it is better."""
    match load:
        case Wrk() | H2load(body_bytes=None) | WebSocket():
            return "requests_per_s", True
        case Bulk() | H2load():
            return "megabytes_per_s", True
        case IdleMemory():
            return "connection_kib", False
        case Startup():
            return "start_ms", False


def case_result(case: Case, rounds: Sequence[Round]) -> CaseResult:
    """Sums up `rounds`, each of which holds the same servers."""
    figure, more_is_better = compared_figure(case.load)
    values = [values_of(single, figure) for single in rounds]
    floors = [next((value[n] for n in floor_names() if n in value), None) for value in values]
    best_peers = [best_peer(value, more_is_better) for value in values]
    bests = [
        None if name is None else value[name]
        for value, name in zip(values, best_peers, strict=True)
    ]
    servers = {}
    for name in rounds[0]:
        own = [value.get(name) for value in values]
        result = server_result([single[name] for single in rounds])
        result["against_floor"] = ratio(own, floors)
        result["against_best_peer"] = ratio(own, bests)
        servers[name] = result
    return CaseResult(
        name=case.name,
        title=case.title,
        figure=figure,
        more_is_better=more_is_better,
        best_peers=best_peers,
        servers=servers,
    )


def server_result(outcomes: Sequence[Outcome]) -> ServerResult:
    samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
    names = samples[0].figures if samples else ()
    figures = {name: spread([sample.figures[name] for sample in samples]) for name in names}
    remarks = dict.fromkeys(remark for sample in samples for remark in sample.remarks)
    return ServerResult(
        rounds=[
            {name: round(value, 3) for name, value in outcome.figures.items()}
            if isinstance(outcome, Sample)
            else None
            for outcome in outcomes
        ],
        figures=figures,
        against_floor=None,
        against_best_peer=None,
        failures=[outcome.reason for outcome in outcomes if isinstance(outcome, Failed)],
        not_offered=next(
            (outcome.reason for outcome in outcomes if isinstance(outcome, NotOffered)), None
        ),
        remarks=list(remarks),
    )


def values_of(single: Round, figure: str) -> dict[str, float]:
    return {
        name: outcome.figures[figure]
        for name, outcome in single.items()
        if isinstance(outcome, Sample)
    }


def floor_names() -> list[str]:
    """A case has one of them."""
    return [server.name for server in SERVERS.values() if server.role is Role.FLOOR]


def best_peer(values: Mapping[str, float], more_is_better: bool) -> str | None:
    peers = {name: value for name, value in values.items() if SERVERS[name].role is Role.PEER}
    if not peers:
        return None
    return (max if more_is_better else min)(peers, key=lambda name: peers[name])


def ratio(own: Sequence[float | None], others: Sequence[float | None]) -> Spread | None:
    """Own to other in each round that has both."""
    ratios = [
        mine / other
        for mine, other in zip(own, others, strict=True)
        if mine is not None and other is not None and other > 0
    ]
    return spread(ratios) if ratios else None


def spread(values: Sequence[float]) -> Spread:
    return Spread(
        median=round(statistics.median(values), 3),
        lowest=round(min(values), 3),
        highest=round(max(values), 3),
    )
