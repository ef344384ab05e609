"""The differential fuzzer: the same applications and requests on FastAPI and on the accelerator.

Cases come from seeds (`generate`), two processes play them (`worker`), and any line of the two
transcripts that differs is a failure: it is made smaller and printed with all that is needed to
play it again. Cases whose transcript is not the same each time on FastAPI itself (threads that run
beside the loop) are played a few times on both sides; they fail if the sides never agree.

    python -m accelerator.fuzz --requests 100000        (in tests/; `make fuzz-fastapi`)
    python -m accelerator.fuzz --seed 42                one case, shown whole if it fails
"""

from __future__ import annotations

import argparse
import difflib
import os
import pprint
import selectors
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerator.generate import Case, make_case
from accelerator.pipes import Reply, read, write

TESTS = Path(__file__).resolve().parents[1]
# A case of 25 actions takes a few milliseconds; one that takes this long hangs.
CASE_S_MAX = 60.0
# How often an unsteady case is played before it counts as a difference.
ATTEMPTS = 8


class HungError(Exception):
    """A worker has not answered in time, or has died."""


class Worker:
    """One side: a process that plays cases, started again when it hangs or dies."""

    def __init__(self, *options: str, python: str = sys.executable) -> None:
        self.options = options
        self.python = python
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            # Logfire's makes all validators its own, which compiled routes only call.
            "PYDANTIC_DISABLE_PLUGINS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        return subprocess.Popen(
            [self.python, "-W", "ignore", "-m", "accelerator.worker", *self.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def send(self, case: Case) -> None:
        write(self.process.stdin, case)

    def reply(self) -> Reply:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            ready = selector.select(CASE_S_MAX)
        reply = read(self.process.stdout) if ready else None
        if reply is None:
            self.close()
            self.process = self.start()
            raise HungError("no answer" if not ready else "the process died")
        assert isinstance(reply, Reply)
        return reply

    def play(self, case: Case) -> Reply:
        self.send(case)
        return self.reply()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@dataclass
class Difference:
    """Where the two sides part: the number of the action (0 is building), and both lines."""

    case: Case
    action: int
    expected: list[str]
    got: list[str]

    def __str__(self) -> str:
        action: Any = "building" if self.action == 0 else self.case.actions[self.action - 1]
        lines = [
            f"seed {self.case.seed}, action {self.action}: {pprint.pformat(action, width=110)}"
        ]
        lines += diff(self.expected, self.got)
        return "\n".join(lines)


def diff(expected: list[str], got: list[str]) -> list[str]:
    return list(difflib.unified_diff(expected, got, "FastAPI", "accelerated", lineterm=""))


@dataclass
class Outcome:
    requests: int = 0
    unsteady: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        total = sum(self.tiers.values())
        shares = ", ".join(
            f"{tier} {count} ({100 * count / total:.0f}%)" for tier, count in self.tiers.items()
        )
        return (
            f"{self.requests} requests in {self.seconds:.0f} s, {len(self.differences)} differ, "
            f"{self.unsteady} unsteady cases; {shares}"
        )


class Fuzzer:
    """Both sides."""

    def __init__(self, mutant: str = "") -> None:
        self.original = Worker()
        options = ["--accelerate"] + ([f"--mutant={mutant}"] if mutant else [])
        self.accelerated = Worker(*options)

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(self, *_: object) -> None:
        self.original.close()
        self.accelerated.close()

    def run(
        self, requests: int, first_seed: int, stop_after: int = 1, shrinks: bool = True
    ) -> Outcome:
        """Play cases until `requests` were sent or `stop_after` differences found."""
        outcome = Outcome()
        started = time.monotonic()
        seed = first_seed
        while outcome.requests < requests and len(outcome.differences) < stop_after:
            case = make_case(seed, trio=True)
            seed += 1
            outcome.requests += sum(action["do"] != "change" for action in case.actions)
            difference = self.compare(case, outcome)
            if difference is not None:
                if self.agrees_later(case):
                    outcome.unsteady += 1
                    continue
                outcome.differences.append(self.shrink(difference) if shrinks else difference)
        outcome.seconds = time.monotonic() - started
        return outcome

    def compare(self, case: Case, outcome: Outcome | None = None) -> Difference | None:
        expected, got = self.both(case)
        if outcome is not None:
            outcome.tiers.update(got.tiers)
        return first_difference(case, expected.transcripts, got.transcripts)

    def both(self, case: Case) -> tuple[Reply, Reply]:
        self.original.send(case)
        self.accelerated.send(case)
        replies = []
        for worker in (self.original, self.accelerated):
            try:
                replies.append(worker.reply())
            except HungError as error:
                replies.append(Reply([[f"HANGS: {error}"]]))
        return replies[0], replies[1]

    def agrees_later(self, case: Case) -> bool:
        """Whether the sides agree on a case when it is played more often."""
        expected: list[Any] = []
        got: list[Any] = []
        for _ in range(ATTEMPTS):
            one, other = self.both(case)
            expected.append(one.transcripts)
            got.append(other.transcripts)
            is_steady = all(each == expected[0] for each in expected) and len(expected) >= 3
            if is_steady:  # What the accelerator does has to be the same each time.
                return False
            if any(each in expected for each in got):
                return True
        return False

    def shrink(self, difference: Difference) -> Difference:
        """The smallest case found that still differs: without later actions, then others, parts."""
        best = difference
        case = best.case
        best = self.tried(case.smaller(case.parts, case.actions[: best.action]), best)
        for size in (8, 4, 2, 1):
            best = self.without_some(best, "actions", size)
        for size in (8, 4, 2, 1, 1):
            best = self.without_some(best, "parts", size)
        return best

    def without_some(self, best: Difference, name: str, size: int) -> Difference:
        index = len(getattr(best.case, name))
        while index > 0:
            index -= size
            case = best.case
            parts, actions = list(case.parts), list(case.actions)
            del (parts if name == "parts" else actions)[max(index, 0) : max(index, 0) + size]
            if actions and any(part.startswith("app = ") for part in parts):
                best = self.tried(case.smaller(parts, actions), best)
        return best

    def tried(self, case: Case, best: Difference) -> Difference:
        found = self.compare(case)
        return best if found is None else found


def first_difference(
    case: Case, expected: list[list[str]], got: list[list[str]]
) -> Difference | None:
    if expected == got:
        return None
    for number in range(max(len(expected), len(got))):
        one = expected[number] if number < len(expected) else ["nothing more"]
        other = got[number] if number < len(got) else ["nothing more"]
        if one != other:
            return Difference(case, number, one, other)
    return None


def report(difference: Difference) -> str:
    """All that is needed to see a difference again."""
    case = difference.case
    source = "\n\n".join(case.parts)
    return (
        f"{'=' * 100}\n{difference}\n\n"
        f"--- the application (after `prologue.PROLOGUE`)\n{source}\n\n"
        f"--- all {len(case.actions)} actions ({case.backend})\n"
        f"{pprint.pformat(case.actions, width=110)}\n"
        f"--- again: python -m accelerator.fuzz --seed {case.seed}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="play one case only")
    parser.add_argument("--differences", type=int, default=1, help="stop after that many")
    parser.add_argument("--mutant", default="", help="plant a fault of `mutants`")
    parser.add_argument("--no-shrink", action="store_true")
    arguments = parser.parse_args()
    with Fuzzer(arguments.mutant) as fuzzer:
        if arguments.seed is not None:
            outcome = fuzzer.run(1, arguments.seed, 1, not arguments.no_shrink)
        else:
            outcome = fuzzer.run(
                arguments.requests,
                arguments.first_seed,
                arguments.differences,
                not arguments.no_shrink,
            )
    for difference in outcome.differences:
        print(report(difference))
    print(outcome)
    return 1 if outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
