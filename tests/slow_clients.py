"""slowhttptest's four attacks, each with 500 connections, beside a normal client.

`make slow-clients` runs it. For each attack: the server's clocks are as by default (or shorter,
with `--quick`), the normal client asks again and again on a connection of its own, and at the end
its 99th percentile must be below 50 ms and no attacker may still be connected.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from support.server import Server, serve
from support.wire import Wire

CONNECTIONS = 500
P99_MS_MAX = 50
PAUSE_S = 0.01


@dataclass(frozen=True)
class Attack:
    name: str
    options: tuple[str, ...]
    target: str = "/"
    seconds: int = 90


ATTACKS = (
    Attack("headers", ("-H", "-i", "2", "-x", "24", "-t", "GET")),
    Attack("body", ("-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"), "/echo"),
    Attack("range", ("-R", "-a", "10", "-b", "3000", "-t", "HEAD"), "/files/large.bin"),
    Attack(
        "slow read",
        ("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"),
        "/files/large.bin",
        120,
    ),
)


class NormalClient:
    """Asks, measures, pauses, until it is told to stop."""

    def __init__(self, server: Server) -> None:
        self.latencies_ms: list[float] = []
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            with Wire(self._server.address) as wire:
                while not self._stopped.wait(PAUSE_S):
                    began = time.perf_counter()
                    wire.send_request("GET", "/")
                    assert wire.response().status == 200
                    self.latencies_ms.append((time.perf_counter() - began) * 1000)
        except BaseException as error:
            self._error = error


def run(attack: Attack, server: Server) -> tuple[float, int, int]:
    """The normal client's p99 in milliseconds, the most attackers at once, and those left.

    What the server holds counts: a client that reads in drops sees the end of its connection only
    when it has read what had arrived before.
    """
    server.get(attack.target if attack.target != "/echo" else "/")  # so that its file is open
    before = server.descriptor_count()
    command = [
        *("slowhttptest", "-c", str(CONNECTIONS), "-r", "200", "-p", "5"),
        *("-l", str(attack.seconds), *attack.options, "-u", server.url + attack.target),
    ]
    client = NormalClient(server)
    counts = [0]
    attacker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while attacker.poll() is None:
            counts.append(server.descriptor_count() - before - 1)
            if max(counts) > CONNECTIONS // 2 and counts[-1] <= 0:
                break  # all of them came, and all of them went
            time.sleep(0.2)
        if time.monotonic() - began < attack.seconds:
            counts.append(0)  # it ends early when it has nobody left
    finally:
        attacker.kill()
        attacker.wait()
        client.stop()
    p99 = statistics.quantiles(client.latencies_ms, n=100)[98]
    return p99, max(counts), max(0, counts[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter clocks than by default")
    parser.add_argument("--attack", action="append", help="this one only; repeatable")
    arguments = parser.parse_args()
    if shutil.which("slowhttptest") is None:
        print("slowhttptest is needed: apt-get install slowhttptest", file=sys.stderr)
        return 2
    options = ["--no-access-log"]
    if arguments.quick:
        for name in ("request-header", "request-body", "write"):
            options += [f"--timeout-{name}", "5"]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "large.bin").write_bytes(bytes(4 << 20))
        with serve("support.apps:app", *options, "--static", f"/files={folder}") as server:
            for attack in ATTACKS:
                if arguments.attack and attack.name not in arguments.attack:
                    continue
                began = time.monotonic()
                p99, most, left = run(attack, server)
                is_good = p99 < P99_MS_MAX and left == 0
                failures += not is_good
                print(
                    f"{attack.name:10} {'ok' if is_good else 'FAILED':6} p99 {p99:.1f} ms, "
                    f"{most} attackers at once, {left} left after {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
