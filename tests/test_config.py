"""`Config`: what it makes of its options, of the environment and of the application."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pronghorn.config import Config
from pronghorn.errors import ConfigurationError
from pronghorn.interfaces import ASGI2Middleware
from pronghorn.lifespan import LifespanOff, LifespanOn
from pronghorn.message_logger import MessageLoggerMiddleware
from pronghorn.proxy_headers import ProxyHeadersMiddleware, TrustedProxies


async def asgi3(scope: Any, receive: Any, send: Any) -> None: ...


def returns_asgi3(scope: Any, receive: Any, send: Any) -> Any:
    return asgi3(scope, receive, send)


def takes_anything(*arguments: Any, **options: Any) -> Any:
    return returns_asgi3(*arguments, **options)


def asgi2(scope: Any) -> Any:
    async def instance(receive: Any, send: Any) -> None:
        await send(scope)

    return instance


class ASGI2:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


class ASGI3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def factory() -> Any:
    return asgi3


def demanding_factory(name: str) -> Any: ...


def failing_factory() -> Any:
    raise TypeError("inside the factory")


def loaded(app: Any, **options: Any) -> Config:
    # What loading installs for FastAPI would stay in this process, for all other tests.
    config = Config(app, **{"accelerate": "off", **options})
    config.load()
    return config


def exit_code(config: Config) -> Any:
    with pytest.raises(SystemExit) as caught:
        config.load()
    return caught.value.code


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi3, "asgi3"),
        (ASGI3(), "asgi3"),
        (ASGI3().__call__, "asgi3"),
        (functools.partial(asgi3), "asgi3"),
        (returns_asgi3, "asgi3"),
        (takes_anything, "asgi2"),
        (asgi2, "asgi2"),
        (ASGI2, "asgi2"),
    ],
)
def test_interface_is_detected(app: Any, interface: str) -> None:
    config = loaded(app)
    assert config.interface == interface
    assert config.asgi_version == ("2.0" if interface == "asgi2" else "3.0")
    assert config.loaded
    if interface == "asgi3":
        assert config.loaded_app is app


def test_interface_that_is_named_is_believed() -> None:
    assert loaded(takes_anything, interface="asgi3").loaded_app is takes_anything


def test_asgi2_application_is_served_as_version_2() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app: Any = loaded(asgi2).loaded_app
    assert isinstance(app, ASGI2Middleware)
    serve: Any = app
    asyncio.run(serve({"asgi": {"version": "3.0", "spec_version": "2.3"}}, None, send))
    assert sent == [{"asgi": {"version": "2.0", "spec_version": "2.3"}}]


def test_wsgi_without_its_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    with pytest.raises(ConfigurationError, match="needs the `a2wsgi` package"):
        loaded(asgi2, interface="wsgi")


def test_wsgi_application_is_wrapped() -> None:
    a2wsgi = pytest.importorskip("a2wsgi")
    config = loaded(lambda environ, start_response: [], interface="wsgi")
    assert isinstance(config.loaded_app, a2wsgi.WSGIMiddleware)
    assert config.asgi_version == "3.0"


def test_factory_is_called_when_it_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded(factory, factory=True).loaded_app is asgi3
    assert capsys.readouterr().err == ""


def test_factory_is_detected(capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded(factory).loaded_app is asgi3
    assert capsys.readouterr().err == (
        "WARNING:  ASGI app factory detected. Using it, but please consider setting the "
        "--factory flag explicitly.\n"
    )


def test_factory_that_needs_arguments_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(Config(demanding_factory, factory=True)) == 3
    assert capsys.readouterr().err == (
        "ERROR:    Error loading ASGI app factory: demanding_factory() missing 1 required "
        "positional argument: 'name'\n"
    )


@pytest.mark.parametrize("is_flagged", [True, False])
def test_failing_factory_shows_where(is_flagged: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(Config(failing_factory, factory=is_flagged)) == 3
    said = capsys.readouterr().err
    assert "ERROR:    Error loading ASGI app factory: inside the factory\n" in said
    assert "in failing_factory" in said


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (5, "Error loading ASGI app. `5` is not callable."),
        ("nowhere", 'Error loading ASGI app. Import string "nowhere" must be in format'),
        ("no_such_module:app", 'Error loading ASGI app. Could not import module "no_such_module".'),
    ],
)
def test_application_that_is_none_exits(
    app: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(Config(app)) == 3
    assert f"ERROR:    {line}" in capsys.readouterr().err


def test_loading_twice_is_harmless() -> None:
    config = loaded(asgi3)
    app = config.loaded_app
    config.load()
    assert config.loaded_app is app


@pytest.mark.parametrize(
    ("options", "encoded"),
    [
        ({}, [(b"server", b"pronghorn")]),
        ({"server_header": False}, []),
        (
            {"headers": [("X-A", " b\xe9")]},
            [(b"server", b"pronghorn"), (b"x-a", b"b\xe9")],
        ),
        ({"headers": [("Server", "mine")]}, [(b"server", b"mine")]),
    ],
)
def test_headers_are_encoded(options: Any, encoded: list[tuple[bytes, bytes]]) -> None:
    assert loaded(asgi3, **options).encoded_headers == encoded


def test_trace_level_logs_every_message(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.body", "body": b"secret"})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"12345"}

    async def send(message: Any) -> None: ...

    config = loaded(app, log_level="trace")
    wrapped: Any = config.loaded_app
    assert isinstance(wrapped, MessageLoggerMiddleware)
    asyncio.run(wrapped({"type": "http", "client": ("::1", 5), "headers": []}, receive, send))
    said = capsys.readouterr().err
    assert "secret" not in said
    assert "TRACE:    ::1:5 - ASGI [1] Started scope={'type': 'http'" in said
    assert "ASGI [1] Receive {'type': 'http.request', 'body': '<5 bytes>'}" in said
    assert "ASGI [1] Send {'type': 'http.response.body', 'body': '<6 bytes>'}" in said
    assert "ASGI [1] Completed" in said


def test_other_levels_leave_the_application_bare() -> None:
    assert loaded(asgi3, log_level="debug").loaded_app is asgi3


def test_lifespan_class_follows_the_option() -> None:
    assert Config(asgi3).lifespan_class is LifespanOn
    assert Config(asgi3, lifespan="on").lifespan_class is LifespanOn
    assert Config(asgi3, lifespan="off").lifespan_class is LifespanOff


def test_attributes_that_others_read() -> None:
    config = Config("main:app")
    assert not config.is_ssl
    assert not config.use_subprocess
    assert not config.should_reload
    assert config.workers == 1
    assert config.ws_protocol_class is config.http_protocol_class
    assert Config("main:app", ws="none").ws_protocol_class is None
    with pytest.raises(AttributeError, match="get_loop_factory"):
        config.setup_event_loop()


def test_uvicorn_name_of_the_head_limit_wins() -> None:
    assert Config("main:app").request_header_bytes_max == 65536
    config = Config("main:app", h11_max_incomplete_event_size=1000)
    assert config.request_header_bytes_max == 1000


def test_web_concurrency_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "x")
    with pytest.raises(ConfigurationError, match=r"^`WEB_CONCURRENCY` .*got `x`"):
        Config("main:app")
    assert Config("main:app", workers=1).workers == 1
    for text, workers in (("3", 3), ("0", 1)):
        monkeypatch.setenv("WEB_CONCURRENCY", text)
        assert Config("main:app").workers == workers


def test_forwarded_allow_ips_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config("main:app").forwarded_allow_ips == "127.0.0.1,::1"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert Config("main:app").forwarded_allow_ips == "10.0.0.0/8"
    assert Config("main:app", forwarded_allow_ips="*").forwarded_allow_ips == "*"


def test_env_file_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dotenv")
    path = tmp_path / ".env"
    path.write_text("FORWARDED_ALLOW_IPS=10.1.2.3\nEARLIER=file\n")
    # Both so that they are restored afterwards.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    monkeypatch.setenv("EARLIER", "environment")
    config = Config("main:app", env_file=path)
    assert config.forwarded_allow_ips == "10.1.2.3"
    assert os.environ["EARLIER"] == "environment"
    assert f"INFO:     Loading environment from '{path}'" in capsys.readouterr().err


def test_env_file_that_is_missing_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("dotenv")
    Config("main:app", env_file="/nowhere")
    assert capsys.readouterr().err == "INFO:     Loading environment from '/nowhere'\n"


def test_env_file_without_its_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dotenv", None)
    with pytest.raises(ConfigurationError, match="needs the `python-dotenv` package"):
        Config("main:app", env_file=__file__)


def test_reload_options_without_reload_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    Config("main:app", reload_dirs="src")
    assert "WARNING:  Current configuration will not reload" in capsys.readouterr().err


def test_config_leaves_foreign_loggers_alone() -> None:
    Config("main:app")
    assert logging.getLogger().handlers == logging.root.handlers


def rewritten(
    trusted: Any, *fields: tuple[bytes, bytes], client: Any = ("127.0.0.1", 5), kind: str = "http"
) -> tuple[Any, str]:
    scope = {"type": kind, "client": client, "scheme": "http", "headers": list(fields)}
    TrustedProxies(trusted)(scope)
    return scope["client"], scope["scheme"]


PEER = ("127.0.0.1", 5)


@pytest.mark.parametrize(
    ("trusted", "hops", "client"),
    [
        ("127.0.0.1", b"1.2.3.4", ("1.2.3.4", 0)),
        ("127.0.0.1", b"1.2.3.4:99", ("1.2.3.4", 99)),
        ("127.0.0.1", b"[2001:db8::1]:99", ("2001:db8::1", 99)),
        ("127.0.0.1", b"[2001:db8::1]", ("2001:db8::1", 0)),
        ("127.0.0.1", b"2001:db8::1", ("2001:db8::1", 0)),
        ("127.0.0.1", b"6.6.6.6, 1.2.3.4", ("1.2.3.4", 0)),
        ("127.0.0.1,10.0.0.0/8", b"6.6.6.6, 1.2.3.4, 10.1.1.1", ("1.2.3.4", 0)),
        ("127.0.0.1,10.0.0.0/8", b"1.2.3.4, 10.1.1.1:80", ("1.2.3.4", 0)),
        (["127.0.0.1", "10.0.0.0/8"], b"10.2.2.2, 10.1.1.1", ("10.2.2.2", 0)),
        ("127.0.0.0/8, ::1", b"1.2.3.4", ("1.2.3.4", 0)),
        ("127.0.0.1,0:0:0:0:0:0:0:1", b"1.2.3.4, ::1", ("1.2.3.4", 0)),
        ("*", b"6.6.6.6, 1.2.3.4", ("6.6.6.6", 0)),
        (["*"], b"6.6.6.6, 1.2.3.4", ("6.6.6.6", 0)),
        ("127.0.0.1", b"", PEER),
        ("127.0.0.1", b"unknown", ("unknown", 0)),
        ("127.0.0.1", b"[1.2.3.4", ("[1.2.3.4", 0)),
        ("127.0.0.1", b"[::1]x", ("[::1]x", 0)),
        ("127.0.0.1", b"[::2]:x", ("::2", 0)),
        ("127.0.0.1", b"1.2.3.4:x", ("1.2.3.4:x", 0)),
        ("127.0.0.1,proxy", b"1.2.3.4, proxy", ("1.2.3.4", 0)),
        ("10.0.0.1", b"1.2.3.4", PEER),
        ("", b"1.2.3.4", PEER),
    ],
)
def test_client_is_the_rightmost_untrusted_hop(trusted: Any, hops: bytes, client: Any) -> None:
    assert rewritten(trusted, (b"x-forwarded-for", hops)) == (client, "http")


def test_several_hop_fields_are_one_list() -> None:
    fields = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.2.3.4")]
    assert rewritten("127.0.0.1", *fields)[0] == ("1.2.3.4", 0)


@pytest.mark.parametrize(
    ("values", "kind", "scheme"),
    [
        ([b"https"], "http", "https"),
        ([b" https "], "http", "https"),
        ([b"https", b"http"], "http", "http"),
        ([b"wss"], "http", "wss"),
        ([b"https"], "websocket", "wss"),
        ([b"http"], "websocket", "ws"),
        ([b"gopher"], "http", "http"),
        ([b"https, http"], "http", "http"),
        ([b"HTTPS"], "http", "http"),
    ],
)
def test_last_scheme_counts_if_it_is_known(values: list[bytes], kind: str, scheme: str) -> None:
    fields = [(b"x-forwarded-proto", value) for value in values]
    assert rewritten("127.0.0.1", *fields, kind=kind) == (PEER, scheme)


@pytest.mark.parametrize("client", [None, ("1.2.3.4", 5), ("", 0), ("x" * 300, 0)])
def test_peer_that_is_not_trusted_changes_nothing(client: Any) -> None:
    fields = [(b"x-forwarded-for", b"9.9.9.9"), (b"x-forwarded-proto", b"https")]
    assert rewritten("127.0.0.1", *fields, client=client) == (client, "http")


def test_everyone_is_trusted_by_a_star_even_without_an_address() -> None:
    assert rewritten("*", (b"x-forwarded-for", b"9.9.9.9"), client=None)[0] == ("9.9.9.9", 0)


def forwarded(trusted: Any, *values: bytes, header: Any = "auto") -> tuple[Any, str]:
    fields = [(b"forwarded", value) for value in values]
    scope = {"type": "http", "client": PEER, "scheme": "http", "headers": fields}
    TrustedProxies(trusted, header=header)(scope)
    return scope["client"], scope["scheme"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        (b"for=1.2.3.4", ("1.2.3.4", 0), "http"),
        (b"For=1.2.3.4;Proto=HTTPS;by=10.0.0.1;host=a", ("1.2.3.4", 0), "https"),
        (b'for="1.2.3.4:99" ; proto=https', ("1.2.3.4", 99), "https"),
        (b'for="[2001:db8::1]:99"', ("2001:db8::1", 99), "http"),
        (b'for="[2001:db8::1]"', ("2001:db8::1", 0), "http"),
        (b'for="1.2.\\3.4"', ("1.2.3.4", 0), "http"),
        (b"for=6.6.6.6;proto=https, for=1.2.3.4;proto=http", ("1.2.3.4", 0), "http"),
        (b"for=1.2.3.4;proto=https,for=10.1.1.1;proto=http", ("1.2.3.4", 0), "https"),
        (b"for=10.2.2.2, for=10.1.1.1", ("10.2.2.2", 0), "http"),
        (b", for=1.2.3.4,,", ("1.2.3.4", 0), "http"),
        (b"for=unknown", ("unknown", 0), "http"),
        (b"for=_hidden;proto=https", ("_hidden", 0), "https"),
        (b"proto=https", PEER, "https"),
        (b"proto=gopher", PEER, "http"),
        (b"", PEER, "http"),
        (b"for=[2001:db8::1]", PEER, "http"),
        (b'for="1.2.3.4', PEER, "http"),
        (b"for=1.2.3.4 for=5.6.7.8", PEER, "http"),
        (b"for=1.2.3.4;for=5.6.7.8", PEER, "http"),
        (b"for = 1.2.3.4", PEER, "http"),
        (b"1.2.3.4", PEER, "http"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(value: bytes, client: Any, scheme: str) -> None:
    assert forwarded("127.0.0.1,10.0.0.0/8", value) == (client, scheme)


def test_several_forwarded_fields_are_one_list() -> None:
    assert forwarded("127.0.0.1", b"for=6.6.6.6", b"for=1.2.3.4")[0] == ("1.2.3.4", 0)
    assert forwarded("*", b"for=6.6.6.6", b"for=1.2.3.4")[0] == ("6.6.6.6", 0)
    assert forwarded("10.0.0.1", b"for=6.6.6.6")[0] == PEER


@pytest.mark.parametrize(
    ("header", "client"),
    [("auto", "1.1.1.1"), ("x-forwarded", "1.1.1.1"), ("forwarded", "2.2.2.2")],
)
def test_one_kind_of_field_counts(header: Any, client: str) -> None:
    fields = [(b"x-forwarded-for", b"1.1.1.1"), (b"forwarded", b"for=2.2.2.2")]
    scope: Any = {"type": "http", "client": PEER, "scheme": "http", "headers": fields}
    TrustedProxies(header=header)(scope)
    assert scope["client"] == (client, 0)
    assert forwarded("127.0.0.1", b"for=2.2.2.2", header="x-forwarded")[0] == PEER


def test_a_scheme_alone_rules_out_forwarded() -> None:
    fields = [(b"x-forwarded-proto", b"https"), (b"forwarded", b"for=2.2.2.2")]
    assert rewritten("127.0.0.1", *fields) == (PEER, "https")


def test_fields_of_untrusted_peers_can_be_stripped() -> None:
    fields = [
        (b"forwarded", b"for=2.2.2.2"),
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"x-forwarded-host", b"evil"),
        (b"x-real-ip", b"1.1.1.1"),
        (b"x-forwardedly", b"kept"),
        (b"host", b"a"),
    ]
    for client, left in ((("1.2.3.4", 5), fields[4:]), (None, fields[4:]), (PEER, fields)):
        scope: Any = {"type": "http", "client": client, "scheme": "http", "headers": list(fields)}
        TrustedProxies(strip_untrusted=True)(scope)
        assert scope["headers"] == left


def test_middleware_rewrites_and_passes_on() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    middleware = ProxyHeadersMiddleware(app)
    scope = {
        "type": "http",
        "client": PEER,
        "scheme": "http",
        "headers": [(b"x-forwarded-proto", b"https")],
    }
    asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]
    asyncio.run(middleware({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert [each.get("scheme") for each in seen] == ["https", None]
