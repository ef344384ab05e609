"""Finds changes by looking at all Python files again and again, where watchfiles is missing."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import TypeAlias

from pronghorn.config import Config
from pronghorn.supervisors.basereload import BaseReload

logger = logging.getLogger("pronghorn.error")

Look: TypeAlias = tuple[int, int, int]
"""Time of the last change, size and number: the last shows that another file is in its place."""


class StatReload(BaseReload):
    """Reloads when a Python file looks different, comes or goes."""

    reloader_name = "StatReload"

    def __init__(self, config: Config, target: Callable[..., None], sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        if config.reload_excludes or config.reload_includes:
            logger.warning(
                "--reload-include and --reload-exclude have no effect unless watchfiles is "
                "installed."
            )
        self._looks = self._look()

    def should_restart(self) -> list[Path] | None:
        """The files that have changed since the last time, looked for after `reload_delay`."""
        self.pause()
        before, self._looks = self._looks, self._look()
        return [
            path
            for path in before.keys() | self._looks.keys()
            if before.get(path) != self._looks.get(path)
        ] or None

    def iter_py_files(self) -> Iterator[Path]:
        """All Python files in the directories."""
        for reload_dir in self.config.reload_dirs or []:
            for path in list(Path(reload_dir).rglob("*.py")):
                yield path.resolve()

    def _look(self) -> dict[Path, Look]:
        looks = {}
        for path in self.iter_py_files():
            try:
                status = path.stat()
            except OSError:
                continue
            looks[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
        return looks
