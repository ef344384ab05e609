"""systemd's protocols: sockets that it has opened, and what it wants to be told.

`listen_descriptors` is asked once, when listeners are opened. `notify` and `pet_watchdog` do
nothing where systemd did not ask (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)).
"""

import os
import socket
import time
from contextlib import suppress

LISTEN_FDS_START = 3

_petted_at = 0.0


def listen_descriptors() -> list[int]:
    """The descriptors of sockets that were passed to this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit()):
        return []
    descriptors = list(range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)))
    for each in descriptors:
        with suppress(OSError):
            # They are for this process and those that it gives them to.
            os.set_inheritable(each, False)
    return descriptors


def notify(state: str) -> None:
    """Tell the service manager."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.sendto(state.encode(), address)


def notify_reloading() -> None:
    """Tell that a reload has begun; `READY=1` ends it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def pet_watchdog() -> None:
    """Tell that all is well, at half the interval after which silence would be a fault."""
    global _petted_at
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return
    interval = os.environ.get("WATCHDOG_USEC", "")
    if not (interval.isascii() and interval.isdigit()):
        return
    now = time.monotonic()
    if now - _petted_at >= int(interval) / 2_000_000:
        _petted_at = now
        notify("WATCHDOG=1")
