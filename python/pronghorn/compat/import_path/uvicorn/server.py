"""`Server` and its state."""

from pronghorn.server import HANDLED_SIGNALS, Server
from pronghorn.server_state import ServerState

__all__ = ["HANDLED_SIGNALS", "Server", "ServerState"]
