"""What a server is doing at the moment, for programs that watch one.

`Server` makes a `ServerState` and gives it the engine; Uvicorn's attributes are read from that. An
engine can only be asked on its own thread, so other threads see the counts of the last tick.
"""

import asyncio
import time
from threading import get_ident

from pronghorn._engine import Engine


class ServerState:
    """What a server is doing at the moment, read from the engine while there is one."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._thread = get_ident()
        self._seen = (0, 0)
        self.fixed_headers: list[tuple[bytes, bytes]] = []
        self.date_header = False
        self._requests_of_the_past = 0

    @property
    def total_requests(self) -> int:
        """Requests answered so far."""
        return self._requests_of_the_past + self._look()[0]

    @property
    def connections(self) -> range:
        """As long as there are open connections; the engine does not show them one by one."""
        return range(self._look()[1])

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The tasks of requests whose application has not returned."""
        return set(self.engine.tasks) if self.engine else set()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields that every response starts with."""
        from email.utils import formatdate  # Costly, and rarely asked for.

        date = formatdate(time.time(), usegmt=True).encode()
        return [(b"date", date)] * self.date_header + self.fixed_headers

    def open(self, engine: Engine) -> None:
        """Read from this engine from now on."""
        self.engine = engine
        self._thread = get_ident()

    def _look(self) -> tuple[int, int]:
        """Requests and connections; as of the last tick where another thread asks."""
        if get_ident() == self._thread:
            engine = self.engine
            self._seen = (engine.request_count, engine.connection_count) if engine else (0, 0)
        return self._seen

    def refresh(self) -> None:
        """Let other threads see how things are; called at every tick."""
        self._look()

    def forget_engine(self) -> None:
        """Keep the counts and let go of an engine that is about to be closed."""
        self._requests_of_the_past = self.total_requests
        self.engine = None
