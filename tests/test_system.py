"""Where the system starts the server: as the first process of a container, and by systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from support.processes import (
    children,
    descendants,
    wait_for_started,
    wait_until,
    wait_until_gone,
)
from support.server import TESTS, Server, command

APP = "support.apps:app"
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_make_namespaces() -> bool:
    if os.getuid():
        return False
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def contained() -> Iterator[Server]:
    """A server that is process 1 of a namespace."""
    if not can_make_namespaces():
        pytest.skip("needs to make a namespace of processes")
    app = "support.apps_processes:leaves_orphans"
    process = subprocess.Popen(
        [*UNSHARE, *command(), app, "--app-dir", str(TESTS), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    server = Server(app, process)
    server.wait_until_running()
    yield server
    server.end()


def test_process_1_buries_orphans_forwards_signals_and_ends_with_the_code(
    contained: Server,
) -> None:
    for _ in range(3):
        contained.get("/orphan")
    wait_until(lambda: contained.get("/zombies") == b"0", what="the dead are buried")
    [first] = children(contained.pid)
    since = contained.stderr.count()
    os.kill(first, signal.SIGTERM)
    contained.stderr.wait_for("Shutting down", since=since)
    assert contained.wait() == 128 + signal.SIGTERM
    assert contained.stdout.all()[-1] == "lifespan shutdown"


SCRIPT = """
import os, sys, threading
import pronghorn

sys.path.insert(0, sys.argv[1])
from support.apps import app as everything

waiting = threading.Thread(target=threading.Event().wait, name="before", daemon=True)
waiting.start()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await everything(scope, receive, send)
    threads = ",".join(sorted(each.name for each in threading.enumerate()))
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"{os.getpid()} {threads}".encode()})

pronghorn.run(app, port=0, timeout_graceful_shutdown=1)
print("after", flush=True)
"""


def test_script_as_process_1_serves_where_it_has_started_threads() -> None:
    if not can_make_namespaces():
        pytest.skip("needs to make a namespace of processes")
    process = subprocess.Popen(
        [*UNSHARE, sys.executable, "-c", SCRIPT, str(TESTS)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    server = Server("a script's own", process)
    server.wait_until_running()
    assert server.get("/") == b"1 MainThread,before"
    [first] = children(server.pid)
    os.kill(first, signal.SIGTERM)
    # The system spares process 1 the signal that the server raises again.
    assert server.wait() == 0
    assert server.stdout.all()[-2:] == ["lifespan shutdown", "after"]
    server.end()


def test_killed_process_1_leaves_nothing_behind(contained: Server) -> None:
    family = descendants(contained.pid)
    os.kill(children(contained.pid)[0], signal.SIGKILL)
    wait_until_gone(family)
    contained.wait()


class Manager:
    """What systemd is to a service: a socket that was opened before, and one for notifications."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(self.path)
        self.notifications.settimeout(10)
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path}

    def wait_for(self, state: str) -> str:
        while True:
            told = self.notifications.recv(4096).decode()
            if told.startswith(state):
                return told


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    with made.notifications, made.listener:
        yield made


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--reload",)])
def test_systemd_is_told_how_the_server_is(
    start: Start, manager: Manager, options: tuple[str, ...]
) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    server = start(APP, *options, environment=environment)
    manager.wait_for("READY=1")
    assert server.get("/") == b"hello"
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    if "--workers" in options:
        server.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
    server.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    server.wait()


# The number of the process is only known within it: a shell passes it on and becomes it.
LISTENING = textwrap.dedent(
    """
    import os, sys
    os.dup2(int(sys.argv[1]), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(sys.executable, [sys.executable, "-m", "pronghorn", *sys.argv[2:]])
    """
)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("is_contained", [False, True])
def test_sockets_of_systemd_are_used(manager: Manager, workers: str, is_contained: bool) -> None:
    if is_contained and not can_make_namespaces():
        pytest.skip("needs to make a namespace of processes")
    number = manager.listener.fileno()
    command = [*(UNSHARE if is_contained else []), sys.executable, "-c", LISTENING, str(number)]
    process = subprocess.Popen(
        [*command, APP, "--app-dir", str(TESTS), "--workers", workers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[number],
    )
    server = Server(APP, process)
    server.stderr.wait_for("Pronghorn running on socket")
    server.address = manager.listener.getsockname()
    wait_for_started(server, int(workers))
    assert server.get("/") == b"hello"
    server.end()


def test_sockets_for_another_process_are_left_alone(start: Start) -> None:
    server = start(APP, environment={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert server.get("/") == b"hello"
