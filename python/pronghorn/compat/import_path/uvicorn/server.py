"""`Server` and its state."""

from pronghorn.server import HANDLED_SIGNALS, Server, ServerState

__all__ = ["HANDLED_SIGNALS", "Server", "ServerState"]
