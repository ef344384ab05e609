"""The native engine: sockets, HTTP/1.1, WebSocket and the ASGI bridge, on the asyncio thread."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, final

from pronghorn.access_log import AccessLog
from pronghorn.config import Config
from pronghorn.types import ASGI3Application, HTTPScope

__all__ = ["Engine"]

@final
class Engine:
    """Serves one ASGI application on any number of listening sockets.

    It has no thread of its own: the server registers `fileno()` once with the running loop
    (`loop.add_reader(engine.fileno(), engine.on_ready)`) and every connection lives behind it.
    Only the loop's thread may call it. All times are seconds, all sizes bytes.

    `limits` has the options that bound what peers may do, `websocket` those for WebSocket unless
    no upgrade to it is supported. `state` is copied (shallow) into every
    scope. `default_headers` are written after `date`
    (when `date_header`) and before the application's.

    `log(level, message)` takes the engine's own lines with a `logging` level; `log_exception(
    message, exception)` what an application raised. `access_log`, when given, is told of each
    response as it starts. `trust_proxy(scope)`, when given, may rewrite `client` and `scheme`
    of a scope whose head carries `X-Forwarded-For` or `X-Forwarded-Proto`.
    """

    def __new__(
        cls,
        app: ASGI3Application,
        event_loop: asyncio.AbstractEventLoop,
        *,
        state: dict[str, Any],
        root_path: str,
        default_headers: Sequence[tuple[bytes, bytes]],
        date_header: bool,
        limits: Config,
        websocket: Config | None,
        log: Callable[[int, str], None],
        log_exception: Callable[[str, BaseException], None],
        access_log: AccessLog | None,
        trust_proxy: Callable[[HTTPScope], None] | None,
    ) -> Engine: ...
    def fileno(self) -> int:
        """The descriptor that is readable while any socket of the engine needs attention."""

    def on_ready(self) -> None:
        """Handle what is ready, within a budget, and return to the loop."""

    def listen(self, listener: socket.socket) -> None:
        """Accept from a bound, listening stream socket. Its descriptor is duplicated."""

    def stop_listening(self) -> None:
        """Stop accepting and close the engine's copies of the listeners."""

    def drain(self) -> None:
        """Close idle connections now and every other one after its current response."""

    def announce_end(self) -> None:
        """Give `http.disconnect` to every application that waits in `receive()`."""

    def close(self) -> None:
        """Close every connection and free the poll set; the engine is of no use after it."""

    @property
    def connection_count(self) -> int:
        """Open connections, but for those that have had their last answer."""

    @property
    def task_count(self) -> int:
        """Requests whose application has not returned yet."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks in which those applications run."""

    @property
    def accepted_count(self) -> int:
        """Connections accepted so far."""

    @property
    def request_count(self) -> int:
        """Requests answered since the start."""
