"""Supervisors: processes that start, watch and replace the processes that serve.

`Multiprocess` keeps a number of workers running, `ChangeReload` one process that is started again
when a file changes. Both are made with a `Config` and bound sockets, and `run()` until they are
told to end.
"""

from typing import TYPE_CHECKING

from pronghorn.supervisors.basereload import BaseReload
from pronghorn.supervisors.multiprocess import Multiprocess

if TYPE_CHECKING:
    ChangeReload: type[BaseReload]
else:
    try:
        from pronghorn.supervisors.watchfilesreload import WatchFilesReload as ChangeReload
    except ImportError:
        from pronghorn.supervisors.statreload import StatReload as ChangeReload

__all__ = ["BaseReload", "ChangeReload", "Multiprocess"]
