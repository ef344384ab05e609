"""The report as Markdown: one table a case, the best server first.

Comes in: the dictionaries of `results.py`. Goes out: text. Called by `run.py`.

The rule it keeps: a server that failed has a row that says so, and the reason below the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from results import CaseResult, Document, ServerResult, Spread

Format = Callable[[float], str]


def number(value: float) -> str:
    """As many digits as the spread of such a measurement deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# In the order of the columns; a table has those that its servers have.
TITLES = {
    "requests_per_s": "requests/s",
    "megabytes_per_s": "MB/s",
    "connection_kib": "KiB per connection",
    "start_kib": "KiB before",
    "start_ms": "ms",
    "user_us": "user CPU µs",
    "system_us": "system CPU µs",
    "busy_percent": "core busy %",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
}
LEFT_OUT = {"requests"}


def heading(document: Document) -> str:
    """What was measured, where and how."""
    machine = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    settings = document["settings"]
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    return (
        "# Benchmark\n\n"
        f"Machine: {machine}.\n\n"
        f"Rounds: {settings['rounds']:g} of {settings['seconds']:g} s. Median (lowest to highest); "
        "ratios are taken within a round.\n\n"
        f"Versions: {versions}.\n"
    )


def table(result: CaseResult) -> str:
    """One case."""
    columns = [name for name in TITLES if any_has(result, name)]
    compared = result["figure"]
    columns.sort(key=lambda name: name != compared)
    ratios = [
        ("vs floor", "against_floor"),
        ("vs best peer", "against_best_peer"),
    ]
    titles = ["server", TITLES[compared], *(title for title, _ in ratios)]
    titles += [TITLES[name] for name in columns if name != compared]
    lines = [f"## {result['title']} (`{result['name']}`)", "", row(titles)]
    lines.append(row(["---", *("---:" for _ in titles[1:])]))
    for name in ranked(result):
        lines.append(row(cells(name, result, columns)))
    return "\n".join([*lines, "", *notes(result), ""])


def cells(name: str, result: CaseResult, columns: list[str]) -> list[str]:
    server = result["servers"][name]
    if server["not_offered"] is not None:
        return [name, "not offered", *("" for _ in range(len(columns) + 1))]
    if not server["figures"]:
        return [name, "failed", *("" for _ in range(len(columns) + 1))]
    compared = result["figure"]
    shown = with_spread(server["figures"][compared], number)
    if server["failures"]:
        shown += f", failed in {len(server['failures'])} of {len(server['rounds'])} rounds"
    line = [name, shown]
    line += [ratio_cell(server["against_floor"]), ratio_cell(server["against_best_peer"])]
    for column in columns:
        if column != compared:
            figure = server["figures"].get(column)
            line.append("" if figure is None else number(figure["median"]))
    return line


def notes(result: CaseResult) -> list[str]:
    """Who the best peer was, and why servers failed."""
    lines = []
    best = Counter(name for name in result["best_peers"] if name is not None)
    if best:
        shown = ", ".join(f"{name} ({count})" for name, count in best.most_common())
        better = "more" if result["more_is_better"] else "less"
        lines.append(f"Best peer, by rounds: {shown}. {better.capitalize()} is better.")
    for name, server in result["servers"].items():
        reasons = Counter(server["failures"])
        for reason, count in reasons.most_common():
            lines.append(f"- {name} failed in {count} of {len(server['rounds'])}: {reason}")
        lines += [f"- {name}: {remark}" for remark in server["remarks"]]
        if server["not_offered"] is not None:
            lines.append(f"- {name}: {server['not_offered']}")
    return lines


def ranked(result: CaseResult) -> list[str]:
    """The servers' names, best first, those without figures last."""
    sign = -1 if result["more_is_better"] else 1

    def rank(name: str) -> float:
        figure = result["servers"][name]["figures"].get(result["figure"])
        return float("inf") if figure is None else sign * figure["median"]

    return sorted(result["servers"], key=rank)


def any_has(result: CaseResult, figure: str) -> bool:
    return any(has(server, figure) for server in result["servers"].values())


def has(server: ServerResult, figure: str) -> bool:
    return figure in server["figures"]


def ratio_cell(ratio: Spread | None) -> str:
    return "" if ratio is None else with_spread(ratio, "{:.2f}".format)


def with_spread(value: Spread, shown: Format) -> str:
    if value["lowest"] == value["highest"]:
        return shown(value["median"])
    return f"{shown(value['median'])} ({shown(value['lowest'])} to {shown(value['highest'])})"


def row(columns: list[str]) -> str:
    return "| " + " | ".join(columns) + " |"
