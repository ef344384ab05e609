"""The pytest plug-in with which `suites` runs FastAPI's and Starlette's own tests.

Installs the accelerator before any test is imported, and writes how many requests it compiled,
routed and left alone to a file of the process's own: there is one process for each of xdist's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MODE = os.environ["PRONGHORN_SUITE_ACCELERATE"]
COUNTS = Path(os.environ["PRONGHORN_SUITE_COUNTS"])

if MODE == "on":
    import counting
    from pronghorn.fastapi import install, state
    from rewriting import accept

    accept()
    counting.watch()
    install()


def pytest_report_header() -> str:
    if MODE != "on":
        return "accelerator: off"
    return f"accelerator: {sorted(state.features)}, unknown: {state.unknown}"


def pytest_unconfigure(config: Any) -> None:
    if MODE == "on":
        path = COUNTS / f"{os.getpid()}.json"
        path.write_text(json.dumps(counting.requests_by_tier()))
