"""Writes `docs/settings.md` from the table of options: `make docs-settings`.

`tests/test_options.py` compares the page with what this returns, so the page is always true.
"""

from itertools import groupby
from pathlib import Path

from pronghorn.options import Option
from pronghorn.settings import OPTIONS

PAGE = Path(__file__).parent / "settings.md"

HEAD = """\
# Settings

<!-- Written by `make docs-settings` from python/pronghorn/settings.py; change it there. -->

All options, by group. Each has a flag, a name in `pronghorn.run()`, `pronghorn.Config()` and the
configuration file, and an environment variable; [Configuration](configuration.md) says which of
them wins. Besides these, the command line has `--config FILE`, `--check`, `--version` and `--help`.
"""

VALUES = {
    "switch": "on or off",
    "flag": "on or off",
    "boolean": "`true` or `false`",
    "integer": "whole number",
    "number": "number",
    "text": "text",
    "path": "path",
    "texts": "text, several times",
    "paths": "path, several times",
    "files": "path, several times",
    "object": "object; only in Python",
}


def settings_page() -> str:
    """The page's Markdown."""
    rows = sorted(OPTIONS.values(), key=lambda row: _groups().index(row.group))
    parts = [HEAD]
    for group, members in groupby(rows, key=lambda row: row.group):
        parts.append(f"\n## {group}\n")
        parts.extend(_section(row) for row in members)
    return "".join(parts)


def _groups() -> list[str]:
    return list(dict.fromkeys(row.group for row in OPTIONS.values()))


def _section(row: Option) -> str:
    title = f"`{_flags(row)}`" if row.flag else f"`{row.name}`"
    facts = [_values(row), f"default {_default(row)}"]
    if row.flag:
        facts.append(f"`{row.name}` in Python")
        facts.append(f"`{row.environment_variables[0]}`")
    about = row.about.replace("<", "&lt;").replace("*", "\\*").removesuffix(" [default: info]")
    about = about.removesuffix(" [default: none]")
    return f"\n### {title} {{ #{row.name} }}\n\n{about}\n\n{'; '.join(facts)}.\n"


def _flags(row: Option) -> str:
    assert row.flag is not None
    return f"{row.flag} / --no-{row.flag[2:]}" if row.kind == "switch" else row.flag


def _values(row: Option) -> str:
    if row.choices:
        return "One of " + ", ".join(f"`{choice}`" for choice in row.choices)
    values = VALUES[row.kind]
    if row.minimum is not None and row.maximum is not None:
        values += f" from {row.minimum:g} to {row.maximum:g}"
    elif row.minimum is not None:
        values += f", {row.minimum:g} or more"
    return values[:1].upper() + values[1:]


def _default(row: Option) -> str:
    if row.name == "log_level":
        return "`info`"
    if row.name == "log_config":
        return "Uvicorn's formats, `pronghorn.config.LOGGING_CONFIG`"
    if row.kind in ("switch", "flag"):
        return "as the terminal allows" if row.default is None else ("on" if row.default else "off")
    if row.default is None:
        return "none"
    return f"`{row.default}`" if row.default != "" else "empty"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
