"""Configures the `pronghorn` loggers from `--log-config`, `--log-level` and their kin.

In comes what the user gave: a dictionary, a path to JSON, YAML or ini, an open file or a
`RawConfigParser`. Called by `Config` when it is made and again in each worker process.
The rule: a configuration written for Uvicorn works unchanged. Its loggers `uvicorn`,
`uvicorn.error`, `uvicorn.access` and `uvicorn.asgi` are Pronghorn's under a second name, and its
formatter classes are found in `pronghorn.logging`.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, cast

from pronghorn.errors import ConfigurationError
from pronghorn.importer import optional_module
from pronghorn.logging import (
    LOG_LEVELS,
    TRACE_LOG_LEVEL,
    ColourizedFormatter,
    JSONFormatter,
    default_loggers,
)

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
    `uvicorn.error`, finds the server it runs on. A logger of that name from before becomes the
    same, with what was set up for it, for those who hold it already.
    """
    known = logging.root.manager.loggerDict
    parent = known.get("uvicorn")
    for name in LOGGER_NAMES:
        target = logging.getLogger(name)
        if not isinstance(target, SharedLogger):
            target.__class__ = _shared(type(target))
        earlier = known.get(_uvicorn_name(name))
        if not isinstance(earlier, SharedLogger):
            _become(target, earlier if isinstance(earlier, logging.Logger) else None, parent)
        known[_uvicorn_name(name)] = target


def _become(target: logging.Logger, earlier: logging.Logger | None, parent: Any) -> None:
    """Take over what was set up under Uvicorn's name: for `earlier` itself, or for its parent."""
    is_untouched = not target.handlers and target.level == logging.NOTSET and target.propagate
    if is_untouched and (earlier or isinstance(parent, logging.Logger)):
        # A configuration that named only Uvicorn's has disabled it.
        target.disabled = earlier.disabled if earlier else False
    if earlier and is_untouched:
        target.handlers = earlier.handlers
        target.propagate = earlier.propagate
        target.setLevel(earlier.level)
    if earlier:
        target.filters.extend(earlier.filters)
        earlier.__dict__ = target.__dict__


class SharedLogger(logging.Logger):
    """A logger with two names: what configures it under one must not disable it under the other.

    `logging.config` disables what a configuration does not name, name by name. What a program sets
    itself holds.
    """

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute == "disabled" and value:
            caller = sys._getframe(1)
            if caller.f_code.co_name == "_handle_existing_loggers":  # of `logging.config`
                spared = set(caller.f_locals["child_loggers"])
                disabled = set(caller.f_locals["existing"]) - spared
                value = {self.name, _uvicorn_name(self.name)} <= disabled
        super().__setattr__(attribute, value)


def _shared(logger_class: type[logging.Logger]) -> type[logging.Logger]:
    # A program may have a class of its own for loggers.
    return type(logger_class.__name__, (SharedLogger, logger_class), {})


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
    try:
        configuration = _with_pronghorn_names(_copied(source))
        if use_colors is not None:
            for name in ("default", "access"):
                if name in configuration.get("formatters", {}):
                    configuration["formatters"][name]["use_colors"] = use_colors
        dictConfig(configuration)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        raise _unusable(error) from error


def _apply_ini(source: "str | RawConfigParser | IO[Any]") -> None:
    from configparser import ConfigParser, RawConfigParser
    from logging.config import fileConfig

    parser = source if isinstance(source, RawConfigParser) else ConfigParser()
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
    except ConfigurationError:
        raise
    except Exception as error:  # Arguments of handlers are Python, which may raise anything.
        raise _unusable(error) from error


def _with_pronghorn_names(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same, with formatters of `uvicorn.logging` and the `uvicorn` loggers renamed."""
    for formatter in configuration.get("formatters", {}).values():
        for key in ("()", "class"):
            if str(formatter.get(key, "")).startswith("uvicorn.logging."):
                formatter[key] = _pronghorn_name(formatter[key])
    if "loggers" in configuration:
        configuration["loggers"] = _with_one_name_each(configuration["loggers"])
    return configuration


def _with_one_name_each(loggers: dict[str, Any]) -> dict[str, Any]:
    """The loggers, with one entry for both names of each.

    `LOGGING_CONFIG` has both, and a program may have replaced or deleted one of them. The entry
    that is not the default one counts; where one is missing while others are there twice, it has
    been deleted.
    """
    has_pairs = any({name, _uvicorn_name(name)} <= loggers.keys() for name in LOGGER_NAMES)
    merged = dict(loggers)
    for name in LOGGER_NAMES:
        entries = [merged.pop(each) for each in (name, _uvicorn_name(name)) if each in merged]
        default = default_loggers().get(name)
        changed = [entry for entry in entries if entry != default]
        is_deleted = has_pairs and len(entries) == 1 and not changed
        if entries and not is_deleted:
            merged[name] = (changed or entries)[0]
    return merged


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
    reason = " ".join(f"{error}{cause}".split())
    return ConfigurationError("log_config", f"cannot be used: {reason}.")


def _uvicorn_name(name: str) -> str:
    return "uvicorn" + name.removeprefix("pronghorn")


def _pronghorn_name(name: str) -> str:
    return "pronghorn" + name.removeprefix("uvicorn")
