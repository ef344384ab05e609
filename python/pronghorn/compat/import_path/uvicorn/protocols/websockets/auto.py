"""`--ws auto`."""

from .. import EngineName


class AutoWebSocketsProtocol(EngineName):
    """The engine."""
