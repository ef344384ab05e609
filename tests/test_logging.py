"""Log lines: their look, their configuration, and that nothing unescaped gets into them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pronghorn import log_setup
from pronghorn.access_log import client_address, open_access_log, path_with_query_string
from pronghorn.config import LOGGING_CONFIG, Config
from pronghorn.errors import ConfigurationError
from pronghorn.logging import TRACE_LOG_LEVEL, AccessFormatter, ColourizedFormatter

ACCESS_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'


@pytest.fixture(autouse=True)
def untouched_loggers() -> Iterator[None]:
    forget_loggers()
    yield
    forget_loggers()


def forget_loggers() -> None:
    known = logging.root.manager.loggerDict
    for name in log_setup.LOGGER_NAMES:
        logger = logging.getLogger(name)
        logger.handlers, logger.filters = [], []
        logger.setLevel(logging.NOTSET)
        logger.propagate, logger.disabled = True, False
        known.pop(name.replace("pronghorn", "uvicorn"), None)


def scope(path: str = "/", query: bytes = b"", client: Any = ("127.0.0.1", 5)) -> Any:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query,
        "http_version": "1.1",
        "client": client,
    }


def record(level: int, message: str, *arguments: Any, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("pronghorn.error", level, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def configured(**options: Any) -> None:
    Config("main:app", **options)


def test_level_is_padded_to_nine_characters() -> None:
    formatter = ColourizedFormatter("%(levelprefix)s %(message)s", use_colors=False)
    assert formatter.format(record(logging.INFO, "up")) == "INFO:     up"
    assert formatter.format(record(logging.CRITICAL, "down %d", 1)) == "CRITICAL: down 1"


def test_colours_replace_the_message_and_leave_the_record_alone() -> None:
    formatter = ColourizedFormatter("%(levelprefix)s %(message)s", use_colors=True)
    made = record(logging.INFO, "pid [%d]", 7, color_message="pid [\033[36m%d\033[0m]")
    assert formatter.format(made) == "\033[32mINFO\033[0m:     pid [\033[36m7\033[0m]"
    assert made.getMessage() == "pid [7]"
    assert "levelprefix" not in made.__dict__


@pytest.mark.parametrize(
    ("status", "shown"),
    [(200, "200 OK"), (404, "404 Not Found"), (299, "299 "), (700, "700 ")],
)
def test_access_line_is_that_of_uvicorn(status: int, shown: str) -> None:
    formatter = AccessFormatter(ACCESS_FORMAT, use_colors=False)
    made = record(
        logging.INFO, '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/a?b=c", "1.1", status
    )
    assert formatter.format(made) == f'INFO:     127.0.0.1:5 - "GET /a?b=c HTTP/1.1" {shown}'


def test_access_line_has_colours() -> None:
    formatter = AccessFormatter("%(request_line)s %(status_code)s", use_colors=True)
    made = record(logging.INFO, "%s%s%s%s%d", "", "GET", "/", "1.1", 503)
    assert formatter.format(made) == (
        "\033[1mGET / HTTP/1.1\033[0m \033[91m503 Service Unavailable\033[0m"
    )


def test_access_record_has_five_arguments() -> None:
    configured()
    seen: list[Any] = []
    logger = logging.getLogger("pronghorn.access")

    def remember(each: logging.LogRecord) -> bool:
        seen.append(each.args)
        return True

    logger.addFilter(remember)
    access_log = open_access_log()
    assert access_log is not None
    access_log.record(scope("/a b", b"c=d"), 201)
    assert seen == [("127.0.0.1:5", "GET", "/a%20b?c=d", "1.1", 201)]


@pytest.mark.parametrize("options", [{"access_log": False}, {"log_level": "warning"}])
def test_silent_access_log_has_no_hook(options: dict[str, Any]) -> None:
    configured(**options)
    assert open_access_log() is None


@pytest.mark.parametrize("code", [*range(0x21), 0x22, 0x5C, *range(0x7F, 0x120), 0x202E, 0xFFFD])
def test_path_is_printable_ascii(code: int) -> None:
    shown = path_with_query_string(scope(f"/a{chr(code)}b"))
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(' "\\') & set(shown)


@pytest.mark.parametrize("code", range(256))
def test_query_string_is_printable_ascii(code: int) -> None:
    shown = path_with_query_string(scope("/", b"a" + bytes([code]) + b"b"))
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(' "') & set(shown)
    if 0x22 < code < 0x7F:
        assert shown == f"/?a{chr(code)}b"


def test_client_is_printable_ascii() -> None:
    assert client_address(("\x1b[31m\x9b", 0)) == r"\x1b[31m\x9b:0"
    assert client_address(("::1", 80)) == "::1:80"
    assert client_address(None) == ""


def test_traceback_has_no_control_characters() -> None:
    formatter = ColourizedFormatter("%(message)s", use_colors=False)
    try:
        raise ValueError("a\x1b[31m\x9b\r\nb")
    except ValueError:
        text = formatter.formatException(sys.exc_info())
    assert text.splitlines()[-2:] == [r"ValueError: a\x1b[31m\x9b\x0d", "b"]


@pytest.mark.parametrize("name", ["pronghorn.error", "pronghorn.access", "pronghorn.asgi"])
def test_log_level_sets_every_logger(name: str) -> None:
    configured(log_level="TRACE")
    assert logging.getLogger(name).getEffectiveLevel() == TRACE_LOG_LEVEL
    assert logging.getLevelName(TRACE_LOG_LEVEL) == "TRACE"
    configured(log_level=logging.ERROR)
    assert logging.getLogger(name).getEffectiveLevel() == logging.ERROR


def test_default_configuration_is_not_changed_by_use() -> None:
    before = deepcopy(LOGGING_CONFIG)
    configured(use_colors=True)
    assert before == LOGGING_CONFIG
    formatter = logging.getLogger("pronghorn").handlers[0].formatter
    assert isinstance(formatter, ColourizedFormatter)
    assert formatter.use_colors


def test_none_leaves_the_handlers_alone() -> None:
    handler = logging.NullHandler()
    logging.getLogger("pronghorn").addHandler(handler)
    configured(log_config=None)
    assert logging.getLogger("pronghorn").handlers == [handler]


UVICORN_CONFIG: dict[str, Any] = {
    "version": 1,
    "formatters": {
        "default": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "D %(message)s"},
        "access": {"()": "uvicorn.logging.AccessFormatter", "fmt": "A %(request_line)s"},
    },
    "handlers": {
        "default": {
            "class": "logging.StreamHandler",
            "formatter": "default",
            "stream": "ext://sys.stderr",
        },
        "access": {
            "class": "logging.StreamHandler",
            "formatter": "access",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}

UVICORN_INI = """
[loggers]
keys = root,error,access
[handlers]
keys = default,access
[formatters]
keys = default,access
[logger_root]
handlers =
[logger_error]
qualname = uvicorn.error
handlers = default
level = INFO
propagate = 0
[logger_access]
qualname = uvicorn.access
handlers = access
level = INFO
propagate = 0
[handler_default]
class = StreamHandler
args = (sys.stderr,)
formatter = default
[handler_access]
class = StreamHandler
args = (sys.stdout,)
formatter = access
[formatter_default]
class = uvicorn.logging.DefaultFormatter
format = D %(message)s
[formatter_access]
class = uvicorn.logging.AccessFormatter
format = A %(request_line)s
"""


def written(directory: Path, kind: str) -> Any:
    if kind == "dictionary":
        return UVICORN_CONFIG
    if kind == "parser":
        parser = RawConfigParser()
        parser.read_string(UVICORN_INI)
        return parser
    if kind == "file":
        return io.StringIO(UVICORN_INI)
    path = directory / f"log.{kind}"
    # JSON is YAML.
    path.write_text(UVICORN_INI if kind == "ini" else json.dumps(UVICORN_CONFIG))
    return path if kind == "json" else str(path)


@pytest.mark.parametrize("kind", ["dictionary", "json", "yaml", "yml", "ini", "parser", "file"])
def test_configuration_for_uvicorn_works(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind in ("yaml", "yml"):
        pytest.importorskip("yaml")
    configured(log_config=written(tmp_path, kind))
    logging.getLogger("pronghorn.error").info("line")
    access_log = open_access_log()
    assert access_log is not None
    access_log.record(scope("/x"), 200)
    printed = capsys.readouterr()
    assert (printed.err, printed.out) == ("D line\n", "A GET /x HTTP/1.1\n")


def is_no_health_check(each: logging.LogRecord) -> bool:
    return isinstance(each.args, tuple) and each.args[2] != "/health"


def test_names_of_uvicorn_are_those_of_pronghorn(capsys: pytest.CaptureFixture[str]) -> None:
    early = logging.getLogger("uvicorn.error")
    configured()
    early.info("through a logger from before")
    logging.getLogger("uvicorn.error").info("through one from after")
    logging.getLogger("uvicorn.access").addFilter(is_no_health_check)
    access_log = open_access_log()
    assert access_log is not None
    access_log.record(scope("/health"), 200)
    access_log.record(scope("/other"), 200)
    printed = capsys.readouterr()
    assert printed.err == (
        "INFO:     through a logger from before\nINFO:     through one from after\n"
    )
    assert "/other" in printed.out
    assert "/health" not in printed.out


def said_by(program: str) -> list[str]:
    """What a program of its own writes to stderr; it may disable loggers as it likes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


PROGRAM = """
import logging, logging.config
from pronghorn.config import Config, LOGGING_CONFIG

def dictionary(*names, **options):
    handler = {"class": "logging.StreamHandler", "formatter": "named"}
    return {
        "version": 1,
        "formatters": {"named": {"format": "MINE %(message)s"}},
        "handlers": {"one": handler},
        "loggers": {
            name: {"handlers": ["one"], "level": "INFO", "propagate": False} for name in names
        },
        **options,
    }

def log():
    logging.getLogger("pronghorn.error").info("line")
    logging.getLogger("pronghorn.access").info("request")
"""


@pytest.mark.parametrize(
    "names", [("uvicorn", "uvicorn.access"), ("uvicorn",), ("uvicorn.error", "uvicorn.access")]
)
@pytest.mark.parametrize("options", [{}, {"disable_existing_loggers": False}])
def test_loggers_that_were_set_up_before_are_kept(
    names: tuple[str, ...], options: dict[str, bool]
) -> None:
    assert said_by(
        f"logging.config.dictConfig(dictionary(*{names}, **{options}))\n"
        "held = logging.getLogger('uvicorn.error')\n"
        "Config('main:app', log_config=None)\n"
        "log()\n"
        "held.info('held')"
    ) == ["MINE line", "MINE request", "MINE held"]


def test_logger_that_was_disabled_before_stays_so() -> None:
    assert said_by(
        "logging.config.dictConfig(dictionary('uvicorn', 'uvicorn.access'))\n"
        "logging.getLogger('uvicorn.access').disabled = True\n"
        "Config('main:app', log_config=None)\n"
        "log()"
    ) == ["MINE line"]


@pytest.mark.parametrize("package", ["uvicorn", "pronghorn"])
@pytest.mark.parametrize("names", [("", ".error", ".access"), ("",)])
def test_configuration_disables_no_logger_by_its_other_name(
    package: str, names: tuple[str, ...]
) -> None:
    loggers = [f"{package}{name}" for name in names]
    lines = ["MINE line", "MINE request"]
    # The application configures them when it is imported.
    assert (
        said_by(f"Config('main:app')\nlogging.config.dictConfig(dictionary(*{loggers}))\nlog()")
        == lines
    )
    assert said_by(f"Config('main:app', log_config=dictionary(*{loggers}))\nlog()") == lines


@pytest.mark.parametrize(
    ("options", "lines"), [({}, []), ({"disable_existing_loggers": False}, ["INFO:     line"])]
)
def test_configuration_of_other_loggers_is_obeyed(
    options: dict[str, bool], lines: list[str]
) -> None:
    assert (
        said_by(
            "Config('main:app')\n"
            f"logging.config.dictConfig(dictionary('mine', **{options}))\n"
            "logging.getLogger('pronghorn.error').info('line')"
        )
        == lines
    )


@pytest.mark.parametrize("name", ["uvicorn.access", "pronghorn.access"])
def test_program_disables_a_logger_by_either_name(name: str) -> None:
    assert said_by(
        "Config('main:app', log_config=dictionary('pronghorn'))\n"
        f"logging.getLogger('{name}').disabled = True\n"
        "log()"
    ) == ["MINE line"]


def test_class_of_loggers_that_a_program_has_set_is_kept() -> None:
    assert said_by(
        "class Mine(logging.Logger):\n"
        "    def makeRecord(self, name, level, fn, lno, msg, *rest, **more):\n"
        "        return super().makeRecord(name, level, fn, lno, 'own ' + msg, *rest, **more)\n"
        "for name in ('pronghorn.error', 'pronghorn.access'):\n"
        "    logging.getLogger(name).__class__ = Mine\n"
        "Config('main:app', log_config=dictionary('uvicorn'))\n"
        "log()"
    ) == ["MINE own line", "MINE own request"]


@pytest.mark.parametrize("name", ["uvicorn", "pronghorn"])
def test_default_logger_can_be_replaced_under_either_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = deepcopy(LOGGING_CONFIG)
    mine["loggers"][f"{name}.error"] = {"level": "ERROR"}
    mine["loggers"][f"{name}.access"] = {"handlers": ["default"], "level": "ERROR"}
    configured(log_config=mine)
    logging.getLogger("pronghorn.error").warning("unheard")
    logging.getLogger("pronghorn.error").error("heard")
    assert capsys.readouterr().err == "ERROR:    heard\n"
    assert not logging.getLogger("pronghorn.access").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("name", ["uvicorn", "pronghorn"])
def test_default_logger_can_be_deleted_under_either_name(name: str) -> None:
    mine = deepcopy(LOGGING_CONFIG)
    del mine["loggers"][f"{name}.access"]
    configured(log_config=mine)
    access = logging.getLogger("pronghorn.access")
    assert (access.handlers, access.propagate) == ([], True)


def test_stream_in_a_dictionary_is_used_as_it_is() -> None:
    stream = io.StringIO()
    mine = deepcopy(LOGGING_CONFIG)
    mine["handlers"]["default"]["stream"] = stream
    configured(log_config=mine, use_colors=False)
    logging.getLogger("pronghorn.error").info("here")
    assert stream.getvalue() == "INFO:     here\n"


def test_ini_file_may_refer_to_its_own_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.ini"
    defaults = "[DEFAULT]\nstream = sys.stderr\n"
    path.write_text(defaults + UVICORN_INI.replace("(sys.stderr,)", "(%(stream)s,)"))
    for source in (str(path), io.StringIO(path.read_text())):
        configured(log_config=source)
        logging.getLogger("pronghorn.error").info("line")
        assert capsys.readouterr().err == "D line\n"


@pytest.mark.parametrize(
    "arguments", ["('/nowhere/log',)", "(nothing,)", "(1, 2, 3)", "(", "(1 / 0,)", "%(nothing)s"]
)
def test_handler_of_an_ini_file_that_cannot_be_made_is_one_line(
    arguments: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.ini"
    text = UVICORN_INI.replace(
        "class = StreamHandler\nargs = (sys.stderr,)", "class = FileHandler\nargs = " + arguments
    )
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"^`log_config` cannot be used: ") as caught:
        configured(log_config=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken.json", "{"),
        ("list.json", "[]"),
        ("unknown.json", '{"version": 1, "handlers": {"a": {"class": "no.such"}}}'),
        ("version.json", '{"version": 2}'),
        ("loggers.json", '{"version": 1, "loggers": []}'),
        ("broken.ini", "no section"),
        ("empty.ini", "[loggers]\n"),
        ("missing.json", None),
        ("missing.ini", None),
    ],
)
def test_file_that_cannot_be_used_is_one_line(name: str, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"^`log_config` ") as caught:
        configured(log_config=str(path))
    assert "\n" not in str(caught.value)


def test_yaml_without_its_package_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "log.yaml").write_text("version: 1\n")
    with pytest.raises(ConfigurationError, match="needs the `PyYAML` package"):
        configured(log_config=str(tmp_path / "log.yaml"))
