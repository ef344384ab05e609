"""h2load, the load generator of the HTTP/2 cases, and of the HTTP/1.1 ones that they compare with.

Comes in: an exchange and how to load it. Goes out: a `Report`, or `LoadError`. Called by
`measure.py`; it runs on the caller's core.

The rule it keeps: a run with a single request that was not answered with 2xx or 3xx has no report.
Only whole requests count, so large bodies are a number of requests and not a time.
"""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

from cases import Exchange, H2load
from servers import HOST
from wrk import LoadError, Report

END_WAIT_S = 30.0  # for h2load to end after its time
LARGE_BODIES_PER_S = 10  # of the time that is asked for; a slow server takes longer


def run(load: H2load, exchange: Exchange, port: int, seconds: float, body: Path) -> Report:
    """Loads the server on `port` for `seconds`, rounded up to whole ones. `body` is what is posted,
    where the exchange has a body."""
    whole = math.ceil(seconds)
    command = ["h2load", "--threads", "1", "--clients", str(load.connections)]
    command += ["--max-concurrent-streams", str(load.streams)]
    if load.body_bytes is None:
        command += ["--duration", str(whole)]
    else:
        count = max(load.connections, round(seconds * LARGE_BODIES_PER_S))
        command += ["--requests", str(count)]
    if load.http1:
        command.append("--h1")
    if exchange.body is not None:
        command += ["--data", str(body)]
    for name, value in exchange.headers:
        command += ["--header", f"{name}: {value}"]
    command.append(f"http://{HOST}:{port}{exchange.path}")
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=whole + END_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError("h2load did not end") from error
    return parse(result.stdout + result.stderr, None if load.body_bytes else float(whole))


def parse(output: str, seconds: float | None) -> Report:
    """Reads h2load's report, and the time from it if there is no other. It tells no percentiles."""
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    if not counts or not statuses:
        lines = output.strip().splitlines()
        raise LoadError(f"h2load: {lines[-1] if lines else 'no output'}")
    succeeded, failed, errored, timed_out = map(int, counts.groups())
    if int(statuses[3]) + int(statuses[4]) > 0:
        raise LoadError(f"{int(statuses[3]) + int(statuses[4])} answers with a wrong status")
    if succeeded == 0:
        raise LoadError("no request was answered under load")
    if seconds is None:
        rate = re.search(r"finished in \S+, ([\d.]+) req/s", output)
        if rate is None or float(rate[1]) == 0:
            raise LoadError("h2load told no time")
        seconds = succeeded / float(rate[1])
    return Report(succeeded, seconds, 0.0, 0.0, errors=failed + errored + timed_out)
