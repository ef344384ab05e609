"""The table of options: complete, in Uvicorn's order, and strict about what it is given."""

from __future__ import annotations

import inspect
import re
import runpy
import ssl
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pronghorn
import pytest
from pronghorn.config import Config
from pronghorn.errors import ConfigurationError
from pronghorn.logging import LOGGING_CONFIG
from pronghorn.options import Option
from pronghorn.settings import OPTIONS
from support.option_effects import EFFECTS
from uvicorn.protocols.http.h11_impl import H11Protocol

DOCS = Path(__file__).parent.parent / "docs"

UVICORN_OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8000,
    "uds": None,
    "fd": None,
    "loop": "auto",
    "http": "auto",
    "http2": True,
    "ws": "auto",
    "ws_max_size": 16777216,
    "ws_max_queue": 32,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    "ws_per_message_deflate": True,
    "lifespan": "auto",
    "env_file": None,
    "log_config": LOGGING_CONFIG,
    "log_level": None,
    "access_log": True,
    "use_colors": None,
    "interface": "auto",
    "reload": False,
    "reload_dirs": None,
    "reload_delay": 0.25,
    "reload_includes": None,
    "reload_excludes": None,
    "workers": None,
    "proxy_headers": True,
    "server_header": True,
    "date_header": True,
    "forwarded_allow_ips": None,
    "root_path": "",
    "limit_concurrency": None,
    "limit_max_requests": None,
    "limit_max_requests_jitter": 0,
    "backlog": 2048,
    "timeout_keep_alive": 5,
    "timeout_notify": 30,
    "timeout_graceful_shutdown": None,
    "timeout_worker_healthcheck": 5,
    "callback_notify": None,
    "ssl_keyfile": None,
    "ssl_certfile": None,
    "ssl_keyfile_password": None,
    "ssl_version": int(ssl.PROTOCOL_TLS_SERVER),
    "ssl_cert_reqs": int(ssl.CERT_NONE),
    "ssl_ca_certs": None,
    "ssl_ciphers": None,
    "ssl_context_factory": None,
    "headers": None,
    "factory": False,
    "h11_max_incomplete_event_size": None,
    "reset_contextvars": False,
}
"""The parameters of `Config` in Uvicorn 0.54, in their order, with their defaults; HTTP/2, which is
off in Uvicorn, apart."""

ONLY_FOR_PROGRAMS = {"timeout_notify", "callback_notify", "ssl_context_factory"}

rows = pytest.mark.parametrize("row", OPTIONS.values(), ids=list(OPTIONS))


def complaint(row: Option, value: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        row.accept(value)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"`{row.name}` ")
    return text


def test_uvicorn_options_come_first_and_in_order() -> None:
    assert list(OPTIONS)[: len(UVICORN_OPTIONS)] == list(UVICORN_OPTIONS)


@pytest.mark.parametrize("name", UVICORN_OPTIONS)
def test_default_is_that_of_uvicorn(name: str) -> None:
    parameter = Config.__dataclass_fields__[name]
    default = LOGGING_CONFIG if name == "log_config" else parameter.default
    assert default == UVICORN_OPTIONS[name]


def test_config_and_run_take_exactly_the_table() -> None:
    for function in (Config, pronghorn.run):
        assert list(inspect.signature(function).parameters) == ["app", *OPTIONS]


@rows
def test_default_is_accepted(row: Option) -> None:
    assert row.accept(row.default) == row.default


@rows
def test_type_and_default_agree(row: Option) -> None:
    members = get_args(row.annotation) or (row.annotation,)
    if isinstance(row.annotation, str):
        return  # Written as text because its types are costly to import.
    assert row.optional == (NoneType in members)
    allowed = tuple(each for each in members if isinstance(each, type)) or (str,)
    if float in allowed:
        allowed += (int,)
    assert isinstance(row.default, allowed)


@rows
def test_option_has_help_flag_and_environment_variables(row: Option) -> None:
    assert row.about.endswith((".", "]"))
    assert (row.flag is None) == (row.name in ONLY_FOR_PROGRAMS)
    assert row.environment_variables == [
        f"PRONGHORN_{row.name.upper()}",
        f"UVICORN_{row.name.upper()}",
    ]


@rows
def test_effect_of_the_option_is_observed_by_a_test(row: Option) -> None:
    if row.feature:
        return  # Refused; see below.
    where = EFFECTS.get(row.name)
    assert where, f"write a test and name it for `{row.name}` in tests/support/option_effects.py"
    file, _, test = where.partition("::")
    path = Path(__file__).parent / file
    assert path.is_file(), where
    source = path.read_text()
    assert re.search(rf"def {test}\b", source), f"there is no {where}"
    assert row.name in source or (row.flag or row.name).lstrip("-") in source, where


def test_effects_are_those_of_options() -> None:
    assert not EFFECTS.keys() - OPTIONS.keys()


def test_settings_page_is_that_of_the_table() -> None:
    generated = runpy.run_path(str(DOCS / "generate_settings.py"))["settings_page"]()
    page = (DOCS / "settings.md").read_text()
    assert page == generated, "run `make docs-settings` and commit docs/settings.md"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "http"),
        ("port", 80.5),
        ("fd", -1),
        ("backlog", -1),
        ("workers", -1),
        ("workers", 257),
        ("lifespan", "maybe"),
        ("interface", "cgi"),
        ("http", "h3"),
        ("http", "mine:Protocol"),
        ("http", type("Mine", (H11Protocol,), {})),
        ("ws", "socket.io"),
        ("log_level", "loud"),
        ("access_log", "no"),
        ("limit_concurrency", 0),
        ("limit_max_requests", 0),
        ("limit_max_requests_jitter", -1),
        ("limit_request_headers", 0),
        ("timeout_keep_alive", -0.5),
        ("timeout_keep_alive", None),
        ("timeout_keep_alive", float("nan")),
        ("timeout_write", 0),
        ("timeout_graceful_shutdown", "soon"),
        ("root_path", "/caf\xe9"),
        ("root_path", "/a\n"),
        ("access_log_format", "%(nonsense)s"),
        ("limit_concurrency_exempt", ["health"]),
        ("host", 5),
        ("log_json", "yes"),
    ],
)
def test_value_that_cannot_be_used_is_named(name: str, value: Any) -> None:
    text = complaint(OPTIONS[name], value)
    assert "`" in text.removeprefix(f"`{name}` ")


@pytest.mark.parametrize(
    "header",
    ["nocolon", ("", "x"), ("a b", "x"), ("a\r\nb", "x"), ("caf\xe9", "x"), ("a", "b\r\nc: d")],
)
def test_header_that_is_no_header_is_refused(header: Any) -> None:
    complaint(OPTIONS["headers"], [header])


@pytest.mark.parametrize("code", [*range(0x20), 0x7F])
def test_header_with_a_control_character_is_refused(code: int) -> None:
    complaint(OPTIONS["headers"], [("x-a", f"a{chr(code)}b")])


def test_password_is_not_shown() -> None:
    assert "hunter2" not in complaint(OPTIONS["ssl_keyfile_password"], ["hunter2"])


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("port", "8080", 8080),
        ("timeout_keep_alive", "2.5", 2.5),
        ("timeout_keep_alive", 7, 7),
        ("access_log", 0, False),
        ("ws", "none", "none"),
        ("ws", "wsproto", "wsproto"),
        ("ws", "websockets-sansio", "websockets-sansio"),
        ("ws_ping_interval", None, None),
        ("workers", 1, 1),
        ("workers", 0, 1),
        ("port", None, 0),
        ("ws", None, "none"),
        ("access_log", None, True),
        ("forwarded_allow_ips", ("10.0.0.1", "::1"), ["10.0.0.1", "::1"]),
        ("forwarded_allow_ips", {"*"}, ["*"]),
        ("host", None, None),
        ("http", "httptools", "httptools"),
        ("http", "uvicorn.protocols.http.h11_impl:H11Protocol", "h11"),
        ("http", H11Protocol, "h11"),
        ("log_level", "INFO", "INFO"),
        ("log_level", 17, 17),
        ("headers", [["x-a", "b"]], [["x-a", "b"]]),
    ],
)
def test_value_is_accepted(name: str, given: Any, used: Any) -> None:
    assert OPTIONS[name].accept(given) == used


def test_config_takes_positions_in_order() -> None:
    config = Config("main:app", "::1", 9000, None, 3, "asyncio", log_config=None)
    assert (config.host, config.port, config.uds, config.fd) == ("::1", 9000, None, 3)
    assert config.loop == "asyncio"


def test_config_refuses_a_name_that_is_no_option() -> None:
    with pytest.raises(TypeError, match="unknown_option"):
        Config("main:app", unknown_option=1)  # type: ignore[call-arg]
