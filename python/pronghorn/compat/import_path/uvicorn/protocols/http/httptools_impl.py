"""`--http httptools`."""

from .. import EngineName


class HttpToolsProtocol(EngineName):
    """The engine."""
