"""One server in one process: start, serve, stop.

`Server.serve` runs inside an event loop, `Server.run` makes one. It loads the application, lets it
start, opens the listeners, hands them to the native engine and watches for the end: a signal,
`should_exit`, or a limit on requests. Called by `run()`, by worker processes and by programs, which
also override or patch its methods. To asyncio the engine is one file descriptor; everything
between `add_reader` and `remove_reader` happens behind it. The rule: whatever way `serve` ends, no
socket stays open.
"""

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from socket import AF_UNIX, socket
from types import FrameType
from typing import TYPE_CHECKING, Any

from pronghorn import rest_at_exit, systemd
from pronghorn._engine import Engine
from pronghorn.addresses import addresses_of
from pronghorn.browser_reload import BrowserReload
from pronghorn.config import Config
from pronghorn.engines import helping_engine, serving_engine
from pronghorn.errors import STARTUP_FAILURE
from pronghorn.exit_clock import ExitClock
from pronghorn.lifespan import LifespanOff, LifespanOn
from pronghorn.listeners import DeferredAccept, Listener, open_listeners
from pronghorn.logging import style
from pronghorn.memory import keep_freed_memory, resident_mib
from pronghorn.readiness import Readiness
from pronghorn.server_state import ServerState
from pronghorn.supervision import IDLE_GRACE_S, ROW_WORDS, Link, Parting, link
from pronghorn.types import ASGI3Application

if TYPE_CHECKING:
    from pronghorn.tls import TLS

HANDLED_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    HANDLED_SIGNALS += (signal.SIGBREAK,)

TICK_S = 0.1
"""How often `on_tick` looks for a reason to stop."""
TICKS_PER_SECOND = 10
TICKS_MAX = 864_000
"""The tick counter starts again after a day."""
DRAIN_POLL_S = 0.02
FORCED_EXIT_S = 0.8
"""How long after its graceful timeout a process is ended, whatever its requests still do."""
CANCELLED_TASKS_GRACE_S = 0.4
"""How long cancelled requests may take to unwind before their connections are closed."""

logger = logging.getLogger("pronghorn.error")


class Server:
    """Serves one configuration.

    `started` is true once it listens. Setting `should_exit`, from any thread, ends it gracefully;
    `force_exit` makes it stop waiting for what is still running.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.server_state = ServerState()
        self.servers: list[Listener] = []
        self.lifespan: LifespanOn | LifespanOff
        self.started = False
        self.should_exit = False
        self.force_exit = False
        self.last_notified = 0.0
        self.owns_process = False
        """The process is there to serve, so it may be ended when requests do not let it end."""
        self.ends_process = False
        """Nothing follows the server, so threads that run on do not hold up the process's end."""
        self.is_supervised = False
        """Another program watches over this process, and decides how long it may take to end."""
        self.shares_listeners = False
        """Other processes accept from the same sockets, and go on when this one ends."""
        self._link: Link | None = None
        self._exit_clock = ExitClock()
        self._is_spent = self._is_hurried = False
        self._readiness: Readiness | None = None
        self._browser: BrowserReload | None = None
        self._deferred_accept: DeferredAccept | None = None
        self._captured_signals: list[int] = []
        self._is_in_loop = False
        self._loop: asyncio.AbstractEventLoop
        self._redirect: Engine | None = None
        self._tls: TLS | None = None
        self._must_read_certificate = False
        self._woken: asyncio.Event

    @cached_property
    def limit_max_requests(self) -> int | None:
        """The requests after which this server ends, its jitter included."""
        limit = self.config.limit_max_requests
        if limit is None:
            return None
        import random

        return limit + random.randint(0, self.config.limit_max_requests_jitter)

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve in a new event loop until the server ends."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self.serve(sockets=sockets))

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serve in the running event loop; signals that ended the server are raised again."""
        with self.capture_signals():
            await self._serve(sockets)

    async def _serve(self, sockets: list[socket] | None = None) -> None:
        self._link = link()
        self._enter_loop()
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        self._log_process("Started server process [%d]")
        try:
            await self.startup(sockets=sockets)
            if not self.should_exit:
                await self.main_loop()
            if self.started:
                await self.shutdown(sockets=sockets)
                self._log_process("Finished server process [%d]")
        finally:
            self._close_engine()
            self.lifespan.abandon()
            self._application_has_stopped()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Let the application start, then listen.

        Programs that call it themselves, and `main_loop` and `shutdown` after it, load the
        configuration and set `lifespan` before.
        """
        self._enter_loop()
        await self._unless_forced(self.lifespan.startup())
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        if self.force_exit:
            return
        try:
            self.servers = self._open_listeners(sockets)
            self._open_engine_in_context()
        except OSError as error:
            logger.error(error)
            self._close_listeners()
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        # Whoever has bound sockets before has said so.
        self.config.log_running_on(self.servers)
        self.started = True
        if self._link:
            self._link.started()
        else:
            systemd.notify("READY=1")

    async def main_loop(self) -> None:
        """Return when the server is to end."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % TICKS_MAX
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._woken.wait()
            self._woken.clear()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due, ten times a second, and return whether the server is to end."""
        self.server_state.refresh()
        if counter % TICKS_PER_SECOND == 0:
            await self._notify()
            if self._tls:
                self._tls.watch()
        if self.should_exit:
            return True
        if self._tls and self._must_read_certificate:
            self._must_read_certificate = False
            self._tls.reload()
        engine = self.server_state.engine
        if engine and self._deferred_accept:
            self._deferred_accept.observe(engine.accepted_count)
        if self._link:
            self._link.turned(self.server_state.total_requests)
        elif counter % TICKS_PER_SECOND == 0:
            systemd.pet_watchdog()
        return self._has_reached_limit(counter) and not self._is_replaced()

    def _has_reached_limit(self, counter: int) -> bool:
        """Whether this process has done as much as it may; says so once."""
        if self._is_spent:
            return True
        requests, memory = self.limit_max_requests, self.config.limit_max_memory
        if requests is not None and self.server_state.total_requests >= requests:
            logger.info("Maximum request limit of %d exceeded. Terminating process.", requests)
            self._is_spent = True
        elif memory is not None and counter % TICKS_PER_SECOND == 0 and resident_mib() >= memory:
            logger.info("Maximum memory of %d MiB exceeded. Terminating process.", memory)
            self._is_spent = True
        return self._is_spent

    def _is_replaced(self) -> bool:
        """Whether a supervisor ends this process as soon as there is another one."""
        if self._link:
            self._link.ask_for_replacement()
        return self._link is not None

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop listening, let requests finish, then let the application stop."""
        parting = self._link.parting if self._link else Parting.END
        await self._serve_on(parting)
        logger.info("Shutting down")
        engine = self.server_state.engine
        others_serve = parting.has_successor or self.shares_listeners
        idle_grace_s = parting.idle_grace_s(self.config.timeout_keep_alive)
        for each in (engine, self._redirect):
            if each:
                each.stop_listening(leave_waiting=others_serve)
                each.drain(idle_grace_s, is_replaced=others_serve)
        self._close_listeners()
        for passed in sockets or []:
            passed.close()
        grace_s = parting.grace_s(self.config.timeout_graceful_shutdown)
        try:
            async with asyncio.timeout(grace_s):
                if engine and grace_s is not None:
                    lead_s = min(self.config.timeout_shutdown_notice, grace_s / 2)
                    self._loop.call_later(grace_s - lead_s, self._announce_end)
                await self._wait_for_requests(parting.linger_s_max)
        except TimeoutError:
            await self._cancel_requests()
        self._application_may_stop()
        self._close_engine()
        if not self.force_exit:
            await self._unless_forced(self.lifespan.shutdown())

    def _application_may_stop(self) -> None:
        """Requests are over: from now on the application has all the time that it needs."""
        self._exit_clock.stop()
        if self._link:
            self._link.tell_stopping(True)

    def _application_has_stopped(self) -> None:
        self._exit_clock.stop()
        if self._link:
            self._link.tell_stopping(False)
        if self._link or self.ends_process:
            self._exit_clock.go_on()

    async def _serve_on(self, parting: Parting) -> None:
        """Tell load balancers that this server ends, and give them time to look elsewhere."""
        if not self._link:
            systemd.notify("STOPPING=1")
        if self._readiness:
            self._readiness.is_draining = True
        is_told = self._link or signal.SIGTERM in self._captured_signals
        if self.config.drain_delay and is_told and parting is Parting.END:
            logger.info("Serving on for %g s before shutting down.", self.config.drain_delay)
            until = self._loop.time() + self.config.drain_delay
            while self._loop.time() < until and not (self.force_exit or self._is_hurried):
                await asyncio.sleep(min(TICK_S, self.config.drain_delay))
        if self._browser:
            self._browser.end()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle the signals that end a server, and raise those again that came meanwhile."""
        # Signals can only be listened to from the main thread.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # `signal.signal` rather than `loop.add_signal_handler`, so that what was there before can
        # be restored.
        before = {each: signal.signal(each, self.handle_exit) for each in HANDLED_SIGNALS}
        if self.config.is_ssl and hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self.handle_hangup)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
        # The last one first, so that the process ends as whoever sent them expects.
        for captured in reversed(self._captured_signals):
            signal.raise_signal(captured)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the server on a signal; a second one stops it from waiting.

        Under a supervisor only an interrupt does: gunicorn repeats SIGTERM every second, service
        managers tell every process, and the supervisor tells its workers as well.
        """
        self._captured_signals.append(sig)
        if not self.should_exit:
            self.should_exit = True
            self._exit_in_time(sig)
        elif sig != signal.SIGTERM or not (self._link or self.is_supervised):
            self.force_exit = True
        if self._is_in_loop:
            self._loop.call_soon_threadsafe(self._woken.set)

    def hurry(self) -> None:
        """End, and cancel requests instead of waiting for them; to be called in the loop.

        The application may stop as ever, unless it has not started yet.
        """
        self.should_exit = self._is_hurried = True
        self.force_exit |= not self.started
        self._woken.set()

    def _exit_in_time(self, sig: int) -> None:
        """Have the process end even if a request holds the thread, or has one that runs on."""
        grace_s = self.config.timeout_graceful_shutdown
        if grace_s is not None and (self._link or self.owns_process):
            self._exit_clock.start(self.config.drain_delay + grace_s + FORCED_EXIT_S, sig)

    def handle_hangup(self, sig: int, frame: FrameType | None) -> None:
        """Read the certificates again."""
        self._must_read_certificate = True

    def _enter_loop(self) -> None:
        if not self._is_in_loop:
            self._loop = asyncio.get_running_loop()
            self._woken = asyncio.Event()
            self._is_in_loop = True

    def _open_listeners(self, sockets: Sequence[socket] | None) -> list[Listener]:
        if sockets is None:
            listeners = open_listeners(addresses_of(self.config))
        else:
            listeners = [Listener([passed]) for passed in sockets]
        for listener in listeners:
            for each in listener.sockets:
                each.setblocking(False)
                each.listen(self.config.backlog)
        return listeners

    def _open_engine_in_context(self) -> None:
        """Open the engine in the context of which requests get copies."""
        if self.config.reset_contextvars:
            contextvars.Context().run(self._open_engine)
        else:
            self._open_engine()

    def _open_engine(self) -> None:
        config, state = self.config, self.server_state
        keep_freed_memory()
        engine = serving_engine(config, self._loop, self._application(), self.lifespan.state)
        state.open(engine)
        state.fixed_headers = config.encoded_headers
        state.date_header = config.date_header
        if self._link:
            engine.share_load(self._link.board.memory, ROW_WORDS, self._link.load_index)
        self._listen(engine)
        if config.limit_concurrency is None:  # which counts silent connections as well
            self._deferred_accept = DeferredAccept(self.servers)
        self._loop.add_reader(engine.fileno(), engine.on_ready)
        rest_at_exit.add(self._loop)

    def _listen(self, engine: Engine) -> None:
        if self.config.ssl is not None:
            from pronghorn.tls import TLS  # Costly, and only for servers with TLS.

            self._tls = TLS(self.config)
        sockets = [each for listener in self.servers for each in listener.sockets]
        redirecting = [each for each in sockets if self._is_redirecting(each)]
        serving = [each for each in sockets if each not in redirecting]
        for each in serving:
            engine.listen(each, self._tls)
        if redirecting:
            self._open_redirect(redirecting, serving)

    def _is_redirecting(self, bound: socket) -> bool:
        """Whether plain HTTP is sent on to https there; a parent process may have bound it."""
        port = self.config.ssl_redirect_port
        return port is not None and bound.family != AF_UNIX and bound.getsockname()[1] == port

    def _open_redirect(self, redirecting: list[socket], serving: list[socket]) -> None:
        from pronghorn.redirect import redirect_to_https

        ports = [each.getsockname()[1] for each in serving if each.family != AF_UNIX]
        port = ports[0] if ports else self.config.port
        self._redirect = helping_engine(self.config, self._loop, redirect_to_https(port))
        for each in redirecting:
            self._redirect.listen(each)
        self._loop.add_reader(self._redirect.fileno(), self._redirect.on_ready)

    def _application(self) -> ASGI3Application:
        app = self.config.loaded_app
        if self.config.readiness_path is not None:
            app = self._readiness = Readiness(app, self.config.readiness_path)
        if self.config.reload_browser and self.config.should_reload:
            app = self._browser = BrowserReload(app)
        return app

    def _close_engine(self) -> None:
        self._is_in_loop = False
        engines = [self.server_state.engine, self._redirect]
        self.server_state.forget_engine()
        self._redirect = None
        try:
            for engine in engines:
                if engine:
                    if not self._loop.is_closed():
                        self._loop.remove_reader(engine.fileno())
                    engine.close()
        finally:
            rest_at_exit.discard(self._loop)
            self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self.servers:
            listener.close()

    def _announce_end(self) -> None:
        # Event streams have no end of their own, and would use up the grace period.
        if self.server_state.engine:
            self.server_state.engine.announce_end()

    async def _wait_for_requests(self, linger_s_max: float) -> None:
        engine = self.server_state.engine
        if engine is None:
            return
        # Idle connections are closed without a word in the log.
        await self._poll_while(
            lambda: engine.connection_count > 0 and not engine.task_count,
            IDLE_GRACE_S + DRAIN_POLL_S,
        )
        if engine.connection_count and not self.force_exit:
            logger.info("Waiting for connections to close. (CTRL+C to force quit)")
            while engine.connection_count and not self.force_exit:
                await self._rest()
        if engine.task_count and not self.force_exit:
            logger.info("Waiting for background tasks to complete. (CTRL+C to force quit)")
            while engine.task_count and not self.force_exit:
                await self._rest()
        self._application_may_stop()
        # Clients that have been told take their time to close; what they send now gets no reset.
        await self._poll_while(lambda: engine.lingering_count > 0, linger_s_max)

    async def _poll_while(self, condition: Callable[[], bool], time_s_max: float) -> None:
        until = self._loop.time() + time_s_max
        await asyncio.sleep(0)
        while condition() and not self.force_exit and self._loop.time() < until:
            await self._rest()

    async def _rest(self) -> None:
        """Wait a moment for requests, unless there is no time for them any more."""
        if self._is_hurried:
            raise TimeoutError
        await asyncio.sleep(DRAIN_POLL_S)

    async def _cancel_requests(self) -> None:
        tasks = self.server_state.tasks
        if self._is_hurried and not tasks:
            return
        logger.error("Cancel %d running task(s), timeout graceful shutdown exceeded", len(tasks))
        for task in tasks:
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")
        if tasks:
            await asyncio.wait(tasks, timeout=CANCELLED_TASKS_GRACE_S)

    async def _unless_forced(self, step: Coroutine[Any, Any, None]) -> None:
        """Await `step`, but give up on it when the user insists on leaving."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def watch() -> None:
            nonlocal timer
            if self.force_exit:
                patience.reschedule(loop.time())
            else:
                timer = loop.call_later(TICK_S, watch)

        timer = loop.call_later(TICK_S, watch)
        try:
            async with asyncio.timeout(None) as patience:
                await step
        except TimeoutError:
            if not patience.expired():
                raise
        finally:
            timer.cancel()

    async def _notify(self) -> None:
        callback = self.config.callback_notify
        now = time.time()
        if callback is not None and now - self.last_notified > self.config.timeout_notify:
            self.last_notified = now
            await callback()

    def _log_process(self, message: str) -> None:
        color_message = message.replace("%d", style("%d", fg="cyan"))
        logger.info(message, os.getpid(), extra={"color_message": color_message})
