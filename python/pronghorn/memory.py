"""The memory of this process: how much it takes, for `--limit-max-memory`, and what it keeps.

Linux tells what is resident now. Elsewhere only the most that it ever was is known, which does as
well for a limit that memory leaks run into.
"""

import os
import sys

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
MIB = 1024 * 1024
KEPT_BLOCK_BYTES = 8 * MIB


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


def keep_freed_memory() -> None:
    """Have the C library keep up to 16 MiB that have been freed, of each heap, for what comes next.

    glibc gives back all but a few hundred KiB at the end of its heap, and who needs them again pays
    for system calls and for each page anew: a batch of answers of 10 KB each half of what it takes,
    a handler that makes 4 MB of small objects nearly everything. It does so until the process has
    freed a block that was mapped for it: then that block's size is what it maps from, and twice as
    much is what it keeps (`mallopt(3)`, `M_MMAP_THRESHOLD`). This frees one, of which only the
    first page has been touched. Thresholds set in the environment stay; other libraries take no
    notice.
    """
    bytes(KEPT_BLOCK_BYTES)
