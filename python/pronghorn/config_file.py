"""Options from a file: `pronghorn.toml`, or `[tool.pronghorn]` in `pyproject.toml`.

`find_config_file` says which file there is, `read_config_file` turns it into options for `Config`,
each by the name in the table. Called by the command line, which puts flags and environment
variables on top. A key is an option's name, or its flag without the dashes in front, spelled with
`-` or `_`. The rule: whatever is wrong is told with file, line and key.
"""

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pronghorn.errors import ConfigurationError
from pronghorn.options import Option
from pronghorn.settings import OPTIONS

OWN_NAME = "pronghorn.toml"
PROJECT_NAME = "pyproject.toml"
PROJECT_TABLE = ("tool", "pronghorn")


@dataclass(frozen=True)
class ConfigFile:
    """The options that a file gives."""

    path: str
    options: dict[str, Any]
    """By the names in the table; `app` may be among them."""
    keys: dict[str, tuple[str, ...]]
    """Where in the file each of them stands."""

    def place(self, name: str) -> str:
        """Where an option was given, for a complaint about it."""
        return _place(self.path, self.keys[name])


def find_config_file() -> str | None:
    """The file in the working directory that is read when none is named."""
    if os.path.isfile(OWN_NAME):
        return OWN_NAME
    if os.path.isfile(PROJECT_NAME) and _table(PROJECT_NAME) is not None:
        return PROJECT_NAME
    return None


def read_config_file(path: str) -> ConfigFile:
    """Read the options; a `ConfigurationError` names the line of what cannot be used."""
    table = _table(path)
    if table is None:
        raise ConfigurationError(path, "has no table `[tool.pronghorn]`.")
    options: dict[str, Any] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for key, value in table.items():
        where = (*_prefix(path), key)
        name = _NAMES.get(key.replace("_", "-"))
        if name is None:
            raise ConfigurationError(_place(path, where), f"is no option; {_suggestion(key)}")
        if name in options:
            other = keys[name][-1]
            raise ConfigurationError(_place(path, where), f"is given as `{other}` already.")
        if name == "env_file" and not os.path.exists(str(value)):
            # As for the flag; programs may name one that is there at times.
            raise ConfigurationError(_place(path, where), f"does not exist, `{value}`.")
        keys[name] = where
        options[name] = _value(OPTIONS[name], value) if name in OPTIONS else value
    return ConfigFile(path, options, keys)


def _names() -> Iterator[tuple[str, str]]:
    yield "app", "app"
    for row in OPTIONS.values():
        if row.flag:
            yield row.name.replace("_", "-"), row.name
            yield row.flag.removeprefix("--"), row.name


_NAMES = dict(_names())


def _suggestion(key: str) -> str:
    from difflib import get_close_matches  # Rarely needed.

    close = get_close_matches(key.replace("_", "-"), _NAMES, n=1)
    return f"did you mean `{close[0]}`?" if close else "`pronghorn --help` lists them."


def _value(row: Option, value: Any) -> Any:
    """A value as a program would give it."""
    if row.name == "headers":
        headers = list(value.items()) if isinstance(value, dict) else _listed(value)
        return [_header(each) for each in headers] if isinstance(headers, list) else headers
    return _listed(value) if row.kind in ("texts", "paths", "files") else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _header(header: Any) -> Any:
    if not isinstance(header, str):
        return header
    name, colon, value = header.partition(":")
    return (name, value) if colon else header


def _table(path: str) -> dict[str, Any] | None:
    document = _parsed(path, _text(path))
    found = _at(document, _prefix(path))
    return found if isinstance(found, dict) else None


def _prefix(path: str) -> tuple[str, ...]:
    return PROJECT_TABLE if os.path.basename(path) == PROJECT_NAME else ()


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(path, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(path, "cannot be read: it is not UTF-8.") from None


def _parsed(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(path, f"is not TOML: {error}.") from None


def _at(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _place(path: str, keys: tuple[str, ...]) -> str:
    return f"{path}, line {_line(_text(path), keys)}: {keys[-1]}"


def _line(text: str, keys: tuple[str, ...]) -> int:
    """The line on which the statement that sets a key begins.

    `tomllib` tells no lines. But of the beginnings of the text that are whole documents, the first
    one with the key in it ends with that statement, and the one before ends where it begins.
    """
    lines = text.splitlines(keepends=True)
    start = 1
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        if _at(document, keys) is not None:
            return start
        start = end + 1
    return start
