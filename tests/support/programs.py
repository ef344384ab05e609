"""Programs that serve on a port that they are told, other than the server's own command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support.server import Lines
from support.wire import Response, Wire

WAIT_S_MAX = 20.0

APP = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/")
async def hello():
    return {"message": "hello"}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A program that serves on a port it was told."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.port = port
        self.stdout = Lines(process.stdout)
        self.stderr = Lines(process.stderr)

    def get(self, target: str = "/") -> Response:
        until = time.monotonic() + WAIT_S_MAX
        while True:
            try:
                with Wire(("127.0.0.1", self.port)) as wire:
                    wire.send_request("GET", target)
                    return wire.response()
            except ConnectionError:
                assert self.process.poll() is None, self.stderr.text()
                assert time.monotonic() < until, self.stderr.text()
                time.sleep(0.02)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(WAIT_S_MAX)
        self.stdout.end()
        self.stderr.end()
        return code


@contextlib.contextmanager
def running(directory: Path, *arguments: str, port: int) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    program = Program(process, port)
    try:
        yield program
    finally:
        process.kill()
        process.wait()
        program.stdout.end()
        program.stderr.end()


def is_ours(response: Response) -> bool:
    return response.status == 200 and response.values(b"server") == [b"pronghorn"]
