"""Reloading with watchfiles."""

from pronghorn import reload_paths
from pronghorn.config import Config
from pronghorn.supervisors.watchfilesreload import WatchFilesReload


class FileFilter(reload_paths.FileFilter):
    """Whether a change of a file matters under a configuration."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.reload_includes or [], config.reload_excludes or [])


__all__ = ["FileFilter", "WatchFilesReload"]
