"""Finds changes with watchfiles, which the system tells of them."""

import time
from collections.abc import Callable
from pathlib import Path
from socket import socket

from watchfiles import watch

from pronghorn.config import Config
from pronghorn.reload_paths import FileFilter
from pronghorn.supervisors.basereload import BaseReload

STEP_MS = 20
"""Changes are told once none has followed for so long: editors write a file in several steps."""
DEBOUNCE_MS = 400
"""But no later than this after the first one."""
TURN_MS = 100
"""How often the supervisor looks at its children meanwhile."""


class WatchFilesReload(BaseReload):
    """Reloads on what watchfiles tells."""

    reloader_name = "WatchFiles"

    def __init__(self, config: Config, target: Callable[..., None], sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        self.reload_dirs = [Path(each) for each in config.reload_dirs or []]
        self.watch_filter = FileFilter(config.reload_includes or [], config.reload_excludes or [])
        self._not_before = 0.0
        self.watcher = watch(
            *self.reload_dirs,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=self.should_exit,
            rust_timeout=TURN_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )

    def should_restart(self) -> list[Path] | None:
        """The files that have changed since the last time, once they rest."""
        if time.monotonic() < self._not_before:
            self.should_exit.wait(self._not_before - time.monotonic())
        changes = next(self.watcher)
        paths = [path for path in {Path(each[1]) for each in changes} if self.watch_filter(path)]
        if paths:
            self._not_before = time.monotonic() + self.config.reload_delay
        return paths or None
