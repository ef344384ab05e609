"""`--http zttp`."""

from .. import EngineName


class ZttpProtocol(EngineName):
    """The engine."""
