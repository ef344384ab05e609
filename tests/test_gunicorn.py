"""Gunicorn's worker: how it serves, and how it ends when gunicorn says so."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import children, wait_until_gone
from support.programs import APP, WAIT_S_MAX, Program, free_port, is_ours, running
from support.wire import Wire, request

WAITS = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("stopped in", os.getpid(), flush=True)
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["path"] == "/lingering":
        try:
            print("reading in", os.getpid(), flush=True)
            await asyncio.sleep(3600)
        finally:
            print("cancelled", flush=True)
            await asyncio.sleep(0.3)
    body = b""
    while len(body) < 2:
        body += (await receive())["body"]
        print("reading in", os.getpid(), flush=True)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})
"""

STARTS_SLOWLY = """
import asyncio

async def app(scope, receive, send):
    print("starting", flush=True)
    await asyncio.sleep(3600)
"""

WORKERS = """
from pronghorn.workers import PronghornWorker

class Draining(PronghornWorker):
    CONFIG_KWARGS = {"drain_delay": 3600.0}

class Impatient(PronghornWorker):
    CONFIG_KWARGS = {"timeout_graceful_shutdown": 0}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "waits.py").write_text(WAITS)
    (tmp_path / "starts_slowly.py").write_text(STARTS_SLOWLY)
    (tmp_path / "own_workers.py").write_text(WORKERS)
    return tmp_path


@contextlib.contextmanager
def under_gunicorn(
    directory: Path, app: str, worker: str = "pronghorn.workers.PronghornWorker"
) -> Iterator[Program]:
    port = free_port()
    arguments = ("-m", "gunicorn", "-k", worker, "-b", f"127.0.0.1:{port}", app)
    with running(directory, *arguments, port=port) as program:
        yield program


@contextlib.contextmanager
def half_sent(program: Program) -> Iterator[tuple[Wire, int]]:
    """A request whose application waits for the other half, and the worker that it is in."""
    program.stderr.wait_for("Application startup complete")
    with Wire(("127.0.0.1", program.port)) as wire:
        wire.send(request("POST", "/", "Content-Length: 2") + b"o")
        yield wire, int(program.stdout.wait_for("reading in").rpartition(" ")[2])


@pytest.mark.parametrize(
    "worker",
    ["pronghorn.workers.PronghornWorker", "uvicorn.workers.UvicornWorker"],
    ids=["own", "compat"],
)
def test_gunicorn_runs_the_worker(worker: str, directory: Path) -> None:
    port = free_port()
    compat = ("-m", "pronghorn.compat") if worker.startswith("uvicorn") else ()
    arguments = ("-m", "gunicorn", "-k", worker, "-b", f"127.0.0.1:{port}", "main:app")
    with running(
        directory, *compat, *arguments, "-w", "2", "--access-logfile", "-", port=port
    ) as program:
        assert is_ours(program.get("/"))
        program.stdout.wait_for(r'^127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200$')
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(WAIT_S_MAX) == 0
        program.stderr.wait_for("Shutting down: Master")


def test_gunicorns_worker_that_is_told_again_to_end_finishes_its_request(directory: Path) -> None:
    """As gunicorn tells one worker too many, about every second until it has gone."""
    with under_gunicorn(directory, "waits:app") as program:
        with half_sent(program) as (wire, pid):
            for awaited in ("Shutting down", "Waiting for connections to close", None, None):
                os.kill(pid, signal.SIGTERM)
                if awaited:
                    program.stderr.wait_for(awaited)
            wire.send(b"k")
            assert wire.response().body == b"ok"
        program.stdout.wait_for(f"stopped in {pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_gunicorn_ends_quickly(number: signal.Signals, directory: Path) -> None:
    """It would kill a worker after 30 s, and an application that has not stopped with it."""
    with under_gunicorn(directory, "waits:app") as program:
        with half_sent(program) as (_, pid):
            program.process.send_signal(number)
            assert program.process.wait(WAIT_S_MAX) == 0
        program.stdout.wait_for(f"stopped in {pid}")


def test_gunicorn_ends_quickly_while_the_application_starts(directory: Path) -> None:
    with under_gunicorn(directory, "starts_slowly:app") as program:
        program.stdout.wait_for("starting")
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(WAIT_S_MAX) == 0


def test_gunicorn_ends_quickly_while_its_worker_serves_on(directory: Path) -> None:
    with under_gunicorn(directory, "waits:app", "own_workers.Draining") as program:
        program.stderr.wait_for("Application startup complete")
        program.process.send_signal(signal.SIGTERM)
        program.stderr.wait_for("Serving on for")
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(WAIT_S_MAX) == 0
        program.stdout.wait_for("stopped in")


def test_gunicorns_worker_is_told_to_hurry_while_requests_are_cancelled(directory: Path) -> None:
    with under_gunicorn(directory, "waits:app", "own_workers.Impatient") as program:
        program.stderr.wait_for("Application startup complete")
        with Wire(("127.0.0.1", program.port)) as wire:
            wire.send_request("GET", "/lingering")
            pid = int(program.stdout.wait_for("reading in").rpartition(" ")[2])
            program.process.send_signal(signal.SIGTERM)
            program.stdout.wait_for("cancelled")
            os.kill(pid, signal.SIGQUIT)
            assert program.process.wait(WAIT_S_MAX) == 0
        program.stdout.wait_for(f"stopped in {pid}")
        assert "Exception in callback" not in program.stderr.text()


def test_gunicorns_worker_leaves_with_its_arbiter(directory: Path) -> None:
    with under_gunicorn(directory, "main:app") as program:
        assert is_ours(program.get("/"))
        pids = children(program.process.pid)
        assert pids
        program.process.kill()
        program.stderr.wait_for("Parent changed, shutting down")
        wait_until_gone(pids)
