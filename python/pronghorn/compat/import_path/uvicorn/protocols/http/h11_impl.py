"""`--http h11`."""

from .. import EngineName


class H11Protocol(EngineName):
    """The engine."""
