"""Fixtures and rules of the black-box suite.

`server` is one process that the byte-level cases share; `start` starts more, with their own
options. Marks: `strict` is for what Pronghorn promises beyond Uvicorn, so that `-m "not strict"`
runs against Uvicorn as well (see `support/server.py`). Without a mark of its own a test has a
minute.
"""

from __future__ import annotations

import contextlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator

import pytest
from support.remote import records
from support.server import Server, serve
from support.tls import Certificates

TEST_S_MAX = 60


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "strict: what Pronghorn promises beyond Uvicorn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S_MAX))


# Connections stay open between tests, so the clocks are far away and the log is short.
SHARED_OPTIONS = ("--no-access-log", "--timeout-keep-alive", "86400")


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with serve("support.apps:app", *SHARED_OPTIONS) as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority of the test run's own."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def shared_tls_server(certificates: Certificates) -> Iterator[Server]:
    """The shared server's twin with TLS."""
    options = certificates.issue("localhost", "127.0.0.1").options
    client = certificates.client()
    with serve("support.apps:app", *SHARED_OPTIONS, *options, client_context=client) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server, alive."""
    assert shared_server.process.poll() is None, shared_server.stderr.text()
    return shared_server


@pytest.fixture(params=["shared_server", "shared_tls_server"], ids=["plain", "tls"])
def every_http1(request: pytest.FixtureRequest) -> Server:
    """The shared server, then its twin with TLS."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["plain", "tls", "http2", "http2-tls"])
def every_transport(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Server]:
    """The same over HTTP/2 as well."""
    has_tls = request.param.endswith("tls")
    found: Server = request.getfixturevalue("shared_tls_server" if has_tls else "shared_server")
    if not request.param.startswith("http2"):
        yield found
        return
    context = certificates.client() if has_tls else None
    if context is not None:
        context.set_alpn_protocols(["h2"])
    with found.over_http2(context) as twin:
        yield twin


@pytest.fixture(params=["http1", "http2"])
def every_version(request: pytest.FixtureRequest, shared_server: Server) -> Iterator[Server]:
    """The shared server, alive, to clients of both versions."""
    assert shared_server.process.poll() is None, shared_server.stderr.text()
    with speaking(shared_server, request.param) as spoken:
        yield spoken


@contextlib.contextmanager
def speaking(server: Server, version: str) -> Iterator[Server]:
    """A plain server to clients of the version."""
    if version == "http1":
        yield server
    else:
        with server.over_http2() as twin:
            yield twin


def loops() -> list[str]:
    return ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


@pytest.fixture(scope="session", params=loops())
def loop_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server on each event loop."""
    with serve("support.apps:app", *SHARED_OPTIONS, "--loop", request.param) as server:
        yield server


@pytest.fixture(params=["http1", "http2"])
def every_loop(request: pytest.FixtureRequest, loop_server: Server) -> Iterator[Server]:
    """A server on each event loop, alive, to clients of both versions."""
    assert loop_server.process.poll() is None, loop_server.stderr.text()
    with speaking(loop_server, request.param) as spoken:
        yield spoken


Start = Callable[..., Server]


@contextlib.contextmanager
def starting() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(serve(*arguments, **options))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers of the test's own, with the arguments of `serve`."""
    with starting() as started:
        yield started


@pytest.fixture(params=["http1", "http2"])
def start_spoken(request: pytest.FixtureRequest, start: Start) -> Iterator[Start]:
    """The same for servers to clients of both versions."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(
            speaking(start(*arguments, **options), request.param)
        )


@pytest.fixture(scope="module")
def start_module() -> Iterator[Start]:
    """The same for servers that a module's tests share."""
    with starting() as started:
        yield started


@pytest.fixture
def nothing_is_smuggled(server: Server) -> Iterator[None]:
    """The application must not see a request for `/smuggled` during the test."""
    server.get("/forget/smuggled")
    yield
    assert not records(server, "smuggled")


@pytest.fixture
def key() -> str:
    """A name that no other test uses, for records and gates."""
    return uuid.uuid4().hex[:12]
