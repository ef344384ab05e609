"""wrk, the load generator of all cases but the large bodies.

Comes in: an exchange and how to load it. Goes out: a `Report`, or `LoadError`. Called by
`measure.py`; it runs on the caller's core.

The rule it keeps: a run with a single answer of another status than 2xx or 3xx has no report.
"""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cases import Exchange, Wrk
from servers import HOST

TIMEOUT_S = 10  # after which wrk counts a request as an error
END_WAIT_S = 30.0  # for wrk to end after its time
UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class LoadError(Exception):
    """The load generator could not do its work, mostly because of the server."""


@dataclass(frozen=True)
class Report:
    """What a load generator saw."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int


def run(load: Wrk, exchange: Exchange, port: int, seconds: float, scripts: Path) -> Report:
    """Loads the server on `port` for `seconds`."""
    # wrk takes whole seconds only; the interrupt that ends it earlier makes it report as well.
    command = ["wrk", "--threads", "1", "--connections", str(load.connections), "--latency"]
    command += ["--duration", f"{int(seconds) + 60}s", "--timeout", f"{TIMEOUT_S}s"]
    for name, value in exchange.headers:
        command += ["--header", f"{name}: {value}"]
    if load.script is not None:
        command += ["--script", str(scripts / load.script)]
    scheme = "https" if exchange.tls else "http"
    command.append(f"{scheme}://{HOST}:{port}{exchange.path}")
    if load.script_argument is not None:
        command += ["--", load.script_argument]
    return parse(output_after(command, seconds))


def output_after(command: list[str], seconds: float) -> str:
    """Runs `command`, interrupts it after `seconds`, and returns what it printed."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            output = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                output = process.communicate(timeout=END_WAIT_S)[0]
            except subprocess.TimeoutExpired as error:
                raise LoadError("wrk did not end") from error
        finally:
            process.kill()
    return output


def parse(output: str) -> Report:
    """Reads wrk's report."""
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        raise LoadError(f"{refused[1]} answers with a wrong status")
    total = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if not total or not rate:
        lines = output.strip().splitlines()
        raise LoadError(f"wrk: {lines[-1] if lines else 'no output'}")
    if int(total[1]) == 0:
        raise LoadError("no request was answered under load")
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    return Report(
        requests=int(total[1]),
        seconds=int(total[1]) / float(rate[1]),  # more digits than the duration it prints
        p50_us=percentile_us(output, 50),
        p99_us=percentile_us(output, 99),
        errors=sum(map(int, errors.groups())) if errors else 0,
    )


def percentile_us(output: str, percentile: int) -> float:
    match = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(match[1]) * UNITS_US[match[2]] if match else 0.0
