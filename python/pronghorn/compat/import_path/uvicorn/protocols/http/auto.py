"""`--http auto`."""

from .. import EngineName


class AutoHTTPProtocol(EngineName):
    """The engine."""
