"""Configures the `pronghorn` loggers from `--log-config`, `--log-level` and their kin.

In comes what the user gave: a dictionary, a path to JSON, YAML or ini, an open file or a
`RawConfigParser`. Called by `Config` when it is made and again in each worker process.
The rule: a configuration written for Uvicorn works unchanged. Its loggers `uvicorn`,
`uvicorn.error`, `uvicorn.access` and `uvicorn.asgi` are Pronghorn's under a second name, and its
formatter classes are found in `pronghorn.logging`.
"""

import logging
import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

from pronghorn.errors import ConfigurationError
from pronghorn.importer import optional_module
from pronghorn.logging import LOG_LEVELS, TRACE_LOG_LEVEL, ColourizedFormatter, JSONFormatter

if TYPE_CHECKING:
    from configparser import RawConfigParser

LOGGER_NAMES = ("pronghorn", "pronghorn.error", "pronghorn.access", "pronghorn.asgi")


def configure(
    source: Any,
    *,
    level: str | int | None,
    use_colors: bool | None,
    access_log: bool,
    is_json: bool = False,
) -> None:
    """Apply the user's logging options. `source` None leaves all handlers as they are."""
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
    _share_uvicorn_names()
    if source is not None:
        _apply(source, use_colors)
    if is_json:
        _write_json()
    if level is not None:
        number = LOG_LEVELS[level.lower()] if isinstance(level, str) else level
        for name in LOGGER_NAMES[1:]:
            logging.getLogger(name).setLevel(number)
    if not access_log:
        access_logger = logging.getLogger("pronghorn.access")
        access_logger.handlers = []
        access_logger.propagate = False


def _write_json() -> None:
    """Have every handler that writes Pronghorn's lines write objects instead."""
    for name in LOGGER_NAMES:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler.formatter, ColourizedFormatter):
                handler.setFormatter(JSONFormatter())


def _share_uvicorn_names() -> None:
    """Make `uvicorn.*` name Pronghorn's loggers.

    So that an application that adds a filter to `uvicorn.access`, or writes its own lines to
    `uvicorn.error`, finds the server it runs on. What was written through a logger that someone
    holds already arrives too.
    """
    known = logging.root.manager.loggerDict
    for name in LOGGER_NAMES:
        target = logging.getLogger(name)
        alias = _uvicorn_name(name)
        earlier = known.get(alias)
        if isinstance(earlier, logging.Logger) and earlier is not target:
            earlier.parent = target
            target.filters.extend(earlier.filters)
        known[alias] = target


def _apply(source: Any, use_colors: bool | None) -> None:
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, dict):
        _apply_dictionary(source, use_colors)
    elif isinstance(source, str) and source.endswith(".json"):
        import json

        _apply_dictionary(_read(source, json.load))
    elif isinstance(source, str) and source.endswith((".yaml", ".yml")):
        _apply_dictionary(_read(source, _yaml_loader()))
    else:
        _apply_ini(source)


def _apply_dictionary(source: Any, use_colors: bool | None = None) -> None:
    from logging.config import dictConfig

    if not isinstance(source, dict):
        raise ConfigurationError("log_config", f"must hold a dictionary, got `{source!r}`.")
    configuration = _with_pronghorn_names(_copied(source))
    if use_colors is not None:
        for name in ("default", "access"):
            if name in configuration.get("formatters", {}):
                configuration["formatters"][name]["use_colors"] = use_colors
    try:
        dictConfig(configuration)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise _unusable(error) from error


def _apply_ini(source: "str | RawConfigParser | IO[Any]") -> None:
    from configparser import Error as ParserError
    from configparser import RawConfigParser
    from logging.config import fileConfig

    parser = source if isinstance(source, RawConfigParser) else RawConfigParser()
    try:
        if isinstance(source, str):
            _read(source, parser.read_file)
        elif not isinstance(source, RawConfigParser):
            parser.read_file(source)
        for section in parser.sections():
            formatter = parser.get(section, "class", fallback="")
            if formatter.startswith("uvicorn.logging."):
                parser.set(section, "class", _pronghorn_name(formatter))
        fileConfig(parser, disable_existing_loggers=False)
    except (ParserError, ValueError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise _unusable(error) from error


def _with_pronghorn_names(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same, with formatters of `uvicorn.logging` and the `uvicorn` loggers renamed.

    The loggers are added, not replaced: `disable_existing_loggers` disables each one that the
    configuration does not name.
    """
    for formatter in configuration.get("formatters", {}).values():
        for key in ("()", "class"):
            if str(formatter.get(key, "")).startswith("uvicorn.logging."):
                formatter[key] = _pronghorn_name(formatter[key])
    loggers = configuration.get("loggers", {})
    for name in LOGGER_NAMES:
        if name not in loggers and _uvicorn_name(name) in loggers:
            loggers[name] = loggers[_uvicorn_name(name)]
    return configuration


def _copied(value: Any) -> Any:
    # Not a deep copy: streams and filters in it stay the user's own.
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _read(path: str, load: Callable[[Any], Any]) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return load(file)
    except OSError as error:
        raise ConfigurationError(
            "log_config", f"cannot be read, `{path}`: {error.strerror}."
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError("log_config", f"cannot be parsed, `{path}`: {reason}.") from None


def _yaml_loader() -> Callable[[Any], Any]:
    yaml = optional_module(
        "yaml",
        option="log_config",
        remedy="in YAML needs the `PyYAML` package; install `pronghorn[standard]`.",
    )
    return cast(Callable[[Any], Any], yaml.safe_load)


def _unusable(error: Exception) -> ConfigurationError:
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    return ConfigurationError("log_config", f"cannot be used: {error}{cause}.")


def _uvicorn_name(name: str) -> str:
    return "uvicorn" + name.removeprefix("pronghorn")


def _pronghorn_name(name: str) -> str:
    return "pronghorn" + name.removeprefix("uvicorn")
