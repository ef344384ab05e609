"""Finds and kills what a process has started, where it does not lead a process group.

Linux shows who is whose child; elsewhere nothing is found, and only the group is killed.
"""

import os
import signal
from collections import defaultdict
from contextlib import suppress


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    children = _children()
    found, unseen = [], [pid]
    while unseen:
        mine = children.get(unseen.pop(), [])
        found += mine
        unseen += mine
    return found


def kill_all(pids: list[int]) -> None:
    """Kill each of them."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                    # The name before it may hold anything, brackets too.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
                    children[parent].append(int(name))
    return children
