"""What the ways to reload share."""

from pronghorn.supervisors.basereload import BaseReload

__all__ = ["BaseReload"]
