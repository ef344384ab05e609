"""How soon Pronghorn's processes come back, or are gone: deaths of workers and parents, reloads.

Run it with `python bench/recovery.py`. For each case it prints the median and the worst of the
rounds, in seconds, less the time that the application takes to be imported where that is part of
it: the application sleeps for so long when it is imported. Where a parent is killed, the
application has a ProcessPoolExecutor as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

IMPORT_S = 0.3
WAIT_S_MAX = 30.0
APP = f"""
import os, time
from concurrent.futures import ProcessPoolExecutor
time.sleep({IMPORT_S})
POOL = None
async def app(scope, receive, send):
    global POOL
    if scope["type"] == "lifespan":
        await receive()
        if "WITH_POOL" in os.environ:
            POOL = ProcessPoolExecutor(2)
            list(POOL.map(abs, range(8)))
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        return await send({{"type": "lifespan.shutdown.complete"}})
    body = b"VERSION %d" % os.getpid()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""
WORKERS = ("--workers", "2")
RELOAD = ("--reload",)


class Project:
    """A directory with the application, which may be served under either reloader."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # A module without `watch` in front of the real one.
        self.polling = directory / "polling"
        self.polling.mkdir()
        (self.polling / "watchfiles.py").write_text("raise ImportError\n")
        self.version = 0
        self.edit()

    def edit(self) -> bytes:
        """Saves another version; what it answers begins with."""
        self.version += 1
        text = APP.replace("VERSION", f"v{self.version}")
        saved = self.directory / ".recovery_app.py.new"
        saved.write_text(text)
        saved.replace(self.directory / "recovery_app.py")
        return b"v%d " % self.version


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def answer(self) -> bytes | None:
        """The body of an answer, or None."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), WAIT_S_MAX) as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while data := client.recv(4096):
                received += data
            return received.rpartition(b"\r\n\r\n")[2] or None
        return None

    def pid(self) -> int | None:
        """Of the process that answers."""
        body = self.answer()
        return int(body.split()[1]) if body else None


@contextlib.contextmanager
def served(
    project: Project, *options: str, polls: bool = False, has_pool: bool = False
) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pronghorn", "recovery_app:app", "--port", str(port)]
    command += ["--log-level", "critical", "--no-access-log", *options]
    path = os.pathsep.join(map(str, [project.directory] + [project.polling] * polls))
    process = subprocess.Popen(
        command,
        cwd=project.directory,
        env={**os.environ, "PYTHONPATH": path, **({"WITH_POOL": "1"} if has_pool else {})},
        # A killed parent has its helper complain of what was not tidied up.
        stderr=subprocess.DEVNULL,
    )
    server = Server(process, port)
    try:
        wait_until(lambda: server.answer() is not None)
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_until(condition: Callable[[], bool]) -> float:
    """The seconds until it holds."""
    began_at = time.monotonic()
    while not condition():
        if time.monotonic() - began_at > WAIT_S_MAX:
            raise SystemExit("this does not come to an end")
        time.sleep(0.002)
    return time.monotonic() - began_at


def family_of(pid: int) -> list[int]:
    """The processes that it has started, those that they have started, and so on."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, check=True, text=True
    )
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    family, unseen = [], [pid]
    while unseen:
        parent = unseen.pop()
        mine = [child for child, its_parent in pairs if its_parent == parent]
        family += mine
        unseen += mine
    return family


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def startup(project: Project) -> float:
    began_at = time.monotonic()
    with served(project):
        return time.monotonic() - began_at - IMPORT_S


def dead_worker(project: Project) -> float:
    with served(project, *WORKERS) as server:
        known = set[int | None]()
        wait_until(lambda: known.add(server.pid()) or len(known) == 2)
        victim = known.pop()
        assert victim
        os.kill(victim, signal.SIGKILL)
        return wait_until(lambda: server.pid() not in {*known, victim, None}) - IMPORT_S


def dead_parent(project: Project, options: tuple[str, ...]) -> float:
    with served(project, *options, has_pool=True) as server:
        family = family_of(server.process.pid)
        assert len(family) > 4, family
        server.process.kill()
        return wait_until(lambda: not any(map(is_running, family)))


def reload(project: Project, *, polls: bool) -> float:
    with served(project, *RELOAD, polls=polls) as server:
        # The spare child has to be there, as it is when somebody has edited for a moment.
        time.sleep(1.5)
        version = project.edit()
        return wait_until(lambda: (server.answer() or b"").startswith(version)) - IMPORT_S


CASES: dict[str, Callable[[Project], float]] = {
    "start of a server": startup,
    "kill -9 of one of 2 workers: until a new one answers": dead_worker,
    "kill -9 of the parent of 2 workers: until all are gone": lambda p: dead_parent(p, WORKERS),
    "kill -9 of the parent under --reload: until all are gone": lambda p: dead_parent(p, RELOAD),
    "reload (watchfiles): until the new code answers": lambda p: reload(p, polls=False),
    "reload (polling): until the new code answers": lambda p: reload(p, polls=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    for name, case in CASES.items():
        times = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as directory:
                times.append(case(Project(Path(directory))))
        print(f"{name:58} median {statistics.median(times):5.2f} s, worst {max(times):5.2f} s")


if __name__ == "__main__":
    main()
