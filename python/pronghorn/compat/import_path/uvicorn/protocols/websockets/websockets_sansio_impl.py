"""`--ws websockets-sansio`."""

from .. import EngineName


class WebSocketsSansIOProtocol(EngineName):
    """The engine."""
