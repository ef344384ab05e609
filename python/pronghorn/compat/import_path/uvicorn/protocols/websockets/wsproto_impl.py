"""`--ws wsproto`."""

from .. import EngineName


class WSProtocol(EngineName):
    """The engine."""
