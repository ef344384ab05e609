"""A server under test: a process that serves an application on a port of its own.

`serve()` starts it, waits until it says that it runs, and always ends it by its process id. The
environment variable `PRONGHORN_TEST_SERVER` names the command (default `python -m pronghorn`), so
that another server's answers can be compared: `PRONGHORN_TEST_SERVER="python -m uvicorn"`. A
leading `python` stands for the interpreter that runs the tests.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import resource
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from support.streams import StreamWire
from support.wire import Address, Wire, authority

TESTS = Path(__file__).resolve().parent.parent
START_S_MAX = 20.0
WAIT_S_MAX = 10.0

RUNNING = re.compile(
    r"running on (?:https?://\[?(?P<host>[^\]]+?)\]?:(?P<port>\d+)"
    r"|unix socket (?P<path>\S+)|socket (?P<fd>.+)) \(Press"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What no server may ever say, whatever the application does.
NEVER = re.compile(
    r"panicked at|Fatal Python error|never retrieved|was never awaited|Already borrowed"
    r"|Exception ignored in|Exception in callback"
)


def command() -> list[str]:
    """The server's command line, before the application."""
    words = shlex.split(os.environ.get("PRONGHORN_TEST_SERVER", "python -m pronghorn"))
    return [sys.executable, *words[1:]] if words[0] == "python" else words


class Lines:
    """The lines of one output stream, as they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def all(self, since: int = 0) -> list[str]:
        with self._changed:
            return self._lines[since:]

    def text(self, since: int = 0) -> str:
        return "\n".join(self.all(since))

    def count(self) -> int:
        """A mark for `since`."""
        with self._changed:
            return len(self._lines)

    def wait_for(self, pattern: str, *, since: int = 0, timeout_s: float = WAIT_S_MAX) -> str:
        """The first line that holds `pattern` (a regular expression)."""
        found = re.compile(pattern)
        until = time.monotonic() + timeout_s
        position = since
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    if found.search(line):
                        return line
                position = max(since, len(self._lines))
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    shown = "\n".join(self._lines[since:][-60:])
                    raise AssertionError(f"no line matches `{pattern}` in:\n{shown}")
                self._changed.wait(left)

    def end(self) -> None:
        self._thread.join(WAIT_S_MAX)

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    # Bytes, so that a raw control byte in a log is seen for what it is.
                    self._lines.append(line.decode("utf-8", "surrogateescape").removesuffix("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Server:
    """A running server process."""

    def __init__(
        self,
        app: str,
        process: subprocess.Popen[bytes],
        client_context: ssl.SSLContext | None = None,
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.app = app
        self.process = process
        # What its clients speak TLS with.
        self.client_context = client_context
        self.stdout = Lines(process.stdout)
        self.stderr = Lines(process.stderr)
        self.address: Address = ("", 0)
        # The version that clients speak.
        self.http_version = "1.1"
        self._barrier: Wire | StreamWire | None = None

    @contextlib.contextmanager
    def over_http2(self, client_context: ssl.SSLContext | None = None) -> Iterator[Server]:
        """The same server to clients that speak HTTP/2; over TLS with a context of their own."""
        assert (client_context is None) == (self.client_context is None)
        twin = copy.copy(self)
        twin.http_version = "2"
        twin.client_context = client_context
        twin._barrier = None
        try:
            yield twin
        finally:
            if twin._barrier is not None:
                twin._barrier.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        assert isinstance(self.address, tuple)
        return self.address[1]

    @property
    def host(self) -> str:
        """What a `Host` field holds."""
        return authority(self.address)

    @property
    def url(self) -> str:
        return f"{'https' if self.client_context else 'http'}://{self.host}"

    def connect(self) -> Any:
        """A `Wire`, or what has its methods over HTTP/2."""
        if self.http_version == "2":
            return StreamWire(self.address, self.client_context)
        return Wire(self.address, self.client_context)

    def get(self, target: str = "/", *fields: str) -> bytes:
        """The body of a 200 to a GET on a connection of its own."""
        with self.connect() as wire:
            wire.send_request("GET", target, *fields)
            response = wire.response()
        assert response.status == 200, response
        return response.body

    def barrier(self) -> None:
        """Returns once the server has looked at whatever had been sent to it before."""
        # A server on one thread takes its sockets' events in turn: the answer to a request sent
        # now comes after it has read what was there. The second round is for connections that
        # were only accepted in the first.
        for _ in range(2):
            if self._barrier is None:
                self._barrier = self.connect()
            self._barrier.send_request("GET", "/")
            assert self._barrier.response().status == 200

    def wait_until_running(self) -> None:
        try:
            line = self.stderr.wait_for(r"running on .*\(Press", timeout_s=START_S_MAX)
        except AssertionError as error:
            raise AssertionError(f"the server did not start: {error}") from None
        found = RUNNING.search(COLOUR.sub("", line))
        assert found is not None
        if found["path"]:
            self.address = found["path"]
        elif found["port"]:
            self.address = (found["host"], int(found["port"]))

    def wait_until_connecting(self, address: Address) -> None:
        self.address = address
        until = time.monotonic() + START_S_MAX
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                assert time.monotonic() < until, f"the server did not start:\n{self.stderr.text()}"
                time.sleep(0.02)

    def cpu_s(self) -> float:
        """User and system time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def page_faults(self) -> int:
        """Pages that the kernel has made or found for the process."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[7])

    def rss_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptor_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def limit_descriptors(self, count: int) -> None:
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, hard))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = WAIT_S_MAX) -> int:
        """The exit code, negative for a signal, once the process has ended by itself."""
        code = self.process.wait(timeout_s)
        self.stdout.end()
        self.stderr.end()
        return code

    def end(self) -> None:
        """Ends the process and tells of what it should not have done meanwhile."""
        if self._barrier is not None:
            self._barrier.close()
        died = self.process.poll()
        if died is None:
            self.process.kill()
        self.wait()
        # A test that expects the process to end reads its code.
        code = self.process.returncode
        said = [line for line in self.stderr.all() if NEVER.search(line)]
        assert not said, f"the server said: {said}"
        unexpected = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL)
        assert code not in unexpected, f"the server crashed with {code}:\n{self.stderr.text()}"


@contextlib.contextmanager
def serve(
    app: str = "support.apps:app",
    *options: str,
    listen: Sequence[str] = ("--host", "127.0.0.1", "--port", "0"),
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    quiet_at: Address | None = None,
    client_context: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """Serves `app`, an import string, until the block ends.

    A server that does not say where it runs is asked at `quiet_at` until it answers. Clients
    connect with TLS when `client_context` is given.
    """
    process = subprocess.Popen(
        [*command(), app, "--app-dir", str(TESTS), *listen, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=tuple(pass_fds),
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    server = Server(app, process, client_context)
    try:
        if quiet_at is None:
            server.wait_until_running()
        else:
            server.wait_until_connecting(quiet_at)
        yield server
    except BaseException:
        process.kill()
        server.wait()
        raise
    else:
        server.end()
