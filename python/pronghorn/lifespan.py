"""Tells the application when the server starts and stops: the ASGI lifespan protocol.

`LifespanOn` runs the application once, in a task of its own, with a `lifespan` scope whose
`state` the engine copies into every request. `Server` awaits `startup` before it listens and
`shutdown` after the last request, and reads `should_exit` after each. With `--lifespan auto` an
application that raises is taken not to know the protocol; with `on` that is a failure.
`Phase` is the one state; `_TRANSITIONS` are all the moves that an application can make.
"""

import asyncio
import logging
from enum import Enum, auto
from typing import Any, Literal, Protocol

from pronghorn.types import ASGI3Application, LifespanReceiveEvent, LifespanScope

logger = logging.getLogger("pronghorn.error")

STATE_TRANSITION_ERROR = "Got invalid state transition on lifespan protocol."


class LifespanConfig(Protocol):
    """What the protocol needs to know of the configuration."""

    lifespan: Literal["auto", "on", "off"]
    loaded: bool
    loaded_app: ASGI3Application

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        """The version in the scope."""

    def load(self) -> None:
        """Import the application."""


class Phase(Enum):
    """Where in its life the application is."""

    STARTING = auto()
    STARTUP_FAILED = auto()
    RUNNING = auto()
    SHUTDOWN_FAILED = auto()
    STOPPED = auto()


_TRANSITIONS = {
    (Phase.STARTING, "lifespan.startup.complete"): Phase.RUNNING,
    (Phase.STARTING, "lifespan.startup.failed"): Phase.STARTUP_FAILED,
    (Phase.RUNNING, "lifespan.shutdown.complete"): Phase.STOPPED,
    (Phase.RUNNING, "lifespan.shutdown.failed"): Phase.SHUTDOWN_FAILED,
}


class LifespanOff:
    """The protocol is not spoken: `--lifespan off`."""

    def __init__(self, config: LifespanConfig) -> None:
        self.should_exit = False
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Return at once."""

    async def shutdown(self) -> None:
        """Return at once."""

    def abandon(self) -> None:
        """Do nothing."""


class LifespanOn:
    """The protocol is spoken, or at least tried: `--lifespan on` and `auto`."""

    def __init__(self, config: LifespanConfig) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.should_exit = False
        self.error_occurred = False
        self.state: dict[str, Any] = {}
        self._phase = Phase.STARTING
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._messages: asyncio.Queue[LifespanReceiveEvent] = asyncio.Queue()
        self._interruption: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def startup_failed(self) -> bool:
        """Whether the application said that it cannot start."""
        return self._phase is Phase.STARTUP_FAILED

    @property
    def shutdown_failed(self) -> bool:
        """Whether the application said that it could not stop cleanly."""
        return self._phase is Phase.SHUTDOWN_FAILED

    @property
    def _has_failed(self) -> bool:
        return self.startup_failed or self.shutdown_failed

    async def startup(self) -> None:
        """Let the application start; `should_exit` is set if it could not."""
        logger.info("Waiting for application startup.")
        self._messages.put_nowait({"type": "lifespan.startup"})
        # The loop holds tasks weakly, so the reference is kept here.
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._started.wait()
        self._conclude("startup", failed=self.startup_failed)

    async def shutdown(self) -> None:
        """Let the application stop, unless it has failed before."""
        if self.error_occurred:
            return
        logger.info("Waiting for application shutdown.")
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await self._stopped.wait()
        self._conclude("shutdown", failed=self.shutdown_failed)

    def abandon(self) -> None:
        """Cancel an application that has not been asked to stop, or has not answered."""
        if self._task and self._phase not in (Phase.STOPPED, Phase.SHUTDOWN_FAILED):
            self._task.cancel()

    def _conclude(self, phase: str, *, failed: bool) -> None:
        if self._interruption:
            # Raised where it ends the server, not in a task that no one awaits.
            raise self._interruption
        if failed or (self.error_occurred and self.config.lifespan == "on"):
            logger.error("Application %s failed. Exiting.", phase)
            self.should_exit = True
        else:
            logger.info("Application %s complete.", phase)

    async def _run(self) -> None:
        scope: LifespanScope = {
            "type": "lifespan",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.config.loaded_app(scope, self._messages.get, self._send)
        except (KeyboardInterrupt, SystemExit) as error:
            self.error_occurred = True
            self._interruption = None if self._has_failed else error
        except BaseException as error:
            self.error_occurred = True
            self._report(error)
        finally:
            self._started.set()
            self._stopped.set()

    def _report(self, error: BaseException) -> None:
        # Cancelled by the server that leaves, or the application has said so itself.
        if isinstance(error, asyncio.CancelledError) or self._has_failed:
            return
        if self.config.lifespan == "auto" and self._phase is Phase.STARTING:
            logger.info("ASGI 'lifespan' protocol appears unsupported.")
        else:
            logger.error("Exception in 'lifespan' protocol\n", exc_info=error)

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        following = _TRANSITIONS.get((self._phase, kind))
        if following is None:
            raise RuntimeError(f"{STATE_TRANSITION_ERROR} `{kind}` came in {self._phase.name}.")
        self._phase = following
        if message.get("message"):
            logger.error(message["message"])
        if following in (Phase.RUNNING, Phase.STARTUP_FAILED):
            self._started.set()
        else:
            self._stopped.set()
