"""A server's processes: started on a core, watched through /proc, and stopped whatever happens.

Comes in: a command line. Goes out: a `ServerProcess` that lives as long as a `with` block. Called
by `measure.py`.

The rule it keeps: a server gets a session of its own. All its processes are found by that session,
measured together, and none is left when the block ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STOP_GRACE_S = 2.0  # a server that holds connections may wait for them much longer
KILL_WAIT_S = 5.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTime:
    """Seconds of CPU used so far."""

    user_s: float
    system_s: float


@dataclass(frozen=True)
class ServerProcess:
    """A running server: the process started and all that it started."""

    leader: subprocess.Popen[bytes]
    started_s: float  # time.perf_counter() just before it was started
    log: Path

    def has_ended(self) -> bool:
        """Whether the process that was started is gone."""
        return self.leader.poll() is not None

    def cpu_time(self) -> CpuTime:
        """The CPU used by the whole tree, children that have ended included."""
        user = system = 0
        for fields in session_stats(self.leader.pid).values():
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
        return CpuTime(user / TICKS_PER_S, system / TICKS_PER_S)

    def memory_kib(self) -> int:
        """The proportional set size of the whole tree."""
        return sum(process_memory_kib(pid) for pid in session_stats(self.leader.pid))

    def last_words(self) -> str:
        """The last line of its output that says something, for the reason of a failure."""
        text = self.log.read_bytes()[-2000:].decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][:160] if lines else "no output"


@contextlib.contextmanager
def server_process(
    command: list[str], folder: Path, log: Path, server_core: int, client_core: int
) -> Iterator[ServerProcess]:
    """Runs `command` in `folder` on `server_core`; its output goes to the file `log`."""
    with log.open("wb") as output:
        # Children inherit the affinity of the moment they are started in.
        os.sched_setaffinity(0, {server_core})
        try:
            started_s = time.perf_counter()
            leader = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, {client_core})
    try:
        yield ServerProcess(leader, started_s, log)
    finally:
        stop(leader)


def stop(leader: subprocess.Popen[bytes]) -> None:
    """Ends the session of `leader`: asks it, then kills what is left."""
    with contextlib.suppress(ProcessLookupError):
        leader.terminate()
    until_s = time.monotonic() + STOP_GRACE_S
    while time.monotonic() < until_s:
        if leader.poll() is not None and not session_stats(leader.pid):
            return
        time.sleep(0.005)
    until_s = time.monotonic() + KILL_WAIT_S
    while time.monotonic() < until_s:
        for pid in session_stats(leader.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if leader.poll() is not None and not session_stats(leader.pid):
            return
        time.sleep(0.01)
    raise RuntimeError(f"process {leader.pid} could not be stopped")


def session_stats(session: int) -> dict[int, list[str]]:
    """The fields of /proc/PID/stat from the third on, of every live process of `session`."""
    stats = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        # The second field is the command in parentheses and may hold spaces.
        fields = text.rpartition(")")[2].split()
        if int(fields[3]) == session and fields[0] not in "ZX":
            stats[int(entry)] = fields
    return stats


def process_memory_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
