"""Colours of log lines."""

from pronghorn.logging import style

__all__ = ["style"]
