"""Protocols: names for the one engine, and helpers."""


class EngineName:
    """A class that names Pronghorn's engine in `Config(http=...)` or `Config(ws=...)`.

    The engine is native: subclasses of it are refused instead of being ignored.
    """
