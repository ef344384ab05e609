"""The command line: options, environment, exit codes, signals and what is said meanwhile."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pronghorn
import pytest
from conftest import Start
from pronghorn.settings import OPTIONS

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
        return
    if scope["path"].endswith("/hang"):
        print("hanging", flush=True)
        await asyncio.Event().wait()
    body = repr(scope["root_path"]).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})

async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def frozen(scope, receive, send):
    print("frozen", flush=True)
    await asyncio.Event().wait()

def create():
    return app

def demanding(name):
    return app
"""

UVICORN_FLAGS = """
--host --port --uds --fd --reload --reload-dir --reload-include --reload-exclude --reload-delay
--workers --loop --http --http2 --ws --ws-max-size --ws-max-queue --ws-ping-interval
--ws-ping-timeout --ws-per-message-deflate --lifespan --interface --env-file --log-config
--log-level --access-log --no-access-log --use-colors --no-use-colors --proxy-headers
--no-proxy-headers --server-header --no-server-header --date-header --no-date-header
--forwarded-allow-ips --root-path --limit-concurrency --backlog --limit-max-requests
--limit-max-requests-jitter --timeout-keep-alive --timeout-graceful-shutdown
--timeout-worker-healthcheck --ssl-keyfile --ssl-certfile --ssl-keyfile-password --ssl-version
--ssl-cert-reqs --ssl-ca-certs --ssl-ciphers --header --version --app-dir
--h11-max-incomplete-event-size --reset-contextvars --factory --help
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the module `cli_app` and with some that cannot be used."""
    (tmp_path / "cli_app.py").write_text(APP)
    (tmp_path / "cli_broken.py").write_text("import no_such_dependency\n")
    (tmp_path / "cli_value.py").write_text("raise ValueError('while importing')\n")
    return tmp_path


def invoke(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PRONGHORN_", "UVICORN_", "WEB_CONCURRENCY"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pronghorn", *arguments],
        cwd=cwd,
        env={**inherited, **environment, "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_version_is_one_line() -> None:
    done = invoke("--version")
    assert done.returncode == 0
    assert done.stdout == (
        f"Running pronghorn {pronghorn.__version__} with {platform.python_implementation()} "
        f"{platform.python_version()} on {platform.system()}\n"
    )


def test_help_lists_every_option() -> None:
    done = invoke("--help")
    assert done.returncode == 0
    words = set(done.stdout.replace("/", " ").split())
    flags = {row.flag for row in OPTIONS.values() if row.flag}
    assert not (flags | set(UVICORN_FLAGS.split())) - words


def test_importing_is_light() -> None:
    heavy = ("asyncio", "ssl", "yaml", "multiprocessing", "uvloop", "pronghorn._engine")
    for module, absent in (("pronghorn", (*heavy, "click", "logging")), ("pronghorn.cli", heavy)):
        program = f"import {module}, sys; print([m for m in {absent!r} if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n", module


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("", 2, "Error: Missing argument 'APP'."),
        ("cli_app:app --nonsense", 2, "Error: No such option"),
        ("cli_app:app --port http", 2, "Error: Invalid value for '--port'"),
        ("cli_app:app --port 65536", 2, "Error: `--port` must be between 0 and 65535, got `65536`"),
        ("cli_app:app --lifespan maybe", 2, "Error: Invalid value for '--lifespan'"),
        ("cli_app:app --log-level loud", 2, "Error: Invalid value for '--log-level'"),
        ("cli_app:app --env-file /nowhere", 2, "Error: Invalid value for '--env-file'"),
        ("cli_app:app --header colonless", 2, "Error: `--header` needs a name and a value"),
        ("cli_app:app --workers -1", 2, "Error: `--workers` must be between 1 and 256, got `-1`"),
        ("cli_app:nope --workers 2", 3, 'ERROR:    Error loading ASGI app. Attribute "nope"'),
        ("cli_app:fails --workers 2 --lifespan on", 3, "ERROR:    Application startup failed."),
        ("cli_app:app --ws wsprot", 2, "Error: `--ws` must be one of auto, none, websockets"),
        ("cli_app:app --ssl-certfile c.pem", 3, "ERROR:    The TLS certificate `c.pem` cannot be"),
        ("cli_app", 3, "ERROR:    Error loading ASGI app. Import string"),
        ("cli_app:nope", 3, 'ERROR:    Error loading ASGI app. Attribute "nope" not found'),
        ("cli_nowhere:app", 3, "ERROR:    Error loading ASGI app. Could not import module"),
        ("cli_app:demanding --factory", 3, "ERROR:    Error loading ASGI app factory: demanding()"),
        ("cli_app:app --loop x:y", 3, "ERROR:    Error loading custom loop setup function."),
        ("cli_app:app --fd 987", 3, "ERROR:    [Errno 9] cannot use the file descriptor `987`"),
        ("cli_app:app --uds /nowhere/s", 3, "ERROR:    [Errno 2] cannot bind the Unix socket"),
        ("cli_app:fails --lifespan on", 3, "ERROR:    Application startup failed. Exiting."),
        ("cli_broken:app", 1, "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("cli_value:app", 1, "ValueError: while importing"),
    ],
)
def test_failure_has_the_exit_code_of_uvicorn(
    arguments: str, code: int, line: str, directory: Path
) -> None:
    done = invoke(*arguments.split(), cwd=directory)
    assert done.returncode == code, done.stderr
    assert any(each.startswith(line) for each in done.stderr.splitlines()), done.stderr
    if code != 1:
        assert "Traceback" not in done.stderr


def test_port_in_use_exits_with_3(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = invoke("cli_app:app", "--port", port, cwd=directory)
    assert done.returncode == 3
    assert f"bind on address ('127.0.0.1', {port}): address already in use" in done.stderr


def test_complaint_names_the_variable_at_fault(directory: Path) -> None:
    done = invoke("cli_app:app", cwd=directory, UVICORN_PORT="tcp://10.0.0.1:80")
    assert done.returncode == 2
    assert "Error: Invalid value for 'UVICORN_PORT'" in done.stderr
    done = invoke("cli_app:app", cwd=directory, PRONGHORN_PORT="99999")
    assert done.stderr == "Error: `PRONGHORN_PORT` must be between 0 and 65535, got `99999`.\n"
    done = invoke("cli_app:app", cwd=directory, WEB_CONCURRENCY="many")
    assert done.stderr.startswith("Error: `WEB_CONCURRENCY` must be a whole number, got `many`")


def test_application_comes_from_the_environment(directory: Path) -> None:
    done = invoke(cwd=directory, UVICORN_APP="cli_app:nope")
    assert 'Attribute "nope" not found' in done.stderr
    done = invoke(cwd=directory, UVICORN_APP="cli_app:nope", PRONGHORN_APP="cli_app:never")
    assert 'Attribute "never" not found' in done.stderr


def header(server: object, name: bytes) -> list[bytes]:
    with server.connect() as wire:  # type: ignore[attr-defined]
        wire.send_request("GET", "/")
        values: list[bytes] = wire.response().values(name)
        return values


def test_flag_wins_over_environment_and_own_name_over_that_of_uvicorn(
    start: Start, directory: Path
) -> None:
    app = ("cli_app:app", "--app-dir", str(directory))
    both = {"UVICORN_HEADERS": "x-from:uvicorn", "PRONGHORN_HEADERS": "x-from:pronghorn x-b:c"}
    uvicorn = {"UVICORN_HEADERS": "x-from:uvicorn"}
    assert header(start(*app, environment=uvicorn), b"x-from") == [b"uvicorn"]
    assert header(start(*app, environment=both), b"x-from") == [b"pronghorn"]
    flagged = start(*app, "--header", "x-from: flag", environment=both)
    assert header(flagged, b"x-from") == [b"flag"]
    assert header(flagged, b"x-b") == []


def test_server_and_date_headers_can_be_turned_off(start: Start) -> None:
    assert header(start(), b"server") == [b"pronghorn"]
    bare = start("support.apps:app", "--no-server-header", "--no-date-header")
    assert header(bare, b"server") == header(bare, b"date") == []
    own = start("support.apps:app", "--header", "Server:mine")
    assert header(own, b"server") == [b"mine"]


def test_factory_and_root_path_reach_the_application(start: Start, directory: Path) -> None:
    server = start(
        "cli_app:create", "--app-dir", str(directory), "--factory", "--root-path", "/api"
    )
    assert server.get("/") == b"'/api'"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_signal_ends_the_server(number: signal.Signals, code: int, start: Start) -> None:
    server = start()
    server.signal(number)
    assert server.wait() == code
    said = server.stderr.text()
    assert ("Finished server process" in said) == (number is not signal.SIGHUP)


def test_lines_are_those_of_uvicorn(start: Start, directory: Path) -> None:
    server = start("cli_app:app", "--app-dir", str(directory))
    with server.connect() as wire:
        wire.send_request("GET", "/a%20b?c=d")
        wire.response()
        client = wire.socket.getsockname()[1]
    server.stdout.wait_for("GET")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.stdout.all() == [
        f'INFO:     127.0.0.1:{client} - "GET /a%20b?c=d HTTP/1.1" 200 OK',
    ]
    assert server.stderr.all() == [
        f"INFO:     Started server process [{server.pid}]",
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
        f"INFO:     Pronghorn running on http://127.0.0.1:{server.port} (Press CTRL+C to quit)",
        "INFO:     Shutting down",
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
        f"INFO:     Finished server process [{server.pid}]",
    ]


def test_second_interrupt_forces_the_end(start: Start, directory: Path) -> None:
    server = start("cli_app:app", "--app-dir", str(directory))
    with server.connect() as wire:
        wire.send_request("GET", "/hang")
        server.stdout.wait_for("hanging")
        server.signal(signal.SIGINT)
        server.stderr.wait_for(r"Waiting for connections to close\. \(CTRL\+C to force quit\)")
        server.signal(signal.SIGINT)
        assert server.wait() == 0
    assert "Waiting for application shutdown." not in server.stderr.text()


def test_grace_period_ends_a_hanging_request(start: Start, directory: Path) -> None:
    server = start("cli_app:app", "--app-dir", str(directory), "--timeout-graceful-shutdown", "0.3")
    with server.connect() as wire:
        wire.send_request("GET", "/hang")
        server.stdout.wait_for("hanging")
        server.signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
    said = server.stderr.text()
    assert "ERROR:    Cancel 1 running task(s), timeout graceful shutdown exceeded" in said
    assert "INFO:     Application shutdown complete." in said


def test_interrupts_leave_a_frozen_startup(directory: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pronghorn", "cli_app:frozen", "--port", "0"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"frozen\n"
        # One that comes before the last was handled is lost, so an impatient user tries again.
        interrupts = 0
        while process.poll() is None:
            interrupts += 1
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        assert process.returncode == 3
        assert interrupts >= 2


def test_access_log_can_be_turned_off(start: Start, directory: Path) -> None:
    server = start("cli_app:app", "--app-dir", str(directory), "--no-access-log")
    server.get("/")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert server.stdout.all() == []


def test_colours_can_be_forced() -> None:
    assert invoke("nope", "--use-colors").stderr.startswith("\033[31mERROR\033[0m:    ")
    assert invoke("nope").stderr.startswith("ERROR:    ")


def test_unix_socket_is_served_and_removed(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = start("support.apps:app", listen=("--uds", str(path)))
    assert server.get("/")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert not path.exists()


def test_inherited_descriptor_is_served(start: Start) -> None:
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        number = inherited.fileno()
        server = start("support.apps:app", listen=("--fd", str(number)), pass_fds=[number])
        server.address = inherited.getsockname()
        assert server.get("/")


@pytest.mark.parametrize("loop", ["asyncio", "none", "cli_loop:new_loop"])
def test_loop_is_the_one_asked_for(loop: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "cli_loop.py").write_text(
        "import asyncio\n"
        "class Mine(asyncio.SelectorEventLoop): ...\n"
        "def new_loop(): return Mine()\n"
        "async def app(scope, receive, send):\n"
        "    name = type(asyncio.get_running_loop()).__module__\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': name.encode()})\n"
    )
    server = start("cli_loop:app", "--app-dir", str(tmp_path), "--loop", loop)
    expected = "cli_loop" if ":" in loop else "asyncio.unix_events"
    assert server.get("/") == expected.encode()


def test_request_limit_ends_the_process(start: Start) -> None:
    server = start("support.apps:app", "--limit-max-requests", "2")
    for _ in range(2):
        server.get("/")
    assert server.wait() == 0
    said = server.stderr.text()
    assert "INFO:     Maximum request limit of 2 exceeded. Terminating process." in said


def test_log_config_for_uvicorn_is_honoured(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        '{"version": 1, "formatters": {"f": {"format": "%(name)s|%(message)s"}},'
        '"handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},'
        '"loggers": {"uvicorn": {"handlers": ["h"], "level": "INFO"}}}'
    )
    server = start("support.apps:app", "--log-config", str(path))
    server.get("/")
    server.stderr.wait_for(r'^pronghorn\.access\|127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200$')
    assert "pronghorn.error|Application startup complete." in server.stderr.all()
