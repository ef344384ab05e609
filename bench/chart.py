"""The throughput chart of the project's README, as SVG.

Comes in: the dictionaries of `results.py`. Goes out: SVG text. Called by `run.py`, or by hand to
draw from results that exist: `python bench/chart.py results/latest.json PATH`.

The rule it keeps: no background and middle tones only, so that it reads on a light page and on a
dark one; every bar starts at zero and carries its number and its spread.
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path

from report import number, ranked
from results import CaseResult, Document, Spread
from servers import SERVERS, Role

CASES = ("hello", "headers15", "10k", "echo10k")

PANEL_WIDTH = 460
PANEL_GAP = 40
NAME_WIDTH = 126
NUMBER_WIDTH = 62
BAR_HEIGHT = 18
BAR_STEP = 25
TITLE_HEIGHT = 34
MARGIN = 16
FOOT_HEIGHT = 30

TEXT = "#7d8590"
COLORS = {Role.OWN: "#e0762b", Role.PEER: "#8b98a9", Role.FLOOR: "none"}

STYLE = (
    "text{font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Helvetica,Arial,sans-serif;"
    f"font-size:12.5px;fill:{TEXT}}}"
    ".title{font-size:14.5px;font-weight:600}"
    ".own{font-weight:600;fill:#e0762b}"
    ".foot{font-size:11.5px}"
)


def chart(document: Document) -> str:
    """Throughput of the cases above that were measured, two panels a row."""
    cases = [case for case in document["cases"] if case["name"] in CASES]
    heights = [TITLE_HEIGHT + BAR_STEP * len(measured(case)) for case in cases]
    panel_height = max(heights, default=0) + MARGIN
    rows = (len(cases) + 1) // 2
    width = 2 * MARGIN + 2 * PANEL_WIDTH + PANEL_GAP
    height = MARGIN + rows * panel_height + FOOT_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="Requests per second">',
        f"<style>{STYLE}</style>",
    ]
    for index, case in enumerate(cases):
        x = MARGIN + (index % 2) * (PANEL_WIDTH + PANEL_GAP)
        y = MARGIN + (index // 2) * panel_height
        parts += panel(case, x, y)
    parts.append(
        f'<text class="foot" x="{MARGIN}" y="{height - 10}">{escape(caption(document))}</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def panel(case: CaseResult, x: int, y: int) -> list[str]:
    """The bars of one case, longest first."""
    names = measured(case)
    figures = {name: case["servers"][name]["figures"][case["figure"]] for name in names}
    longest = max((figure["highest"] for figure in figures.values()), default=1.0)
    scale = (PANEL_WIDTH - NAME_WIDTH - NUMBER_WIDTH) / longest
    parts = [f'<text class="title" x="{x}" y="{y + 14}">{escape(case["title"])}</text>']
    for index, name in enumerate(names):
        top = y + TITLE_HEIGHT + index * BAR_STEP
        parts += bar(name, figures[name], x, top, scale)
    return parts


def bar(name: str, figure: Spread, x: int, top: int, scale: float) -> list[str]:
    """A name, a bar, the spread as a line over its end, and the median as a number."""
    role = SERVERS[name].role
    start = x + NAME_WIDTH
    length = figure["median"] * scale
    low, high = start + figure["lowest"] * scale, start + figure["highest"] * scale
    middle = top + BAR_HEIGHT / 2
    emphasis = ' class="own"' if role is Role.OWN else ""
    outline = f' stroke="{TEXT}" stroke-dasharray="3 3"' if role is Role.FLOOR else ""
    shown = "C floor, no Python" if role is Role.FLOOR else name
    return [
        f'<text x="{start - 8}" y="{middle + 4.5:.1f}" text-anchor="end"{emphasis}>'
        f"{escape(shown)}</text>",
        f'<rect x="{start}" y="{top}" width="{length:.1f}" height="{BAR_HEIGHT}" rx="2" '
        f'fill="{COLORS[role]}"{outline}/>',
        f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="{TEXT}" stroke-width="1.5"/>',
        f'<text x="{max(start + length, high) + 7:.1f}" y="{middle + 4.5:.1f}"{emphasis}>'
        f"{number(figure['median'])}</text>",
    ]


def measured(case: CaseResult) -> list[str]:
    return [name for name in ranked(case) if case["servers"][name]["figures"]]


def caption(document: Document) -> str:
    machine = document["machine"]
    return (
        "Requests per second, one worker on one core, median of "
        f"{document['settings']['rounds']:g} rounds (line: lowest to highest). "
        f"{machine['cpu']}, {machine['python']}, {machine['date']}."
    )


def write(document: Document, path: Path) -> None:
    """Draws `document` into the file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(chart(document))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python chart.py RESULTS.json CHART.svg")
    write(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
