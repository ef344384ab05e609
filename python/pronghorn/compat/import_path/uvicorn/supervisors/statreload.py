"""Reloading by polling."""

from pronghorn.supervisors.statreload import StatReload

__all__ = ["StatReload"]
