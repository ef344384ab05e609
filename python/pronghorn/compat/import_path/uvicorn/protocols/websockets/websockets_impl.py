"""`--ws websockets`."""

from .. import EngineName


class WebSocketProtocol(EngineName):
    """The engine."""
