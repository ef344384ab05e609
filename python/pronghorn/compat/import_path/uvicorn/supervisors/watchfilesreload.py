"""Reloading with watchfiles."""

from pronghorn.reload_paths import FileFilter
from pronghorn.supervisors.watchfilesreload import WatchFilesReload

__all__ = ["FileFilter", "WatchFilesReload"]
