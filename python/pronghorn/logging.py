"""How log lines look: levels, the default configuration and its formatters.

`LOGGING_CONFIG` is the dictionary that `--log-config` replaces and that programs may change
before they start a server. The formatters turn records into Uvicorn's lines (`INFO:     ...`),
with colours when their stream is a terminal. Nothing here configures anything: `log_setup.py`
does. The rule: an exception's text may quote a client, so control characters in it are escaped.
"""

import http
import json
import logging
import sys
from collections.abc import Callable, Mapping
from copy import copy
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias

TRACE_LOG_LEVEL = 5

LOG_LEVELS: dict[str, int] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE_LOG_LEVEL,
}

ACCESS_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
"""How an access line looks unless the user says otherwise."""


def default_loggers() -> dict[str, Any]:
    """The loggers of `LOGGING_CONFIG` as they are before any program changes them."""
    return {
        "pronghorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "pronghorn.error": {"level": "INFO"},
        "pronghorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    }


LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "pronghorn.logging.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "pronghorn.logging.AccessFormatter",
            "fmt": ACCESS_FORMAT,
        },
    },
    "handlers": {
        "default": {
            "formatter": "default",
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stderr",
        },
        "access": {
            "formatter": "access",
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": default_loggers(),
}

# The same under the names that programs for Uvicorn look for, such as those that change a level.
for _name, _logger in list(LOGGING_CONFIG["loggers"].items()):
    LOGGING_CONFIG["loggers"]["uvicorn" + _name.removeprefix("pronghorn")] = _logger

COLOURS = {
    "red": 31,
    "green": 32,
    "yellow": 33,
    "blue": 34,
    "cyan": 36,
    "bright_red": 91,
    "bright_white": 97,
}

_ESCAPED_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def style(text: str, fg: str | None = None, bold: bool = False) -> str:
    """`text` between the ANSI codes for a colour of `COLOURS` and for bold."""
    colour = f"\033[{COLOURS[fg]}m" if fg else ""
    weight = "\033[1m" if bold else ""
    return f"{colour}{weight}{text}\033[0m"


Colouring: TypeAlias = Callable[[str], str]


def _in_colour(colour: str) -> Colouring:
    return partial(style, fg=colour)


class ColourizedFormatter(logging.Formatter):
    """Adds `%(levelprefix)s`, the level padded to eight characters and coloured.

    With colours, a record's `color_message` is shown in place of its message.
    """

    level_name_colors: Mapping[int, Colouring] = {
        TRACE_LOG_LEVEL: _in_colour("blue"),
        logging.DEBUG: _in_colour("cyan"),
        logging.INFO: _in_colour("green"),
        logging.WARNING: _in_colour("yellow"),
        logging.ERROR: _in_colour("red"),
        logging.CRITICAL: _in_colour("bright_red"),
    }

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)
        self.use_colors = self.should_use_colors() if use_colors is None else use_colors

    def should_use_colors(self) -> bool:
        """Whether to colour when the user has not said so: when the stream is a terminal."""
        return _is_terminal(sys.stdout)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        """The name of a level in the level's colour."""
        in_colour = self.level_name_colors.get(level_no)
        return in_colour(level_name) if in_colour else level_name

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line for `record`, which is left as it is for other handlers."""
        shown = copy(record)
        level_name = record.levelname
        if self.use_colors:
            level_name = self.color_level_name(level_name, record.levelno)
            if "color_message" in record.__dict__:
                shown.msg = record.__dict__["color_message"]
                shown.message = shown.getMessage()
        shown.__dict__["levelprefix"] = f"{level_name}:{' ' * (8 - len(record.levelname))}"
        return super().formatMessage(shown)

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """The traceback, with control characters that a client may have sent escaped."""
        return super().formatException(ei).translate(_ESCAPED_CONTROLS)


class DefaultFormatter(ColourizedFormatter):
    """For everything but requests; its handler writes to stderr."""

    def should_use_colors(self) -> bool:
        """Whether stderr is a terminal."""
        return _is_terminal(sys.stderr)


class AccessFormatter(ColourizedFormatter):
    """For access records, whose five arguments are client, method, path, version and status."""

    status_code_colours: Mapping[int, Colouring] = {
        1: _in_colour("bright_white"),
        2: _in_colour("green"),
        3: _in_colour("yellow"),
        4: _in_colour("red"),
        5: _in_colour("bright_red"),
    }

    def get_status_code(self, status_code: int) -> str:
        """The status with its reason phrase, coloured by its first digit."""
        status = f"{status_code} {_reason(status_code)}"
        in_colour = self.status_code_colours.get(status_code // 100)
        return in_colour(status) if self.use_colors and in_colour else status

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """The line for one request."""
        line: str | None = record.__dict__.get("access_line")
        if line is not None:
            return line  # The operator's own format; see `access_format.py`.
        shown = copy(record)
        arguments: Any = record.args
        client_address, method, full_path, http_version, status_code = arguments
        request_line = f"{method} {full_path} HTTP/{http_version}"
        shown.__dict__.update(
            client_addr=client_address,
            request_line=style(request_line, bold=True) if self.use_colors else request_line,
            status_code=self.get_status_code(int(status_code)),
        )
        return super().formatMessage(shown)


class JSONFormatter(logging.Formatter):
    """One object a line: `--log-json`."""

    def format(self, record: logging.LogRecord) -> str:
        """The object for `record`; of the access log's the engine has made it."""
        line: str | None = record.__dict__.get("access_line")
        if line is not None:
            return line
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        members = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members)


@lru_cache(maxsize=1000)
def _reason(status_code: int) -> str:
    try:
        return http.HTTPStatus(status_code).phrase
    except ValueError:
        return ""


def _is_terminal(stream: Any) -> bool:
    # A process started without a console has None for its streams.
    return stream is not None and stream.isatty()
