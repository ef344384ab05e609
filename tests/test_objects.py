"""Objects that code written for Uvicorn touches, and libraries that do, against Uvicorn itself."""

from __future__ import annotations

import inspect
import logging
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pronghorn
import pronghorn.logging
import pytest
import uvicorn
import uvicorn.logging
import uvicorn.server
from conftest import Start
from pronghorn.server import ServerState
from support.server import Server

WAIT_S_MAX = 10.0

SSE_APP = """
import asyncio
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route

async def events(request):
    async def endless():
        while True:
            yield {"data": "tick"}
            await asyncio.sleep(0.05)
    return EventSourceResponse(endless())

app = Starlette(routes=[Route("/", events)])
"""

AT_EXIT = """
import atexit, os, socket, threading, time

def end():
    server.should_exit = True
    thread.join()
    print("ended")

if ENDS:
    # Before Pronghorn is imported, so that it is called last.
    atexit.register(end)

import pronghorn

async def app(scope, receive, send):
    begun.set()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        open(os.devnull).close()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})

begun = threading.Event()
config = pronghorn.Config(app, port=0, lifespan="off", access_log=False, log_level="error")
server = pronghorn.Server(config)
thread = threading.Thread(target=server.run, daemon=True)
thread.start()
while not server.started:
    time.sleep(0.005)
client = socket.create_connection(server.servers[0].sockets[0].getsockname())
client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
begun.wait()
"""

WSGI_APPS = """
import flask
flask_app = flask.Flask("site")

@flask_app.route("/<name>", methods=["GET", "POST"])
def hello(name):
    request = flask.request
    return f"{request.method} {name} {request.args.get('a')} {request.get_data(as_text=True)}"

import django
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DEBUG=False)
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def view(request, name):
    body = request.body.decode()
    return HttpResponse(f"{request.method} {name} {request.GET.get('a')} {body}")

from django.views.decorators.csrf import csrf_exempt
urlpatterns = [path("<name>", csrf_exempt(view))]
django_app = get_wsgi_application()
"""


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def public_names(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_objects_have_every_public_name_of_uvicorns() -> None:
    configs = uvicorn.Config(app), pronghorn.Config(app)
    for config in configs:
        config.load()
    pairs: list[tuple[object, object]] = [
        configs,
        (uvicorn.Server(configs[0]), pronghorn.Server(configs[1])),
        (uvicorn.server.ServerState(), ServerState()),
        (uvicorn, pronghorn),
    ]
    for name in ("DefaultFormatter", "AccessFormatter", "ColourizedFormatter"):
        pairs.append((getattr(uvicorn.logging, name)(), getattr(pronghorn.logging, name)()))
    # Submodules of Uvicorn that happen to be imported.
    modules = {name for name, value in vars(uvicorn).items() if inspect.ismodule(value)}
    missing = {
        (type(theirs).__name__, name)
        for theirs, ours in pairs
        for name in public_names(theirs) - public_names(ours) - modules
    }
    assert not missing


@pytest.mark.parametrize("name", ["run", "serve", "startup", "main_loop", "on_tick", "shutdown"])
def test_methods_take_what_uvicorns_take(name: str) -> None:
    theirs = inspect.signature(getattr(uvicorn.Server, name)).parameters
    ours = inspect.signature(getattr(pronghorn.Server, name)).parameters
    assert list(ours) == list(theirs)


def test_config_takes_positions_as_uvicorn_does() -> None:
    theirs = list(inspect.signature(uvicorn.Config).parameters)
    assert list(inspect.signature(pronghorn.Config).parameters)[: len(theirs)] == theirs
    # `run` has them in an order of its own, and is called by name.
    assert set(inspect.signature(uvicorn.run).parameters) <= set(
        inspect.signature(pronghorn.run).parameters
    )


def test_server_in_a_thread_is_polled_asked_for_its_port_and_ended() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"threaded"})

    class Threaded(pronghorn.Server):
        def install_signal_handlers(self) -> None:
            pass

    config = pronghorn.Config(answer, port=0, lifespan="off", log_level="error")
    server = Threaded(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + WAIT_S_MAX
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.005)
    host, port = server.servers[0].sockets[0].getsockname()
    with urllib.request.urlopen(f"http://{host}:{port}/") as response:
        assert response.read() == b"threaded"
    # As of the last tick, a tenth of a second ago at most.
    while server.server_state.total_requests != 1:
        assert time.monotonic() < until
        time.sleep(0.005)
    server.should_exit = True
    thread.join(WAIT_S_MAX)
    assert not thread.is_alive()


@pytest.mark.parametrize(("ends", "said"), [(False, ""), (True, "ended\n")])
def test_program_ends_while_its_thread_serves_a_request(ends: bool, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"ENDS = {ends}\n{AT_EXIT}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_formatter_that_overrides_colours_is_obeyed() -> None:
    class Mine(pronghorn.logging.ColourizedFormatter):
        def __init__(self) -> None:
            super().__init__("%(levelprefix)s %(message)s", use_colors=True)
            self.level_name_colors = {logging.INFO: lambda name: f"<{name}>"}

    record = logging.LogRecord("a", logging.INFO, "", 0, "text", (), None)
    assert Mine().format(record) == "<INFO>:     text"


@pytest.mark.parametrize("command", [None, "python -m pronghorn.compat -m uvicorn"])
def test_sse_starlette_ends_its_streams_with_the_server(
    command: str | None, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sse_app.py").write_text(SSE_APP)
    if command:
        monkeypatch.setenv("PRONGHORN_TEST_SERVER", command)
    server: Server = start("sse_app:app", "--app-dir", str(tmp_path))
    with server.connect() as wire:
        wire.send_request("GET", "/")
        wire.read_until(b"data: tick\r\n")
        server.signal(signal.SIGTERM)
        # There is no grace period that would end it.
        assert server.wait() == -signal.SIGTERM
    assert "Finished server process" in server.stderr.text()


@pytest.mark.parametrize("name", ["flask_app", "django_app"])
def test_wsgi_frameworks_are_served(name: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "wsgi_apps.py").write_text(WSGI_APPS)
    server = start(f"wsgi_apps:{name}", "--app-dir", str(tmp_path), "--interface", "wsgi")
    assert server.get("/one?a=b") == b"GET one b "
    with server.connect() as wire:
        wire.send_request("POST", "/two?a=b", body=b"the body")
        assert wire.response().body == b"POST two b the body"


TYPED = """
import pronghorn

pronghorn.run("main:app", host="0.0.0.0", port=80, log_json=True, bind=[":80"])
config = pronghorn.Config("main:app", "127.0.0.1", 80, workers=2, http="h11")
pronghorn.run("main:app", prot=80)  # E: Unexpected keyword argument "prot"
pronghorn.Config("main:app", port="http")  # E: Argument "port"
pronghorn.run("main:app", lifespan="maybe")  # E: Argument "lifespan"
reveal_type(config.limit_concurrency)  # E: Revealed type is "int | None"
"""


def test_type_checkers_know_the_options(tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        if ".py:" in line:
            said.setdefault(int(line.split(":")[1]), line)  # the first; notes may follow
    expected = {
        number: line.partition("# E: ")[2]
        for number, line in enumerate(TYPED.splitlines(), 1)
        if "# E: " in line
    }
    assert said.keys() == expected.keys(), done.stdout
    assert all(expected[number] in said[number] for number in expected), done.stdout
