"""Serves from one child process, and starts a new one when a file changes.

The subclasses find changes, one with watchfiles and one by polling. The sockets stay open here, so
that clients wait in their queue while there is nobody to accept. A spare child has everything
imported but the application; when a file changes, the old child is told to end and the spare takes
over as soon as it has, or after a moment if it takes its time over open streams. An application
that shuts down keeps what it has opened meanwhile, so the next one waits for that; one that has
failed to start beside an old one tries again without. The rule: whatever happens to children, the
supervisor goes on watching files.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket

from pronghorn import systemd
from pronghorn.config import Config
from pronghorn.logging import style
from pronghorn.supervision import Board, Parting
from pronghorn.supervisors.backoff import BackOff
from pronghorn.supervisors.process import Process, killed_on_failure

HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANDOVER_S_MAX = 0.25
"""How long the next child waits for the requests of the one before it."""
POLL_S = 0.01

logger = logging.getLogger("pronghorn.error")


class BaseReload:
    """What both ways of finding changes share; iterating over it waits for changes."""

    reloader_name: str | None = None

    def __init__(self, config: Config, target: Callable[..., None], sockets: list[socket]) -> None:
        self.config = config
        self.target = target
        self.sockets = sockets
        self.should_exit = threading.Event()
        self.pid = os.getpid()
        self.exit_code = 0
        self.process: Process | None = None
        self._spare: Process | None = None
        self._old: list[Process] = []
        self._board = Board()
        self._back_off = BackOff()
        self._is_due = False
        """There is no child, and another one is to be started."""
        self._has_company = False
        """There was an old child when the present one was started."""
        self._waits_for_old = False
        """The present child has failed to start, maybe since an old one had what it needs."""
        self._is_reported = False
        self._is_forced = False

    def run(self) -> None:
        """Serve, and reload on changes, until told to end."""
        with killed_on_failure(self._all):
            self._supervise()

    def _supervise(self) -> None:
        self.startup()
        for changes in self:
            self._look_after_children()
            if changes:
                logger.warning(
                    "%s detected changes in %s. Reloading...",
                    self.reloader_name,
                    ", ".join(sorted(map(_display_path, changes))),
                )
                self.restart()
        self.shutdown()

    def __iter__(self) -> Iterator[list[Path] | None]:
        return self

    def __next__(self) -> list[Path] | None:
        if self.should_exit.is_set():
            raise StopIteration
        return self.should_restart()

    def should_restart(self) -> list[Path] | None:
        """Wait a moment for files to change; which have."""
        raise NotImplementedError("a way to reload overrides should_restart()")

    def pause(self) -> None:
        """Wait for `reload_delay`; when told to end, ends the loop that waits for changes."""
        if self.should_exit.wait(self.config.reload_delay):
            raise StopIteration

    def signal_handler(self, sig: int, frame: object) -> None:
        """End; by a second SIGINT at once."""
        self._is_forced |= self.should_exit.is_set() and sig == signal.SIGINT
        self.should_exit.set()

    def startup(self) -> None:
        """Start the first child."""
        self._log_process("Started reloader process [%d] using " + str(self.reloader_name))
        if threading.current_thread() is threading.main_thread():
            for each in HANDLED_SIGNALS:
                signal.signal(each, self.signal_handler)
        for listening in self.sockets:
            # Clients that come before the child does wait instead of being refused.
            listening.listen(self.config.backlog)
        self._start_next()

    def restart(self) -> None:
        """Replace the child."""
        if self.process:
            self.process.terminate(Parting.RELOADED)
            self._wait_for(self.process, HANDOVER_S_MAX)
            self._old.append(self.process)
            self.process = None
        self._back_off.succeeded()
        self._is_due, self._waits_for_old = True, False
        self._start_unless_in_the_way()

    def shutdown(self) -> None:
        """End the children."""
        systemd.notify("STOPPING=1")
        for listening in self.sockets:
            listening.close()
        left = self._all()
        for process in left:
            if process is self._spare:
                process.kill()
            else:
                process.terminate(Parting.INTERRUPT)
        while left := [each for each in left if not each.has_gone()]:
            if self._is_forced:
                for process in left:
                    process.kill()
            time.sleep(POLL_S)
        self._log_process("Stopping reloader process [%d]")

    def _all(self) -> list[Process]:
        return [each for each in (self.process, self._spare, *self._old) if each]

    def _new_process(self, *, waits: bool) -> Process | None:
        """Another child; None if the system has no room for it."""
        # A child in a group of its own could not read from the terminal, which debuggers do.
        leads_group = not (sys.stdin and sys.stdin.isatty())
        try:
            process = Process(
                self.config,
                self.sockets,
                self.target,
                self._board,
                waits=waits,
                leads_group=leads_group,
            )
            process.start()
        except OSError as error:
            logger.error("Cannot start a child process: %s", error)
            return None
        return process

    def _start_unless_in_the_way(self) -> None:
        """Start the next child as soon as no old one has what its application may need."""
        self._old = [each for each in self._old if not each.has_gone()]
        if self._waits_for_old:
            is_in_the_way = bool(self._old)
        else:
            is_in_the_way = any(each.is_stopping() for each in self._old)
        if not is_in_the_way:
            self._start_next()

    def _start_next(self) -> None:
        self._has_company, self._waits_for_old = bool(self._old), False
        spare, self._spare = self._spare, None
        if spare and not spare.has_ended():
            spare.go()
            self.process = spare
        else:
            self.process = self._new_process(waits=False)
        self._spare = self._new_process(waits=True)
        self._is_due = self.process is None
        if self._is_due:
            self._back_off.died(time.monotonic(), None, has_served=False)

    def _look_after_children(self) -> None:
        self._old = [each for each in self._old if not each.has_gone()]
        now = time.monotonic()
        if self.process is None:
            if self._is_due and self._back_off.is_due(now):
                self._start_unless_in_the_way()
            return
        self.process.hear()
        if self.process.has_ended():
            self._child_died(self.process, now)
        elif self.process.is_ready:
            self._report_ready()

    def _child_died(self, process: Process, now: float) -> None:
        self.process = None
        if not process.is_ready and self._has_company:
            self._is_due = self._waits_for_old = True
            logger.error(
                "Child process [%s] failed to start; trying again without the one before it.",
                process.pid,
            )
            return
        if not process.is_ready:
            logger.error(
                "Child process [%s] failed to start; waiting for files to change.", process.pid
            )
            return
        logger.error("Child process [%s] died", process.pid)
        lived_s = now - process.ready_at
        self._is_due = True
        if self._back_off.died(now, lived_s, has_served=process.requests() > 0):
            if self._back_off.is_exhausted:
                self._is_due = False
                logger.error(
                    "Child processes died %d times in a row right after their start; "
                    "waiting for files to change.",
                    self._back_off.count,
                )
            else:
                logger.warning("The next one is started in %.1f s.", self._back_off.delay_s)

    def _report_ready(self) -> None:
        if not self._is_reported:
            self._is_reported = True
            systemd.notify("READY=1")
        systemd.pet_watchdog()

    def _wait_for(self, process: Process, time_s_max: float) -> None:
        until = time.monotonic() + time_s_max
        while not process.has_ended() and time.monotonic() < until:
            time.sleep(POLL_S)

    def _log_process(self, message: str) -> None:
        color_message = message.replace("%d", style("%d", fg="cyan", bold=True))
        if self.reloader_name:
            name = style(self.reloader_name, fg="cyan", bold=True)
            color_message = color_message.replace(self.reloader_name, name)
        logger.info(message, self.pid, extra={"color_message": color_message})


def _display_path(path: Path) -> str:
    try:
        return f"'{path.relative_to(Path.cwd())}'"
    except ValueError:
        return f"'{path}'"
