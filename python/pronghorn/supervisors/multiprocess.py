"""Keeps a number of worker processes running, and replaces them without losing a request.

Called by `run()` for `workers` above one, and by programs (`Multiprocess(config, sockets).run()`).
A worker that is to be replaced (SIGHUP, a limit that it has reached) goes on until its successor
accepts requests; one at a time. The rule: the loop in `run` never waits for one process, so that
a signal, a death or a silence is always seen.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from socket import socket

from pronghorn import systemd
from pronghorn.config import Config
from pronghorn.errors import STARTUP_FAILURE
from pronghorn.logging import style
from pronghorn.server import Server
from pronghorn.supervision import Board, Parting, Word
from pronghorn.supervisors.backoff import BackOff
from pronghorn.supervisors.process import SPAWN, Process, killed_on_failure
from pronghorn.supervisors.signals import SIGNALS, SignalQueue

TURN_S = 0.1
"""How often the supervisor looks at its processes when nothing tells it to."""
LAG_WARNING_S = 1.0
"""How long an event loop may stand still before that is worth a line in the log."""

logger = logging.getLogger("pronghorn.error")


@dataclass(eq=False)
class Place:
    """One of the workers that there are to be: who fills it, and who will."""

    process: Process | None = None
    successor: Process | None = None
    back_off: BackOff = field(default_factory=BackOff)
    lags: bool = False

    def all(self) -> Iterator[Process]:
        """Its processes."""
        return (each for each in (self.process, self.successor) if each)


class Multiprocess:
    """The parent of `config.workers` processes that share the listening sockets."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        self.config = config
        self.sockets = sockets
        self.processes_num = config.workers or 1
        self.should_exit = threading.Event()
        self.exit_code = 0
        """What the parent ends with."""
        self.signal_queue = SignalQueue()
        self._board = Board()
        self._places: list[Place] = []
        self._to_replace: deque[Place] = deque()
        self._replacing: Place | None = None
        self._retiring: list[Process] = []
        self._is_complete = False
        """All workers that the server starts with have served."""
        self._is_interrupted = False
        self._context: BaseContext = SPAWN

    @property
    def processes(self) -> list[Process]:
        """The workers that fill their places."""
        return [place.process for place in self._places if place.process]

    def run(self) -> None:
        """Start the workers and watch them until the parent is told to end."""
        self._log_process("Started parent process [%d]")
        for each in self.sockets:
            # Clients that come before the workers do wait instead of being refused.
            each.listen(self.config.backlog)
        # Until there are workers, a signal simply ends the parent, whatever the application does.
        self._preload()
        self.signal_queue.listen()
        with killed_on_failure(self._all):
            self._supervise()
        self.signal_queue.close()
        self._log_process("Stopping parent process [%d]")

    def _supervise(self) -> None:
        self.init_processes()
        while not self.should_exit.is_set():
            self._wait()
            self.handle_signals()
            if not self.should_exit.is_set():
                self.keep_subprocess_alive()
        self._close_sockets()
        self.terminate_all()
        self.join_all()

    def init_processes(self) -> None:
        """Start the workers."""
        for _ in range(self.processes_num):
            self._add_place()

    def terminate_all(self) -> None:
        """Ask every process to end."""
        parting = Parting.INTERRUPT if self._is_interrupted else Parting.END
        systemd.notify("STOPPING=1")
        for process in self._all():
            if process.terminate(parting):
                logger.info("Terminated child process [%s]", process.pid)

    def join_all(self) -> None:
        """Wait for every process, no longer than they may take."""
        left = self._all()
        for process in left:
            logger.info("Waiting for child process [%s]", process.pid)
        while left := [each for each in left if not each.has_gone()]:
            self.signal_queue.wait([each.sentinel for each in left], TURN_S)
            self.handle_signals()

    def restart_all(self) -> None:
        """Replace each worker, one at a time, once its successor serves."""
        systemd.notify_reloading()
        self._to_replace = deque(self._places)
        if self._replacing is not None and self._replacing.successor is not None:
            # It may have read what has changed since, or not; and it may serve already.
            successor, self._replacing.successor = self._replacing.successor, None
            successor.hear()
            if successor.is_ready:
                self._retire(successor)
            else:
                self._discard(successor)
        self._replacing = None

    def keep_subprocess_alive(self) -> None:
        """Look after every process: one turn of the supervisor."""
        now = time.monotonic()
        for process in self._all():
            process.hear()
        for place in self._places:
            self._look_after(place, now)
            if self.should_exit.is_set():
                return
        self._retiring = [each for each in self._retiring if not each.has_gone()]
        self._go_on_replacing(now)
        if not self._is_complete and all(
            place.process and place.process.is_ready for place in self._first_places
        ):
            self._is_complete = True
            systemd.notify("READY=1")
        if self._serves:
            systemd.pet_watchdog()

    def handle_signals(self) -> None:
        """Act on the signals that have come."""
        while self.signal_queue:
            name = SIGNALS[self.signal_queue.pop(0)]
            handler = getattr(self, f"handle_{name.lower()}", None)
            if handler is None:
                logger.debug("Received signal %s, but no handler is defined for it.", name)
            else:
                handler()

    def handle_int(self) -> None:
        """End; a second time, at once."""
        if self._is_interrupted:
            for process in self._all():
                process.kill()
        self._is_interrupted = True
        self._exit_on("SIGINT")

    def handle_term(self) -> None:
        """End."""
        self._exit_on("SIGTERM")

    def handle_break(self) -> None:
        """End (Windows)."""
        self._exit_on("SIGBREAK")

    def handle_hup(self) -> None:
        """Replace all workers."""
        if not self.should_exit.is_set():
            logger.info("Received SIGHUP, restarting processes.")
            self.restart_all()

    def handle_ttin(self) -> None:
        """One worker more."""
        if not self.should_exit.is_set():
            logger.info("Received SIGTTIN, increasing the number of processes.")
            self.processes_num += 1
            self._add_place()

    def handle_ttou(self) -> None:
        """One worker less."""
        if self.should_exit.is_set():
            return
        logger.info("Received SIGTTOU, decreasing number of processes.")
        if self.processes_num <= 1:
            logger.info(
                "Already reached one process, cannot decrease the number of processes anymore."
            )
            return
        self.processes_num -= 1
        place = self._places.pop()
        if place in self._to_replace:
            self._to_replace.remove(place)
        for process in place.all():
            self._retire(process)

    def _exit_on(self, name: str) -> None:
        logger.info("Received %s, exiting.", name)
        self.should_exit.set()

    def _wait(self) -> None:
        awaited = [each for process in self._all() for each in (process.sentinel, process.channel)]
        self.signal_queue.wait(awaited, TURN_S)

    def _all(self) -> list[Process]:
        return [each for place in self._places for each in place.all()] + self._retiring

    def _add_place(self) -> None:
        place = Place()
        self._places.append(place)
        place.process = self._new_process(place)

    def _new_process(self, place: Place) -> Process | None:
        """A process for the place; None, and another time, if the system has no room for it."""
        try:
            process = Process(
                self.config,
                self.sockets,
                Server(self.config).run,
                self._board,
                context=self._context,
                inherited=[each.channel for each in self._all() if not each.channel.closed],
            )
            process.start()
        except OSError as error:
            logger.error("Cannot start a child process: %s", error)
            self._count_crash(place, time.monotonic(), lived_s=None, has_served=False)
            return None
        return process

    def _look_after(self, place: Place, now: float) -> None:
        process = place.process
        if process is None:
            if place.back_off.is_due(now) and place.successor is None:
                place.process = self._new_process(place)
            return
        if process.has_ended():
            self._died(place, process, now)
        elif process.kill_if_silent():
            return
        elif process.wants_replacement and self._may_queue(place, now):
            self._to_replace.append(place)
        elif process.is_ready:
            self._report_lag(place, process)

    def _may_queue(self, place: Place, now: float) -> bool:
        is_queued = place in self._to_replace or place is self._replacing
        return not is_queued and place.back_off.is_due(now)

    def _report_lag(self, place: Place, process: Process) -> None:
        lag = process.unchanged_s(Word.TURNS)
        if process.silence_s() >= LAG_WARNING_S:
            return  # It does not run at all, which is another matter.
        if lag >= LAG_WARNING_S and not place.lags:
            logger.warning(
                "The event loop of child process [%s] has stood still for %.1f s: "
                "the application blocks it.",
                process.pid,
                lag,
            )
        place.lags = lag >= LAG_WARNING_S

    def _died(self, place: Place, process: Process, now: float) -> None:
        place.process = None
        has_failed = not process.is_ready and (process.exitcode or 0) >= 0
        if has_failed and self._is_needed(place):
            logger.error(
                "Child process [%s] failed to start, stopping the parent process.", process.pid
            )
            return self._give_up()
        logger.info("Child process [%s] died", process.pid)
        lived_s = now - process.ready_at if process.is_ready else None
        return self._count_crash(place, now, lived_s, has_served=process.requests() > 0)

    def _count_crash(
        self, place: Place, now: float, lived_s: float | None, *, has_served: bool
    ) -> None:
        if not place.back_off.died(now, lived_s, has_served=has_served):
            return
        if place.back_off.is_exhausted and self._is_needed(place) and not self._serves:
            logger.error(
                "Child processes died %d times in a row right after their start; "
                "giving up and stopping the parent process.",
                place.back_off.count,
            )
            self._give_up()
        else:
            logger.warning("The next one is started in %.1f s.", place.back_off.delay_s)

    @property
    def _serves(self) -> bool:
        return any(each.is_ready for each in self.processes)

    @property
    def _first_places(self) -> list[Place]:
        """Those that the server starts with, without those that SIGTTIN has added."""
        return self._places[: self.config.workers or 1]

    def _is_needed(self, place: Place) -> bool:
        """Whether there is no server if this worker cannot start."""
        return not self._serves if self._is_complete else place in self._first_places

    def _give_up(self) -> None:
        self.exit_code = STARTUP_FAILURE
        self.should_exit.set()

    def _go_on_replacing(self, now: float) -> None:
        place = self._replacing
        if place is None:
            if not self._to_replace:
                return
            place = self._replacing = self._to_replace.popleft()
            place.successor = self._new_process(place)
            return
        successor = place.successor
        if successor is None or place not in self._places:
            self._replacing = None
        elif successor.is_ready:
            if place.process:
                self._retire(place.process)
            place.process, place.successor, self._replacing = successor, None, None
            place.back_off.succeeded()
        elif successor.has_ended() or not successor.is_alive() or now > self._patience(place):
            self._abort_replacing(place, successor, now)
        if self._replacing is None and not self._to_replace:
            systemd.notify("READY=1")

    def _patience(self, place: Place) -> float:
        """Until when a successor must serve: it may take longer than the one before it."""
        successor, process = place.successor, place.process
        before_s = process.ready_at - process.started_at if process and process.is_ready else 0.0
        started_at = successor.started_at if successor else 0.0
        return started_at + self.config.timeout_worker_healthcheck + 2 * before_s

    def _abort_replacing(self, place: Place, successor: Process, now: float) -> None:
        self._discard(successor)
        place.back_off.died(now, None, has_served=False)
        place.successor = self._replacing = None
        self._to_replace.clear()
        logger.error(
            "New child process [%s] was not ready in time; keeping worker [%s] and aborting the "
            "restart.",
            successor.pid,
            place.process.pid if place.process else None,
        )

    def _retire(self, process: Process) -> None:
        if process.terminate(Parting.REPLACED):
            logger.info("Terminated child process [%s]", process.pid)
        self._retiring.append(process)

    def _discard(self, process: Process) -> None:
        if not process.has_ended():
            process.kill()
            self._retiring.append(process)

    def _close_sockets(self) -> None:
        # Before the workers are told: nobody shall wait in a queue that is not served any more.
        for each in self.sockets:
            each.close()

    def _preload(self) -> None:
        if self.config.preload:
            from pronghorn.supervisors.preload import fork_context

            self._context = fork_context(self.config) or SPAWN

    def _log_process(self, message: str) -> None:
        color_message = message.replace("%d", style("%d", fg="cyan", bold=True))
        logger.info(message, os.getpid(), extra={"color_message": color_message})
