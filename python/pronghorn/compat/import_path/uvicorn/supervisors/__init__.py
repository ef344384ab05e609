"""The processes that start others."""

from pronghorn.supervisors import ChangeReload, Multiprocess

__all__ = ["ChangeReload", "Multiprocess"]
