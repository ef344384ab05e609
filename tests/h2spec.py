"""h2spec, the conformance suite of HTTP/2, against a server in clear text and over TLS.

`make h2spec` runs it; the tool comes from its Go module. What is known to differ stands in `KNOWN`
with its reason: anything else that fails, and anything there that passes, is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.server import serve
from support.tls import Certificates

MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
RUN_S_MAX = 120

KNOWN = {
    "clear text": {
        # The port speaks HTTP/1.1 as well, which answers what is no preface with a 400.
        "Sends invalid connection preface",
    },
    "TLS": set(),
}


def main() -> int:
    """Runs the suite twice; returns the exit code."""
    tool = installed()
    with tempfile.TemporaryDirectory() as folder:
        files = Certificates(Path(folder)).issue("localhost", "127.0.0.1")
        with serve("support.apps:app") as server:
            wrong = failures("clear text", tool, server.port)
        with serve("support.apps:app", *files.options) as server:
            wrong += failures("TLS", tool, server.port, "-t", "-k")
    return 1 if wrong else 0


def installed() -> str:
    """The tool's path; it is built if it is not there."""
    folder = Path(__file__).resolve().parent.parent / "target" / "go"
    tool = folder / "h2spec"
    if not tool.exists():
        environment = {**os.environ, "GOBIN": str(folder)}
        subprocess.run(["go", "install", MODULE], check=True, env=environment)
    return str(tool)


def failures(name: str, tool: str, port: int, *options: str) -> int:
    """Runs the suite once, and tells how many cases did not end as expected."""
    # The path reads the request's body, so that streams are open while frames for them come.
    command = [tool, "-h", "127.0.0.1", "-p", str(port), "-P", "/digest", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", result.stdout)
    if counts is None:
        say(f"h2spec, {name}: no result\n{result.stdout}{result.stderr}")
        return 1
    failed = set(re.findall(r"\xd7 \d+: (.*)", result.stdout.split("Failures:")[-1]))
    failed = failed if int(counts[4]) else set()
    say(f"h2spec, {name}: {counts[2]} of {counts[1]} passed")
    for case in sorted(failed - KNOWN[name]):
        say(f"  failed: {case}")
    for case in sorted(KNOWN[name] - failed):
        say(f"  passed, though it is known to fail: {case}")
    return len(failed ^ KNOWN[name])


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
