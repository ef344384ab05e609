"""What the first process of a container does beside serving: it forwards signals and reaps.

Orphans of the application's processes become children of process 1, and one that never waits for
them keeps their corpses. So process 1 serves in a child, passes on what it is told, buries whoever
dies, and ends with the child's exit code. Called by the command alone, before it has imported the
application: what a program has opened and started before it calls `run()` belongs to its process.
"""

import os
import signal
import sys
from contextlib import suppress

FORWARDED_SIGNALS = {
    getattr(signal, f"SIG{name}")
    for name in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "CONT"]
    if hasattr(signal, f"SIG{name}")
}


def serve_in_child() -> None:
    """Return in a child; the calling process waits for it and never returns."""
    awaited = FORWARDED_SIGNALS | {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child == 0:
        _take_the_terminal()
        _take_over_from_systemd()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        return
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        elif (code := _reap(child)) is not None:
            os._exit(code)


def _take_the_terminal() -> None:
    """Have the terminal's own signals reach the child alone: they are not forwarded twice."""
    os.setpgid(0, 0)
    with suppress(OSError, AttributeError, ValueError):
        os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())


def _take_over_from_systemd() -> None:
    """Have what was meant for process 1 (podman passes sockets on like this) be the child's."""
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())


def _reap(child: int) -> int | None:
    """Bury whoever has died; the exit code when `child` is among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                # As shells count: a signal is 128 more.
                found = 128 - code if code < 0 else code
    return found
