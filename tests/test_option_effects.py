"""What options do that no other file is about; `support/option_effects.py` lists them all."""

from __future__ import annotations

import contextlib
import errno
import select
import signal
import socket
import ssl
from pathlib import Path

import pytest
from conftest import Start
from pronghorn.config import Config
from pronghorn.supervisors.statreload import StatReload
from support.frames import WebSocket
from support.remote import literal
from support.server import Server
from support.tls import Certificates

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        print("lifespan seen", flush=True)
        raise NotImplementedError
    body = os.environ.get("GREETING", "none").encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})

def wsgi(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode()]

def asgi2(scope):
    async def instance(receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["asgi"]["version"].encode()})
    return instance
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "effects_app.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["auto", "h11", "httptools", "zttp", "uvicorn.protocols.http.h11_impl:H11Protocol"]
)
def test_every_name_of_http_is_the_engine(name: str, start: Start) -> None:
    server = start("support.apps:app", "--http", name)
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert wire.response().header(b"server") == b"pronghorn"


@pytest.mark.parametrize(
    ("mode", "is_seen", "line"),
    [
        ("auto", True, "ASGI 'lifespan' protocol appears unsupported."),
        ("off", False, "Pronghorn running on"),
        ("on", True, "Application startup failed. Exiting."),
    ],
)
def test_lifespan_is_spoken_as_told(
    mode: str, is_seen: bool, line: str, start: Start, directory: Path
) -> None:
    # With `on` the server does not start.
    outcome = (
        pytest.raises(AssertionError, match=line) if mode == "on" else contextlib.nullcontext()
    )
    with outcome:
        server = start("effects_app:app", "--app-dir", str(directory), "--lifespan", mode)
        server.stderr.wait_for(line)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert ("lifespan seen" in server.stdout.text()) == is_seen


def test_env_file_reaches_the_application(start: Start, directory: Path) -> None:
    path = directory / "greeting.env"
    path.write_text("GREETING=hello\n")
    app = ("effects_app:app", "--app-dir", str(directory))
    assert start(*app).get("/") == b"none"
    server = start(*app, "--env-file", str(path))
    assert server.get("/") == b"hello"
    server.stderr.wait_for(f"Loading environment from '{path}'")


def test_log_level_says_what_is_logged(start: Start) -> None:
    traced = start("support.apps:app", "--log-level", "trace")
    traced.get("/")
    traced.stderr.wait_for(r"TRACE: .* ASGI \[\d+\] Completed")
    quiet = start("support.apps:app", "--log-level", "info")
    quiet.get("/")
    quiet.signal(signal.SIGINT)
    quiet.wait()
    assert "TRACE" not in quiet.stderr.text()


@pytest.mark.parametrize(
    ("app", "interface", "body"),
    [("asgi2", "auto", b"2.0"), ("asgi2", "asgi2", b"2.0"), ("wsgi", "wsgi", b"GET")],
)
def test_interface_is_that_of_the_application(
    app: str, interface: str, body: bytes, start: Start, directory: Path
) -> None:
    server = start(f"effects_app:{app}", "--app-dir", str(directory), "--interface", interface)
    assert server.get("/") == body


def client_and_scheme(server: object, *fields: str) -> tuple[str, str]:
    scope = literal(server, "/scope", *fields)  # type: ignore[arg-type]
    return scope["client"][0], scope["scheme"]


def test_proxy_headers_can_be_turned_off(start_spoken: Start) -> None:
    fields = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert client_and_scheme(start_spoken(), *fields) == ("1.2.3.4", "https")
    off = start_spoken("support.apps:app", "--no-proxy-headers")
    assert client_and_scheme(off, *fields) == ("127.0.0.1", "http")


def test_networks_are_trusted(start_spoken: Start) -> None:
    field = "X-Forwarded-For: 1.2.3.4, 10.1.2.3"
    for networks, client in (
        ("127.0.0.0/8,10.0.0.0/8", "1.2.3.4"),
        ("127.0.0.1", "10.1.2.3"),
        ("10.0.0.0/8", "127.0.0.1"),
    ):
        server = start_spoken("support.apps:app", "--forwarded-allow-ips", networks)
        assert client_and_scheme(server, field)[0] == client
    for networks in ("10.0.0.0/8", ""):
        environment = {"FORWARDED_ALLOW_IPS": networks}
        server = start_spoken("support.apps:app", environment=environment)
        assert client_and_scheme(server, field)[0] == "127.0.0.1"


def test_forwarded_header_says_which_fields_count(start_spoken: Start) -> None:
    both = ("X-Forwarded-For: 1.1.1.1", 'Forwarded: for="2.2.2.2:80";proto=https')
    for name, seen in (
        ("auto", ("1.1.1.1", "http")),
        ("x-forwarded", ("1.1.1.1", "http")),
        ("forwarded", ("2.2.2.2", "https")),
    ):
        server = start_spoken("support.apps:app", "--forwarded-header", name)
        assert client_and_scheme(server, *both) == seen
        if name == "auto":
            assert client_and_scheme(server, both[1]) == ("2.2.2.2", "https")


def test_backlog_is_that_of_the_socket(start: Start) -> None:
    server = start("support.apps:app", "--backlog", "3")
    # Linux lets one more wait than was asked for; the rest gets no answer to its SYN.
    server.signal(signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(8)]
            for client in clients:
                client.setblocking(False)
                assert client.connect_ex(server.address) == errno.EINPROGRESS
            _, connected, _ = select.select([], clients, [], 0.3)
            assert len(connected) == 4
    finally:
        server.signal(signal.SIGCONT)


def test_uvicorns_name_of_the_head_limit_is_obeyed(start: Start) -> None:
    server = start("support.apps:app", "--h11-max-incomplete-event-size", "500")
    for size, status in ((300, 200), (600, 431)):
        with server.connect() as wire:
            wire.send_request("GET", "/", f"X-A: {'a' * size}")
            assert wire.response().status == status


@pytest.mark.parametrize(
    ("option", "version", "cipher"),
    [
        (("--ssl-version", "5"), "TLSv1.2", None),  # ssl.PROTOCOL_TLSv1_2
        (("--ssl-ciphers", "ECDHE-ECDSA-AES256-SHA384"), "TLSv1.2", "ECDHE-ECDSA-AES256-SHA384"),
        ((), "TLSv1.3", None),
    ],
    ids=["version", "ciphers", "default"],
)
def test_tls_is_as_the_options_say(
    option: tuple[str, ...],
    version: str,
    cipher: str | None,
    start: Start,
    certificates: Certificates,
) -> None:
    files = certificates.issue("localhost")
    client = certificates.client()
    server = start("support.apps:app", *files.options, *option, client_context=client)
    if cipher:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", server.port)) as connection,
        client.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        assert secure.version() == version
        assert cipher is None or secure.cipher()[0] == cipher  # type: ignore[index]


def growth_bytes(server: Server) -> int:
    """What stays of the memory for forty WebSockets that have compressed a message."""
    with contextlib.ExitStack() as stack:
        server.barrier()
        before = server.rss_bytes()
        for _ in range(40):
            offer = "Sec-WebSocket-Extensions: permessage-deflate"
            opened = stack.enter_context(WebSocket(server, "/echo", offer))
            opened.text("text " * 200)
            assert opened.frame().rsv == 4
        return server.rss_bytes() - before


def test_codecs_of_websockets_are_kept(start: Start) -> None:
    few = growth_bytes(start("support.apps:app", "--ws-deflate-codecs", "1"))
    many = growth_bytes(start("support.apps:app", "--ws-deflate-codecs", "64"))
    assert many > few + (2 << 20)


def test_reload_delay_lies_between_two_looks_at_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "watched.py"
    path.write_text("")
    config = Config("watched:app", reload=True, reload_dirs=[str(tmp_path)], reload_delay=7.5)
    reloader = StatReload(config, lambda: None, [])
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        # The change comes during the delay, and is seen after it.
        waited.append(seconds)
        path.write_text("changed")
        return False

    monkeypatch.setattr(reloader.should_exit, "wait", wait)
    assert reloader.should_restart() == [path.resolve()]
    assert waited == [7.5]
