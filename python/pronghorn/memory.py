"""How much memory this process takes, for `--limit-max-memory`.

Linux tells what is resident now. Elsewhere only the most that it ever was is known, which does as
well for a limit that memory leaks run into.
"""

import os
import sys

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
MIB = 1024 * 1024


def can_measure() -> bool:
    """Whether this platform tells."""
    return sys.platform != "win32"


def resident_mib() -> float:
    """The resident memory of this process in MiB."""
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES / MIB
    import resource

    # Kilobytes, but bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
