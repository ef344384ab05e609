"""Runs the Autobahn test suite's cases against an echo server: all categories but 9.

`python tests/autobahn/run.py` prints what is not OK and a count, writes every outcome to
`autobahn.json` where asked to, and ends with 1 if a case failed or more than two were not strict.
The suite itself comes from PyPI, as a source distribution.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loader import identifier, load_cases
from peer import Peer
from support.server import serve

VERSION = "25.10.1"
GOOD = ("OK", "INFORMATIONAL")
NON_STRICT_MAX = 2
CONCURRENT = 16
# Whole cases have a minute each.
CONCURRENT_WHOLE = 2
# Of 1,000 messages of up to 128 KiB each, as many as fit; `--whole` sends them all.
CASE_BYTES_MAX = 1 << 20
CASE_MESSAGES_MIN = 8


def suite() -> Path:
    """The folder of the suite's package, downloaded unless it is there."""
    folder = Path(tempfile.gettempdir()) / f"autobahntestsuite-{VERSION}"
    package = folder / f"autobahntestsuite-{VERSION}" / "autobahntestsuite"
    if not (package / "case" / "case.py").exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
        ]
        subprocess.run([*pip, f"autobahntestsuite=={VERSION}", "--dest", str(folder)], check=True)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return package


async def run_case(case_class: type[Any], host: str, port: int, *, whole: bool) -> dict[str, Any]:
    peer = Peer(host, port)
    case = case_class(peer)
    if hasattr(case, "COUNT") and not whole:
        case.COUNT = min(case.COUNT, max(CASE_MESSAGES_MIN, CASE_BYTES_MAX // case.LEN))
    await peer.run(case, "/echo")
    return {
        "case": identifier(case_class),
        "behavior": case.behavior,
        "close": case.behaviorClose,
        "result": f"{case.result} {case.resultClose}",
        "received": repr(case.received)[:300],
    }


async def run_all(
    cases: list[type[Any]], host: str, port: int, *, whole: bool
) -> list[dict[str, Any]]:
    turn = asyncio.Semaphore(CONCURRENT_WHOLE if whole else CONCURRENT)

    async def take_turn(case: type[Any]) -> dict[str, Any]:
        async with turn:
            return await run_case(case, host, port, whole=whole)

    return await asyncio.gather(*map(take_turn, cases))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose number begins so, such as 12.1")
    parser.add_argument("--whole", action="store_true", help="send all of a case's messages")
    parser.add_argument("--json", type=Path, help="where to write every outcome")
    parser.add_argument("--app", default="support.apps:app")
    options = parser.parse_args()
    cases = load_cases(suite())
    cases = [case for case in cases if f"{identifier(case)}.".startswith(options.only)]
    # A ping ends the cases of 12 and 13, which expect nothing but what they count, and whole ones
    # take longer than the time between pings.
    with serve(options.app, "--no-access-log", "--ws-ping-interval", "0") as server:
        assert isinstance(server.address, tuple)
        outcomes = asyncio.run(run_all(cases, *server.address, whole=options.whole))
    for outcome in outcomes:
        if outcome["behavior"] not in GOOD or outcome["close"] not in GOOD:
            print(*(f"{key}: {value}" for key, value in outcome.items()), sep=" | ")
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    counts = Counter(outcome["behavior"] for outcome in outcomes)
    closes = Counter(outcome["close"] for outcome in outcomes)
    print(f"{len(outcomes)} cases: {dict(counts)}; closing: {dict(closes)}")
    bad = len(outcomes) - sum(counts[name] for name in (*GOOD, "NON-STRICT"))
    bad_closes = len(outcomes) - sum(closes[name] for name in GOOD)
    print(f"{len(outcomes) - bad - bad_closes} passed, {bad + bad_closes} failed")
    return int(bad > 0 or bad_closes > 0 or counts["NON-STRICT"] > NON_STRICT_MAX)


if __name__ == "__main__":
    sys.exit(main())
