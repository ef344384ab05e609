"""One process that serves, as its supervisor sees it, and what that process does first.

Used by both supervisors. A process is started with spawn (or forked, for `--preload`), leads a
process group of its own, so that nothing that the application starts outlives it, and shows signs
of life on the `Board`. The rule: nothing here waits for a process except `join`.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import allow_connection_pickling, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from socket import socket
from typing import Any, TypeAlias

from pronghorn.config import Config
from pronghorn.supervision import GO, REPLACE, STARTED, Board, Link, Parting, Word, attach
from pronghorn.supervisors.family import descendants, kill_all

allow_connection_pickling()
SPAWN = get_context("spawn")

logger = logging.getLogger("pronghorn.error")

Target: TypeAlias = Callable[..., None]

STOPPING_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
PULSE_S_MAX = 0.5
BOOT_S_MAX = 300.0
"""How long a process may take to its first sign of life: until then it imports `__main__`."""
FORCED_EXIT_S = 0.9
"""How long after its graceful timeout a process is killed, its lifespan's shutdown left out; it has
tried to end itself before."""
ABSENCE_S_MIN = 0.5
"""A supervisor that looks less often than this may itself have been stopped meanwhile."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a word of a process's row was when it was last looked at, and since when."""

    value: int
    since: float
    looked_at: float


class Process:
    """A process that serves, or is about to."""

    def __init__(
        self,
        config: Config,
        sockets: Sequence[socket],
        target: Target,
        board: Board,
        *,
        context: BaseContext = SPAWN,
        waits: bool = False,
        leads_group: bool = True,
        inherited: Sequence[Connection] = (),
    ) -> None:
        self.channel, self._far_end = SPAWN.Pipe()
        self._config = config
        self._board = board
        self._row = board.take_row()
        self._healthcheck_s = config.timeout_worker_healthcheck
        self._absence_s_max = max(ABSENCE_S_MIN, self._healthcheck_s / 2)
        self._leads_group = leads_group and hasattr(os, "setpgid")
        pulse_s = min(PULSE_S_MAX, self._healthcheck_s / 4 or PULSE_S_MAX)
        link = Link(board, self._row, self._far_end, pulse_s)
        self._forks = context is not SPAWN
        self._process: Any = context.Process(  # type: ignore[attr-defined]
            target=_run,
            kwargs={
                "config": config,
                "target": target,
                "sockets": list(sockets),
                "stdin": _stdin(),
                "link": link,
                "waits": waits,
                "leads_group": self._leads_group,
                "inherited": [self.channel, *inherited] if self._forks else [],
            },
        )
        self.is_ready = False
        """It accepts requests."""
        self.wants_replacement = False
        self.started_at = self.ready_at = 0.0
        self._is_told_to_end = self._is_found_silent = False
        self._kill_at: float | None = None
        """When it will have had the time that it gets for its requests."""
        self._looks: dict[Word, Look] = {}

    def start(self) -> None:
        """Start it; raises `OSError`, and leaves nothing behind, where the system has no room."""
        self.started_at = time.monotonic()
        if self._forks:
            # Until the child has handlers of its own, a signal to it would get lost.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
        try:
            self._process.start()
        except OSError:
            self._bury()
            raise
        finally:
            if self._forks:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)
            self._far_end.close()

    def go(self) -> None:
        """Have a process that waits begin."""
        self.started_at = time.monotonic()
        with suppress(OSError):
            self.channel.send_bytes(GO)

    @property
    def pid(self) -> int | None:
        """Its process id."""
        pid: int | None = self._process.pid
        return pid

    @property
    def exitcode(self) -> int | None:
        """The exit code, minus the signal that killed it, None while it runs."""
        code: int | None = self._process.exitcode
        return code

    @property
    def sentinel(self) -> Any:
        """Something to wait for that is ready once the process has ended."""
        return self._process.sentinel

    def hear(self) -> None:
        """Take what the process has to tell."""
        with suppress(EOFError, OSError):
            while not self.channel.closed and self.channel.poll():
                match self.channel.recv_bytes():
                    case message if message == STARTED:
                        self.is_ready = True
                        self.ready_at = time.monotonic()
                    case message if message == REPLACE:
                        self.wants_replacement = True

    def has_ended(self) -> bool:
        """Whether it has; what it left behind is killed."""
        if self._process.is_alive():
            return False
        self._bury()
        return True

    def is_alive(self, timeout: float | None = None) -> bool:
        """Whether it runs and has shown a sign of life within `timeout` seconds."""
        if not self._process.is_alive():
            return False
        limit = self._healthcheck_s if timeout is None else timeout
        return not limit or self.silence_s() <= limit

    def is_stopping(self) -> bool:
        """Whether its requests are over, and its application's lifespan shuts down."""
        return self._process.is_alive() and self._board.word(self._row, Word.STOPPING) == 1

    def has_gone(self) -> bool:
        """Whether one that was told to end has; its time over, or silent, it is killed."""
        if self.has_ended():
            return True
        now = time.monotonic()
        if self._kill_at is not None and self.is_stopping():
            # What its application takes is not counted.
            self._kill_at = max(self._kill_at, now + FORCED_EXIT_S)
        if self._kill_at is not None and now > self._kill_at:
            self.kill()
        else:
            self.kill_if_silent()
        return False

    def kill_if_silent(self) -> bool:
        """Kill it, and say so, when it has shown no sign of life for too long."""
        silence_s = self.silence_s()
        if not self._healthcheck_s or silence_s <= self._healthcheck_s:
            return False
        if not self._is_found_silent:
            self._is_found_silent = True
            logger.error(
                "Child process [%s] has shown no sign of life for %.1f s, killing it.",
                self.pid,
                silence_s,
            )
        self.kill()
        return True

    def silence_s(self) -> float:
        """For how long it has shown no sign of life."""
        silence = self.unchanged_s(Word.BEATS)
        # Told to end, one that still boots ends at once.
        is_booting = self._board.word(self._row, Word.BEATS) == 0 and not self._is_told_to_end
        return max(0.0, silence - BOOT_S_MAX) if is_booting else silence

    def unchanged_s(self, word: Word) -> float:
        """For how long a word of its row has been seen to stay as it is.

        Counted afresh when nobody has looked for a while: what stopped the supervisor may have
        stopped the process as well, and it must have time to go on.
        """
        value, now = self._board.word(self._row, word), time.monotonic()
        last = self._looks.get(word)
        is_known = last and last.value == value and now - last.looked_at <= self._absence_s_max
        since = last.since if last and is_known else now
        self._looks[word] = Look(value, since, now)
        return now - since

    def requests(self) -> int:
        """Requests that it has answered."""
        return self._board.word(self._row, Word.REQUESTS)

    def terminate(self, parting: Parting = Parting.END) -> bool:
        """Ask it to end, within the time that it gets; false if it has ended."""
        if not self._process.is_alive():
            return False
        allowed_s = self._stopping_s_max(parting)
        if allowed_s is not None and self._kill_at is None:
            self._kill_at = time.monotonic() + allowed_s
        self._is_told_to_end = True
        self._board.set(self._row, Word.PARTING, parting)
        self._process.terminate()
        return True

    def kill(self) -> None:
        """End it now, with all that it has started."""
        if self.channel.closed:
            return  # It has gone, and its number may be another's.
        family = [] if self._leads_group or not self.pid else descendants(self.pid)
        self._kill_group()
        self._process.kill()
        kill_all(family)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._process.join(timeout)
        if not self._process.is_alive():
            self._bury()

    def _stopping_s_max(self, parting: Parting) -> float | None:
        grace_s = parting.grace_s(self._config.timeout_graceful_shutdown)
        if grace_s is None:
            return None
        delay_s = self._config.drain_delay if parting is Parting.END else 0.0
        return delay_s + grace_s + FORCED_EXIT_S

    def _bury(self) -> None:
        if self.channel.closed:
            return
        self._kill_group()
        self.hear()
        self.channel.close()
        self._board.give_back(self._row)

    def _kill_group(self) -> None:
        if self._leads_group and self.pid:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)


@contextmanager
def killed_on_failure(processes: Callable[[], Iterable[Process]]) -> Iterator[None]:
    """Kill the processes if their supervisor fails.

    Nobody would watch over them any more, nor pass on a signal; Python waits for them at its end.
    """
    try:
        yield
    except BaseException:
        for process in processes():
            process.kill()
        raise


def _stdin() -> int | None:
    # Passed on for debuggers: multiprocessing closes it.
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _run(
    config: Config,
    target: Target,
    sockets: list[socket],
    stdin: int | None,
    link: Link,
    waits: bool,
    leads_group: bool,
    inherited: list[Connection],
) -> None:
    """What the process does: prepare, wait if told so, and call `target(sockets=...)`."""
    if inherited:
        _after_fork(config, inherited)
    if leads_group:
        os.setpgid(0, 0)
    else:
        # A Ctrl+C at the terminal goes to every process of the group; the supervisor acts on it.
        signal.signal(signal.SIGINT, lambda *_: None)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, lambda *_: signal.raise_signal(signal.SIGTERM))
    for each in sockets:
        # They came through an exec; what the application executes shall not have them.
        each.set_inheritable(False)
    if stdin is not None:
        with suppress(OSError):
            sys.stdin = os.fdopen(stdin)
    config.configure_logging()
    attach(link)
    link.start()
    if waits:
        _import_ahead(config)
        if not link.wait_for_go():
            return
    if isinstance(config.app, str):
        # Before the server handles signals: until it serves, one simply ends the process.
        config.load_app()
    signal.signal(signal.SIGTERM, lambda *_: _end(link))
    # Who sends an interrupt knows; a stack trace would tell nobody anything.
    with suppress(KeyboardInterrupt):
        target(sockets=sockets)


def _end(link: Link) -> None:
    """End by SIGTERM, as the last thing; without a supervisor nobody else ends the family."""
    if link.is_orphaned():
        kill_all(descendants(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _after_fork(config: Config, inherited: list[Connection]) -> None:
    """Let go of what is the supervisor's, and of what may have grown old since it was loaded."""
    for channel in inherited:
        channel.close()
    for each in STOPPING_SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)
    config.load_ssl()


def _import_ahead(config: Config) -> None:
    """Everything that serving takes but for the application."""
    import pronghorn.server  # noqa: F401

    with suppress(SystemExit):
        config.get_loop_factory()
