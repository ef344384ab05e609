"""One measurement: a server started fresh, checked, warmed up, loaded and stopped.

Comes in: a case, a server and the settings. Goes out: a `Sample` of named figures, or `Failed`, or
`NotOffered`. Called by `run.py`, once for every server in every round.

The rule it keeps: whatever a server does, the run goes on; a figure is only given for a server
that answered right before and was still alive after.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import h2load
import probe
import wrk
from cases import (
    FILE_APP,
    HELLO,
    JSON,
    RAW_APP,
    WEBSOCKET_APP,
    Bulk,
    Case,
    Exchange,
    H2load,
    IdleMemory,
    Startup,
    WebSocket,
    Wrk,
)
from environment import BUILD
from processes import CpuTime, ServerProcess, server_process
from servers import HOST, Executables, Launch, Role, Server, TLSFiles

WARM_UP_S = 0.5
TIMEOUT_KEEP_ALIVE_S = 120  # longer than it takes to open all idle connections
SETTLE_WAIT_S = 3.0
SETTLED_KIB = 64
BULK_WAIT_S = 60.0  # beyond the seconds asked for, in which requests under way are finished
ERROR_SHARE_MAX = 0.001  # of the requests, that may fail in the load generator
LOG_SHARE_MIN = 0.99  # of the requests, that the access log has to hold

# Below the range that the kernel gives to clients, whose closed connections would be in the way.
PORTS = range(20000, 32000)


@dataclass(frozen=True)
class Settings:
    """How long, with what and where to measure."""

    seconds: float
    idle_connections_max: int
    server_core: int
    client_core: int
    executables: Executables
    bulk: Path
    websocket: Path
    tls: TLSFiles
    folder: Path  # where the applications are


@dataclass(frozen=True)
class Sample:
    """Figures by name; report.py knows their units. `remarks` go below the table."""

    figures: dict[str, float]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The server did not do what the case asks for."""

    reason: str


@dataclass(frozen=True)
class NotOffered:
    """The server does not claim to do what the case asks for."""

    reason: str


Outcome = Sample | Failed | NotOffered


def measure(case: Case, server: Server, settings: Settings) -> Outcome:
    """Measures `server` once."""
    reason = not_offered(case, server)
    if reason is not None:
        return NotOffered(reason)
    port = next(FREE_PORTS)
    launched = launch(case, port)
    if case.exchange.tls:
        launched = dataclasses.replace(launched, tls=settings.tls)
    command = server.command(settings.executables, launched)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        try:
            with server_process(
                command, settings.folder, log, settings.server_core, settings.client_core
            ) as process:
                sample = measure_running(case, port, process, settings)
            if case.access_log and server.has_access_log:
                sample = with_log_checked(case, sample, log)
            return sample
        except (probe.AnswerError, wrk.LoadError) as error:
            return Failed(without_folders(str(error)))
        except ConnectionRefusedError:
            return Failed("stopped listening")
        except OSError as error:
            return Failed(without_folders(f"{type(error).__name__}: {error}"))


def not_offered(case: Case, server: Server) -> str | None:
    is_floor = server.role is Role.FLOOR
    if case.access_log and not server.has_access_log and not is_floor:
        return "has no access log"
    is_http2 = isinstance(case.load, H2load) and not case.load.http1
    if is_http2 and not server.has_http2:
        return "has no HTTP/2 in clear text"
    if not is_http2 and server.is_only_http2:
        return "is there for HTTP/2"
    if case.app == FILE_APP and not server.serves_files:
        return "serves no files"
    if not case.static and not server.runs_applications:
        return "runs no applications"
    if case.app.startswith("fastapi_app:") and case.exchange != JSON and is_floor:
        return "answers FastAPI's first case only"
    if case.exchange.tls and not server.has_tls:
        return "is not measured with TLS"
    return None


def launch(case: Case, port: int) -> Launch:
    match case.load:
        case IdleMemory(connections):
            return Launch(
                port,
                case.app,
                case.access_log,
                timeout_keep_alive_s=TIMEOUT_KEEP_ALIVE_S,
                connections_max=2 * connections,
            )
        case Bulk(body_bytes=body_bytes) | H2load(body_bytes=int(body_bytes)):
            return Launch(port, case.app, case.access_log, body_bytes_max=body_bytes)
        case Wrk() | H2load() | WebSocket() | Startup():
            folder = BUILD / "static" if case.static else None
            return Launch(port, case.app, case.access_log, static_folder=folder)


def measure_running(case: Case, port: int, process: ServerProcess, settings: Settings) -> Sample:
    ready = HELLO if case.app in (RAW_APP, WEBSOCKET_APP) else case.exchange
    ready = dataclasses.replace(ready, tls=case.exchange.tls)
    start_s = probe.wait_until_right(process, port, ready)
    match case.load:
        case Startup():
            return Sample({"start_ms": start_s * 1000})
        case IdleMemory() as load:
            count = min(load.connections, settings.idle_connections_max)
            return idle_memory(case, count, port, process)
        case Wrk() | H2load() | Bulk() | WebSocket():
            if not isinstance(case.load, WebSocket):  # whose load generator checks every answer
                probe.check(port, case.exchange)
            try:
                load_once(case, port, min(WARM_UP_S, settings.seconds), settings)
                return loaded(case, port, process, settings)
            except wrk.LoadError as error:
                if process.has_ended():
                    raise wrk.LoadError(f"died under load ({exit_reason(process)})") from error
                raise


# Loading


def loaded(case: Case, port: int, process: ServerProcess, settings: Settings) -> Sample:
    before = process.cpu_time()
    report = load_once(case, port, settings.seconds, settings)
    after = process.cpu_time()
    if process.has_ended():
        raise wrk.LoadError("ended while it was loaded")
    figures = {
        "requests": float(report.requests),
        "requests_per_s": report.requests / report.seconds,
        "user_us": microseconds_each(before.user_s, after.user_s, report.requests),
        "system_us": microseconds_each(before.system_s, after.system_s, report.requests),
        "busy_percent": 100 * busy_s(before, after) / report.seconds,
        "p50_us": report.p50_us,
        "p99_us": report.p99_us,
    }
    if isinstance(case.load, Bulk | H2load) and case.load.body_bytes is not None:
        figures["megabytes_per_s"] = (
            figures["requests_per_s"] * case.load.body_bytes / (1024 * 1024)
        )
    if case.exchange.pipelined > 1 or isinstance(case.load, H2load):
        # wrk times a batch, and most often sees only the last answer of it; h2load tells no
        # percentiles.
        del figures["p50_us"], figures["p99_us"]
    remarks = (f"{report.errors} socket errors in the load generator",) if report.errors else ()
    return Sample(figures, remarks)


def load_once(case: Case, port: int, seconds: float, settings: Settings) -> wrk.Report:
    match case.load:
        case Wrk() as load:
            return run_wrk(load, case.exchange, port, seconds, settings)
        case H2load() as load:
            return h2load.run(load, case.exchange, port, seconds, BUILD / "static" / "100m.bin")
        case Bulk() as load:
            arguments = [load.direction.value, str(port), case.exchange.path]
            arguments += [str(load.connections), str(seconds), str(load.body_bytes)]
            return run_c(settings.bulk, arguments, seconds)
        case WebSocket() as load:
            arguments = [load.traffic.value, str(port), case.exchange.path]
            arguments += [str(load.connections), str(seconds), str(load.message_bytes)]
            return run_c(settings.websocket, arguments, seconds)
        case IdleMemory() | Startup():
            raise ValueError(f"case `{case.name}` has no load generator")


def run_wrk(
    load: Wrk, exchange: Exchange, port: int, seconds: float, settings: Settings
) -> wrk.Report:
    report = wrk.run(load, exchange, port, seconds, settings.folder / "lua")
    if report.errors > ERROR_SHARE_MAX * report.requests + load.connections:
        raise wrk.LoadError(f"{report.errors} socket errors in {report.requests} requests")
    return report


def run_c(program: Path, arguments: list[str], seconds: float) -> wrk.Report:
    command = [str(program), *arguments]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + BULK_WAIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise wrk.LoadError(f"did not finish within {error.timeout:.0f} s") from error
    if result.returncode != 0:
        raise wrk.LoadError(
            result.stderr.strip() or f"{program.name} ended with {result.returncode}"
        )
    figures = json.loads(result.stdout)
    return wrk.Report(
        requests=figures["requests"],
        seconds=figures["seconds"],
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        errors=0,
    )


def busy_s(before: CpuTime, after: CpuTime) -> float:
    return after.user_s - before.user_s + after.system_s - before.system_s


def microseconds_each(before_s: float, after_s: float, requests: int) -> float:
    return (after_s - before_s) / requests * 1e6


def exit_reason(process: ServerProcess) -> str:
    code = process.leader.returncode
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def with_log_checked(case: Case, sample: Sample, log: Path) -> Sample:
    """Says so if the log lacks lines: the figures stand, but the reader should know."""
    with log.open("rb") as lines:
        logged = sum(case.exchange.path.encode() in line for line in lines)
    asked = sample.figures["requests"]
    if logged < LOG_SHARE_MIN * asked:
        remark = f"logged {logged} of {asked:.0f} requests"
        return Sample(sample.figures, (*sample.remarks, remark))
    return sample


# Memory


def idle_memory(case: Case, count: int, port: int, process: ServerProcess) -> Sample:
    load = case.load
    assert isinstance(load, IdleMemory)

    def opened(number: int) -> AbstractContextManager[list[socket.socket]]:
        if load.websocket:
            return probe.idle_websockets(port, case.exchange.path, number, deflate=load.deflate)
        return probe.idle_connections(port, case.exchange, number)

    with opened(20):  # so that what is made on first use is there before
        pass
    before_kib = settled_memory_kib(process)
    with opened(count) as connections:
        after_kib = settled_memory_kib(process)
        closed = probe.count_closed(connections)
    if closed:
        raise probe.AnswerError(f"closed {closed} of {count} idle connections")
    return Sample(
        {"connection_kib": (after_kib - before_kib) / count, "start_kib": float(before_kib)}
    )


def settled_memory_kib(process: ServerProcess) -> int:
    """The memory of the server once it has stopped changing."""
    until_s = time.monotonic() + SETTLE_WAIT_S
    previous_kib, current_kib = -SETTLED_KIB, process.memory_kib()
    while abs(current_kib - previous_kib) >= SETTLED_KIB and time.monotonic() < until_s:
        time.sleep(0.2)
        previous_kib, current_kib = current_kib, process.memory_kib()
    return current_kib


# Ports and reasons


def free_ports() -> Iterator[int]:
    """Loopback ports that nothing listens on, a different one each time."""
    for port in itertools.cycle(PORTS):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
        yield port


FREE_PORTS = free_ports()


def without_folders(text: str) -> str:
    """Shortens absolute paths to their last part: results must not tell where they were made."""
    return re.sub(r"(?:/[\w.+@-]+)+/([\w.+@-]+)", r"\1", text)
