"""`pronghorn routes APP`: how each route of an application is run, and why.

Comes in: an import string. Goes out: a line for each route, in the order in which they are tried.
The application is imported as the server does it, and not served.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from pronghorn.errors import ImportFromStringError
from pronghorn.fastapi.installing import install, start_up_line
from pronghorn.importer import import_from_string

WRAPPERS_MAX = 16


@click.command("pronghorn routes")
@click.argument("app")
@click.option("--app-dir", default="", help="Look for APP in this directory.")
@click.option("--factory", is_flag=True, help="Treat APP as an application factory.")
def routes(app: str, app_dir: str, factory: bool) -> None:
    """List the routes of the FastAPI application APP: compiled, routed or original, and why."""
    sys.path.insert(0, app_dir)
    install()
    try:
        loaded = import_from_string(app)
    except ImportFromStringError as error:
        raise click.ClickException(f"Error loading ASGI app. {error}") from None
    if factory:
        loaded = loaded()
    application = _fastapi_in(loaded)
    if application is None:
        raise click.ClickException(f"`{app}` is not a FastAPI application.")
    click.echo(start_up_line()[1])
    from pronghorn.fastapi.reporting import report

    reports = report(application)
    width = max((len(",".join(each.methods)) for each in reports), default=0)
    path_width = max((len(each.path) for each in reports), default=0)
    for each in reports:
        methods = ",".join(each.methods).ljust(width)
        reason = f"  ({each.reason})" if each.reason else ""
        click.echo(f"{methods}  {each.path.ljust(path_width)}  {each.tier}{reason}")


def _fastapi_in(thing: Any) -> Any:
    """The FastAPI application that `thing` is or wraps."""
    fastapi = sys.modules.get("fastapi")
    for _ in range(WRAPPERS_MAX):
        if fastapi is None or thing is None or isinstance(thing, fastapi.FastAPI):
            return None if fastapi is None else thing
        thing = getattr(thing, "app", None)
    return None
