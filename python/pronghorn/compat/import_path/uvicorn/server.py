"""`Server` and its state."""

from pronghorn.config import Config
from pronghorn.server import HANDLED_SIGNALS, Server, logger
from pronghorn.server_state import ServerState

__all__ = ["HANDLED_SIGNALS", "Config", "Server", "ServerState", "logger"]
