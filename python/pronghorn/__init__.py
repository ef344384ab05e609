"""Pronghorn: an ASGI server with a native engine; a drop-in for Uvicorn.

`run`, `Config` and `Server` are what programs use, `main` is the command line. Each is imported
when it is first asked for, so that `import pronghorn` costs next to nothing.
"""

from typing import TYPE_CHECKING

from pronghorn.version import __version__

if TYPE_CHECKING:
    from pronghorn.cli import main
    from pronghorn.config import Config
    from pronghorn.launcher import run
    from pronghorn.server import Server

__all__ = ["Config", "Server", "__version__", "main", "run"]

_HOMES = {
    "Config": "pronghorn.config",
    "Server": "pronghorn.server",
    "main": "pronghorn.cli",
    "run": "pronghorn.launcher",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())
