"""The command line: `pronghorn [OPTIONS] APP`.

Every option comes from the table in `settings.py`, with its flag and its environment variables:
the command line wins over `PRONGHORN_*`, that over `UVICORN_*`, and that over the default. Only
what was given is passed on to `run()`, so no default is written here. A `ConfigurationError` is one
line on stderr and exit code 2, like click's own complaints.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import click
from click.core import ParameterSource

from pronghorn.errors import ConfigurationError
from pronghorn.options import ENVIRONMENT_PREFIXES, Option
from pronghorn.settings import OPTIONS
from pronghorn.version import __version__


class GroupedCommand(click.Command):
    """Lists the options in `--help` under the groups of the table."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        parameters = sorted(self.get_params(ctx), key=lambda each: _group_order(each.name))
        for group, members in groupby(parameters, key=lambda each: _group(each.name)):
            records = [member.get_help_record(ctx) for member in members]
            with formatter.section(group):
                formatter.write_dl([record for record in records if record])


class TableOption(click.Option):
    """An option of the table; a complaint about it names the variable if that is at fault."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """How the user gave it."""
        if ctx is None or self.name is None:
            return self.opts[0]
        return f"'{_given_as(OPTIONS[self.name], ctx)}'"


class UsageLine(click.ClickException):
    """A complaint of one line about an option."""

    exit_code = 2


def serve(**given: Any) -> None:
    """Serve the ASGI application APP, an import string such as `main:app`."""
    context = click.get_current_context()
    options = {
        name: value
        for name, value in given.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if "headers" in options:
        options["headers"] = [_header(text) for text in options["headers"]]
    # The working directory is not on the path of an installed script.
    options.setdefault("app_dir", "")
    app = options.pop("app")
    from pronghorn.launcher import run

    try:
        run(app, **options)
    except ConfigurationError as error:
        row = OPTIONS.get(error.option)
        name = _given_as(row, context) if row else error.option
        raise UsageLine(f"`{name}` {error.complaint}") from None


def show_version(context: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    """Print the versions of Pronghorn and of Python, and exit."""
    if not is_asked or context.resilient_parsing:
        return
    import platform

    click.echo(
        f"Running pronghorn {__version__} with {platform.python_implementation()} "
        f"{platform.python_version()} on {platform.system()}"
    )
    context.exit()


def _parameters() -> list[click.Parameter]:
    return [
        click.Argument(["app"], envvar=[prefix + "APP" for prefix in ENVIRONMENT_PREFIXES]),
        *(_parameter(row, row.flag) for row in OPTIONS.values() if row.flag),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show_version,
            help="Display the pronghorn version and exit.",
        ),
    ]


def _parameter(row: Option, flag: str) -> TableOption:
    is_boolean = row.kind in ("switch", "flag")
    return TableOption(
        [f"{flag}/--no-{flag[2:]}" if row.kind == "switch" else flag, row.name],
        is_flag=is_boolean,
        multiple=row.kind in ("texts", "paths"),
        type=None if is_boolean else _value_type(row),
        default=row.default,
        show_default=not is_boolean and row.default not in (None, ""),
        metavar=row.metavar,
        envvar=row.environment_variables,
        help=row.about,
    )


def _value_type(row: Option) -> click.ParamType[Any]:
    if row.choices:
        return click.Choice(row.choices, case_sensitive=False)
    types: dict[str, click.ParamType[Any]] = {
        "integer": click.INT,
        "number": click.FLOAT,
        "boolean": click.BOOL,
        "path": click.Path(exists=True),
        "paths": click.Path(exists=True),
    }
    return types.get(row.kind, click.STRING)


def _given_as(row: Option, context: click.Context) -> str:
    if context.get_parameter_source(row.name) is ParameterSource.ENVIRONMENT:
        return next(name for name in row.environment_variables if os.environ.get(name))
    return row.flag or row.name


def _header(text: str) -> tuple[str, str] | str:
    name, colon, value = text.partition(":")
    return (name, value) if colon else text


def _group(name: str | None) -> str:
    row = OPTIONS.get(name or "")
    return row.group if row else "Other"


def _group_order(name: str | None) -> int:
    groups = list(dict.fromkeys(_groups()))
    group = _group(name)
    return groups.index(group) if group in groups else len(groups)


def _groups() -> Iterable[str]:
    return (row.group for row in OPTIONS.values())


main = GroupedCommand(
    "pronghorn",
    params=_parameters(),
    callback=serve,
    help=serve.__doc__,
    no_args_is_help=False,
)
