"""The command line, and `run`."""

from pronghorn.cli import main
from pronghorn.launcher import run
from pronghorn.server import Server
from pronghorn.server_state import ServerState

from .config import INTERFACES, LIFESPAN, LOG_LEVELS, LOGGING_CONFIG, STARTUP_FAILURE, Config

__all__ = [
    "INTERFACES",
    "LIFESPAN",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "STARTUP_FAILURE",
    "Config",
    "Server",
    "ServerState",
    "main",
    "run",
]

if __name__ == "__main__":
    main()
