"""The command line, and `run`."""

import click
from pronghorn.cli import main
from pronghorn.cli import show_version as print_version
from pronghorn.launcher import run
from pronghorn.server import Server
from pronghorn.server_state import ServerState
from pronghorn.supervisors import ChangeReload, Multiprocess

from .config import (
    INTERFACES,
    LIFESPAN,
    LOG_LEVELS,
    LOGGING_CONFIG,
    SSL_PROTOCOL_VERSION,
    STARTUP_FAILURE,
    Config,
    HTTPProtocolType,
    InterfaceType,
    LifespanType,
    LoopFactoryType,
    WSProtocolType,
    logger,
)

LEVEL_CHOICES = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES = click.Choice(list(LIFESPAN))
INTERFACE_CHOICES = click.Choice(INTERFACES)

__all__ = [
    "INTERFACES",
    "INTERFACE_CHOICES",
    "LEVEL_CHOICES",
    "LIFESPAN",
    "LIFESPAN_CHOICES",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "SSL_PROTOCOL_VERSION",
    "STARTUP_FAILURE",
    "ChangeReload",
    "Config",
    "HTTPProtocolType",
    "InterfaceType",
    "LifespanType",
    "LoopFactoryType",
    "Multiprocess",
    "Server",
    "ServerState",
    "WSProtocolType",
    "logger",
    "main",
    "print_version",
    "run",
]

if __name__ == "__main__":
    main()
