"""The benchmark: `python bench/run.py` measures Pronghorn, its peers and the floor, in turn.

Comes in: the options below. Goes out: a Markdown report on standard output, progress on standard
error, `results/latest.json`, and a chart if asked for. README.md says how to read them.

The rule it keeps: in a round every server is measured once, so that the machine's drift hits all
of them alike; the order changes from round to round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import chart
import environment
import report
from cases import CASES, Case
from environment import FOLDER, SetupError, say
from measure import Failed, NotOffered, Outcome, Sample, Settings, measure
from report import number
from results import Document, case_result, compared_figure
from servers import SERVERS, SMOKE_SERVERS, Executables, Role, Server, shown_command

SMOKE_SECONDS = 0.3
SMOKE_IDLE_CONNECTIONS = 200


def main() -> int:
    """Runs what the command line asks for; returns the exit code."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cases = [CASES[name] for name in options.case or CASES]
    servers = [SERVERS[name] for name in options.server or SERVERS]
    try:
        executables = prepare(servers, options.pronghorn)
        settings = make_settings(options, executables)
    except SetupError as error:
        say(f"bench: {error}")
        return 2
    document = new_document(options, servers, executables)
    print(report.heading(document), flush=True)
    try:
        failures = measure_all(document, cases, servers, settings, options)
    except KeyboardInterrupt:
        say("interrupted: the cases reported so far are complete")
        return 130
    if options.chart is not None:
        chart.write(document, options.chart)
    if options.smoke:
        print(f"{len(cases) * len(servers) - failures} passed, {failures} failed")
    # A peer that fails is a result; only in a smoke run does it mean that something is broken.
    return 1 if options.smoke and failures else 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--case", action="append", choices=CASES, help="measure this case; repeatable [all]")
    add("--server", action="append", choices=SERVERS, help="measure this server; repeatable [all]")
    add("--rounds", type=int, default=5, help="measurements of each server in each case [5]")
    add("--seconds", type=float, default=4.0, help="length of a measurement [4]")
    add("--smoke", action="store_true", help="one short round: does it run, are answers right?")
    add("--pronghorn", type=Path, help="use this executable instead of building the repository")
    add("--output", type=Path, help="where the JSON goes [bench/results/latest.json]")
    add("--chart", type=Path, help="draw the throughput chart into this SVG file")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("`--rounds` and `--seconds` must be positive")
    if options.smoke:
        options.rounds, options.seconds = 1, SMOKE_SECONDS
        options.server = options.server or list(SMOKE_SERVERS)
    elif options.output is None:
        options.output = FOLDER / "results" / "latest.json"
    return options


def prepare(servers: list[Server], pronghorn: Path | None) -> Executables:
    """Builds and installs what `servers` need."""
    environment.require_load_generators()
    environment.raise_descriptor_limit()
    scripts = environment.install_peers()
    if pronghorn is not None:
        # Not resolved: an executable of an environment is found by the path it was given.
        pronghorn = Path(os.path.abspath(pronghorn))
        if not os.access(pronghorn, os.X_OK):
            raise SetupError(f"`{pronghorn}` is not an executable")
    elif any(server.role is Role.OWN for server in servers):
        pronghorn = environment.install_pronghorn(scripts)
    environment.make_files()
    floor = environment.compile_c("floor")
    websocket_floor = environment.compile_c("websocket_floor")
    return Executables(scripts, pronghorn or scripts / "pronghorn", floor, websocket_floor)


def make_settings(options: argparse.Namespace, executables: Executables) -> Settings:
    server_core, client_core = environment.cores()
    return Settings(
        seconds=options.seconds,
        idle_connections_max=SMOKE_IDLE_CONNECTIONS if options.smoke else sys.maxsize,
        server_core=server_core,
        client_core=client_core,
        executables=executables,
        bulk=environment.compile_c("bulk"),
        websocket=environment.compile_c("websocket"),
        tls=environment.tls_files(),
        folder=FOLDER,
    )


def new_document(
    options: argparse.Namespace, servers: list[Server], executables: Executables
) -> Document:
    packages = environment.package_versions(executables.peers)
    versions = {}
    for server in servers:
        if server.distribution is not None:
            versions[server.name] = packages.get(server.distribution, "unknown")
    if any(server.role is Role.OWN for server in servers):
        versions["pronghorn"] = environment.program_version(executables.pronghorn)
    versions["fastapi"] = packages.get("fastapi", "unknown")
    return Document(
        machine=environment.machine(packages),
        settings={"rounds": options.rounds, "seconds": options.seconds},
        versions=versions,
        commands={server.name: shown_command(server) for server in servers},
        cases=[],
    )


def measure_all(
    document: Document,
    cases: list[Case],
    servers: list[Server],
    settings: Settings,
    options: argparse.Namespace,
) -> int:
    """Measures, and reports each case as soon as it is done; returns the number of failures."""
    failures = 0
    for case in cases:
        rounds = [
            measure_round(case, rotated(servers, index), settings)
            for index in range(options.rounds)
        ]
        failures += sum(
            isinstance(outcome, Failed) for single in rounds for outcome in single.values()
        )
        document["cases"].append(case_result(case, rounds))
        print(report.table(document["cases"][-1]), flush=True)
        if options.output is not None:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(document, indent=1) + "\n")
    return failures


def measure_round(case: Case, servers: list[Server], settings: Settings) -> dict[str, Outcome]:
    outcomes = {}
    for server in servers:
        started_s = time.monotonic()
        outcome = measure(case, server, settings)
        outcomes[server.name] = outcome
        seconds = time.monotonic() - started_s
        say(f"{case.name:16} {server.name:18} {described(case, outcome)} [{seconds:.1f} s]")
    return outcomes


def described(case: Case, outcome: Outcome) -> str:
    match outcome:
        case Sample():
            figure = compared_figure(case.load)[0]
            return f"{number(outcome.figures[figure])} {report.TITLES[figure]}"
        case Failed():
            return f"failed: {outcome.reason}"
        case NotOffered():
            return f"not offered: {outcome.reason}"


def rotated(servers: list[Server], by: int) -> list[Server]:
    """The same servers, begun with another one, so that none always follows the same."""
    first = by % len(servers)
    return servers[first:] + servers[:first]


if __name__ == "__main__":
    sys.exit(main())
