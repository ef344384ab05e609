"""The command line: `pronghorn [OPTIONS] APP`.

Every option comes from the table in `settings.py`, with its flag and its environment variables:
the command line wins over `PRONGHORN_*`, that over `UVICORN_*`, that over the configuration file,
and that over the default. Only what was given is passed on to `run()`, so no default is written
here. A `ConfigurationError` is one
line on stderr and exit code 2, like click's own complaints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pronghorn.errors import ConfigurationError
from pronghorn.options import ENVIRONMENT_PREFIXES, Option
from pronghorn.settings import OPTIONS
from pronghorn.version import __version__

if TYPE_CHECKING:
    from pronghorn.config_file import ConfigFile


class GroupedCommand(click.Command):
    """Lists the options in `--help` under the groups of the table."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command; `routes` in front of the application is another one."""
        given = sys.argv[1:] if args is None else list(args)
        if given[:1] != ["routes"]:
            return super().main(given, *rest, **extra)
        from pronghorn.fastapi.command import routes

        return routes.main(given[1:], "pronghorn routes", *rest[1:], **extra)

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
        return f"'{_given_as(self.name, ctx)}'"


class UsageLine(click.ClickException):
    """A complaint of one line about an option."""

    exit_code = 2


def serve(config: str | None, check: bool, **given: Any) -> None:
    """Serve the ASGI application APP, an import string such as `main:app`."""
    context = click.get_current_context()
    options = {
        name: value
        for name, value in given.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if "headers" in options:
        options["headers"] = [_header(text) for text in options["headers"]]
    file = _read_file(config)
    if file:
        options = {**file.options, **options}
    # The working directory is not on the path of an installed script.
    options.setdefault("app_dir", "")
    if "app" not in options:
        raise click.MissingParameter(
            ctx=context, param=context.command.params[0], param_hint="'APP'"
        )
    from pronghorn import launcher

    try:
        if check:
            launcher.check(**options)
            click.echo(f"The configuration is valid.{f' (Read {file.path}.)' if file else ''}")
        else:
            launcher.run_command(**options)
    except ConfigurationError as error:
        raise UsageLine(f"`{_given_as(error.option, context, file)}` {error.complaint}") from None


def _read_file(path: str | None) -> ConfigFile | None:
    from pronghorn.config_file import find_config_file, read_config_file

    try:
        path = path or find_config_file()
        return read_config_file(path) if path else None
    except ConfigurationError as error:
        raise UsageLine(str(error)) from None


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
        # Not required here: the configuration file may name it.
        click.Argument(
            ["app"], envvar=[prefix + "APP" for prefix in ENVIRONMENT_PREFIXES], required=False
        ),
        *(_parameter(row, row.flag) for row in OPTIONS.values() if row.flag),
        click.Option(
            ["--config"],
            type=click.Path(exists=True, dir_okay=False),
            envvar="PRONGHORN_CONFIG",
            metavar="FILE",
            help="Read options from this TOML file. Without it `pronghorn.toml` is read, or the "
            "table [tool.pronghorn] of `pyproject.toml`, if the working directory has one. Flags "
            "and environment variables win over the file.",
        ),
        click.Option(
            ["--check"],
            is_flag=True,
            help="Check all options, load the application, and exit without serving.",
        ),
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
        multiple=row.kind in ("texts", "paths", "files"),
        type=None if is_boolean else _value_type(row),
        default=row.default,
        show_default=not is_boolean and row.default not in (None, ""),
        metavar=row.metavar or (f"[{'|'.join(row.choices)}]" if row.choices else None),
        envvar=row.environment_variables,
        help=row.about,
    )


def _value_type(row: Option) -> click.ParamType[Any]:
    if row.choices and not row.convert:
        return click.Choice(row.choices, case_sensitive=False)
    types: dict[str, click.ParamType[Any]] = {
        "integer": click.INT,
        "number": click.FLOAT,
        "boolean": click.BOOL,
        "path": click.Path(exists=True),
        "paths": click.Path(exists=True),
        "files": click.Path(),
    }
    return types.get(row.kind, click.STRING)


def _given_as(name: str, context: click.Context, file: ConfigFile | None = None) -> str:
    """How the user gave an option: a variable, a place in the file, or a flag."""
    row = OPTIONS.get(name)
    if row is None:
        return name  # A variable that is no option's, such as WEB_CONCURRENCY.
    source = context.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return next(name for name in row.environment_variables if os.environ.get(name))
    if source is ParameterSource.DEFAULT and file and name in file.keys:
        return file.place(name)
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
