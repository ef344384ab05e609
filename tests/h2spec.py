"""h2spec, the conformance suite of HTTP/2, in clear text and over TLS.

`make h2spec` runs it; the tool comes from its Go module. Whatever fails is an error.
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

# One application leaves a stream open while frames for it come, since it reads the request's body;
# to the other each request is over when its head is there.
PATHS = ("/digest", "/")


def main() -> int:
    """Runs the suite; returns the exit code."""
    tool = installed()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        files = Certificates(Path(folder)).issue("localhost", "127.0.0.1")
        with serve("support.apps:app") as server:
            failed += sum(failures(tool, server.port, path) for path in PATHS)
        with serve("support.apps:app", *files.options) as server:
            failed += sum(failures(tool, server.port, path, "-t", "-k") for path in PATHS)
    return 1 if failed else 0


def installed() -> str:
    """The tool's path; it is built if it is not there."""
    folder = Path(__file__).resolve().parent.parent / "target" / "go"
    tool = folder / "h2spec"
    if not tool.exists():
        environment = {**os.environ, "GOBIN": str(folder)}
        subprocess.run(["go", "install", MODULE], check=True, env=environment)
    return str(tool)


def failures(tool: str, port: int, path: str, *options: str) -> int:
    """Runs the suite once, and tells how many cases failed."""
    command = [tool, "--strict", "-h", "127.0.0.1", "-p", str(port), "-P", path, *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    name = f"h2spec, {'TLS' if options else 'clear text'}, {path}"
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", result.stdout)
    if counts is None:
        say(f"{name}: no result\n{result.stdout}{result.stderr}")
        return 1
    say(f"{name}: {counts[2]} of {counts[1]} passed")
    failed = int(counts[1]) - int(counts[2])
    if failed:
        say(result.stdout.split("Failures:")[-1])
    return failed


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
