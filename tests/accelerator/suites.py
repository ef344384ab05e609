"""FastAPI's and Starlette's own test suites, with and without the accelerator.

In: releases of FastAPI (the newest patch of the newest minor releases, unless named). Out: a table
of what passed and how many requests the accelerator compiled, routed or left alone; the exit status
says whether each test had the same result with the accelerator as without. The suites come from the
source distributions of the very versions that are installed, fetched by pip into `.cache/suites` at
the root of the repository, which git ignores; nothing of them is part of Pronghorn. Each release
has a virtual environment of its own there, made once. `make fastapi-suites` runs all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "suites"
# Enough for the slowest suite on a busy machine of two cores.
SUITE_S_MAX = 1500
TIERS = ("compiled", "routed", "original")


@dataclass
class Result:
    """What one run of one suite gave: outcome by test, requests by tier, wall time."""

    outcomes: dict[str, str]
    requests: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def line(self) -> str:
        counts = Counter(self.outcomes.values())
        text = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
        total = sum(self.requests[tier] for tier in TIERS)
        if total:
            shares = ", ".join(
                f"{tier} {self.requests[tier]} ({100 * self.requests[tier] / total:.1f}%)"
                for tier in TIERS
            )
            text += f"; {total} requests: {shares}"
        return f"{text}; {self.seconds:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=3, help="newest minor releases of FastAPI")
    parser.add_argument("--fastapi", action="append", help="a release, instead of the newest")
    parser.add_argument("--suite", choices=("fastapi", "starlette", "both"), default="both")
    parser.add_argument("--accelerate", choices=("on", "off", "both"), default="both")
    parser.add_argument("--python", default="python3.11")
    parser.add_argument("--workers", default="2", help="processes of pytest-xdist, 0 for none")
    parser.add_argument("--percent-compiled", type=float, default=52.0, help="what must be reached")
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, after `--`")
    arguments = parser.parse_args()
    releases = arguments.fastapi or newest_releases(arguments.releases)
    suites = ("fastapi", "starlette") if arguments.suite == "both" else (arguments.suite,)
    failures = 0
    for release in releases:
        environment = Environment(release, arguments.python)
        for suite in suites:
            failures += compare(environment, suite, arguments)
    return 1 if failures else 0


def compare(environment: Environment, suite: str, arguments: argparse.Namespace) -> int:
    """Run a suite without and with the accelerator; the number of ways in which it was worse."""
    title = f"{suite} {environment.version_of(suite)} (FastAPI {environment.release})"
    results: dict[str, Result] = {}
    for mode in ("off", "on"):
        if arguments.accelerate in (mode, "both"):
            results[mode] = environment.run(suite, mode, arguments.workers, arguments.pytest)
            print(f"{title}, accelerator {mode}: {results[mode].line()}", flush=True)
    problems = 0
    if len(results) == 2:
        before, after = results["off"].outcomes, results["on"].outcomes
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name, "absent"), after.get(name, "absent")
            if old != new:
                problems += 1
                print(f"  DIFFERS {name}: {old} without, {new} with the accelerator")
    elif "on" in results:
        failed = [name for name, what in results["on"].outcomes.items() if what in FAILED]
        problems += blamed(environment, suite, failed, results["on"].outcomes)
    if suite == "fastapi" and "on" in results and not arguments.pytest:
        requests = results["on"].requests
        total = sum(requests[tier] for tier in TIERS)
        share = 100 * requests["compiled"] / total if total else 0.0
        if share < arguments.percent_compiled:
            problems += 1
            print(f"  only {share:.1f}% of {total} requests compiled")
    return problems


def blamed(environment: Environment, suite: str, failed: list[str], got: dict[str, str]) -> int:
    """How many of these tests fail because of the accelerator: their modules run without it."""
    if not failed:
        return 0
    modules = sorted({name.partition("::")[0].replace(".", "/") + ".py" for name in failed})
    without = environment.run(suite, "off", "0", modules).outcomes
    different = [name for name in failed if without.get(name, "absent") != got[name]]
    for name in different:
        print(f"  DIFFERS {name}: {without.get(name, 'absent')} without, {got[name]} with it")
    print(f"  {len(failed) - len(different)} tests fail without the accelerator, too")
    return len(different)


class Environment:
    """The virtual environment and the unpacked suites of one release of FastAPI."""

    def __init__(self, release: str, python: str) -> None:
        self.release = release
        version = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        self.home = CACHE / f"fastapi-{release}-py{version}"
        self.python = self.home / "venv" / "bin" / "python"
        self.sources = {"fastapi": sdist("fastapi", release)}
        if not (self.home / "complete").exists():
            self.make(python)
        self.sources["starlette"] = sdist("starlette", self.version_of("starlette"))

    def make(self, python: str) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        subprocess.run([python, "-m", "venv", str(self.home / "venv")], check=True)
        self.pip("--upgrade", "pip>=25.1")
        source = self.sources["fastapi"]
        wanted = [f"fastapi[all]=={self.release}", *self.test_requirements(source, "tests")]
        self.pip(*wanted)
        starlette = sdist("starlette", self.version_of("starlette"))
        extras = [name for name in self.test_requirements(starlette, "dev") if "twine" not in name]
        # What FastAPI pins stays; Starlette's own requirements come on top.
        self.pip(*wanted, *(name for name in extras if not name.startswith("starlette")), "h2")
        (self.home / "complete").touch()

    def test_requirements(self, source: Path, group: str) -> list[str]:
        groups = tomllib.loads((source / "pyproject.toml").read_text())["dependency-groups"]
        names: list[str] = []
        for entry in groups[group]:
            if isinstance(entry, dict):
                names += self.test_requirements(source, entry["include-group"])
            else:
                names.append(entry)
        # Checks of style and types of the suites' own projects.
        return [name for name in names if not re.match(r"(mypy|ruff|ty|types-.*)\b[^-]", name)]

    def pip(self, *arguments: str) -> None:
        subprocess.run([str(self.python), "-m", "pip", "install", "-q", *arguments], check=True)

    def version_of(self, name: str) -> str:
        code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        done = subprocess.run(
            [str(self.python), "-c", code, name], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def run(self, suite: str, mode: str, workers: str, further: list[str]) -> Result:
        source = self.sources[suite]
        report = self.home / f"{suite}-{mode}.xml"
        counts = self.home / f"{suite}-{mode}-requests"
        shutil.rmtree(counts, ignore_errors=True)
        counts.mkdir()
        report.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [
                    os.environ.get("PRONGHORN_SUITE_SOURCE", str(ROOT / "python")),
                    str(HERE),
                    str(source / "docs_src"),
                ]
            ),
            "PRONGHORN_SUITE_ACCELERATE": mode,
            "PRONGHORN_SUITE_COUNTS": str(counts),
            "PYTHONHASHSEED": "0",
        }
        command = [str(self.python), "-m", "pytest", "-q", "-p", "suite_plugin", "-p", "no:sugar"]
        command += [f"--junit-xml={report}", "--timeout=120", *(further or ["tests"])]
        command += [f"--ignore=tests/{name}" for name in ("benchmarks", "memory_benchmarks")]
        # Starlette's suite has no groups for xdist and is short.
        if workers != "0" and suite == "fastapi" and not further:
            command += ["-n", workers, "--dist", "loadgroup"]
        started = time.monotonic()
        log = self.home / f"{suite}-{mode}.log"
        with log.open("w") as output:
            subprocess.run(
                command,
                cwd=source,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SUITE_S_MAX,
                check=False,
            )
        if not report.exists():
            raise SystemExit(f"{suite} {mode}: pytest gave no report; see `{log}`")
        result = Result(outcomes(report), seconds=time.monotonic() - started)
        for path in counts.iterdir():
            result.requests.update(json.loads(path.read_text()))
        return result


def outcomes(report: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        outcome = next(
            (text for tag, text in OUTCOMES.items() if tag in kinds),
            "passed",
        )
        # Parameters that hold an address or a time differ from run to run.
        name = re.sub(r"0x[0-9a-f]+", "0x", name)
        found[name] = outcome
    return found


FAILED = ("failed", "error")
OUTCOMES = {"error": "error", "failure": "failed", "skipped": "skipped"}


def sdist(name: str, version: str) -> Path:
    """The unpacked source distribution of an exact version, downloaded once."""
    folder = CACHE / f"{name}-{version}"
    if not (folder / "pyproject.toml").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                name,
                "--dest",
                str(CACHE),
                f"{name}=={version}",
            ],
            check=True,
        )
        with tarfile.open(CACHE / f"{name}-{version}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return folder


def newest_releases(count: int) -> list[str]:
    """The newest patch of each of the newest `count` minor releases of FastAPI."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "fastapi"],
        check=True,
        capture_output=True,
        text=True,
    )
    listed = re.search(r"Available versions: (.*)", done.stdout)
    if listed is None:
        raise SystemExit(f"pip lists no versions of FastAPI: `{done.stdout.strip()}`")
    newest: dict[str, str] = {}
    for version in listed[1].split(", "):
        newest.setdefault(version.rsplit(".", 1)[0], version)
    return list(newest.values())[:count]


if __name__ == "__main__":
    sys.exit(main())
