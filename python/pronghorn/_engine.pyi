"""The native engine: sockets, HTTP/1.1, WebSocket and the ASGI bridge, on the asyncio thread."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self, final

from typing_extensions import Buffer

from pronghorn.access_log import AccessLog
from pronghorn.config import Config
from pronghorn.static_files import ServedFiles
from pronghorn.tls import TLS
from pronghorn.types import ASGI3Application, HTTPScope

__all__ = [
    "ClassVersions",
    "Engine",
    "ExitTimer",
    "Snapshot",
    "exit_after",
    "respond",
    "start_pulse",
    "whole_body",
]

@final
class Engine:
    """Serves one ASGI application on any number of listening sockets.

    It has no thread of its own: the server registers `fileno()` once with the running loop
    (`loop.add_reader(engine.fileno(), engine.on_ready)`) and every connection lives behind it.
    Only the loop's thread may call it. All times are seconds, all sizes bytes.

    `limits` has the options that bound what peers may do and what the engine may use, `websocket`
    those for WebSocket unless no upgrade to it is supported. `state` is copied (shallow) into every
    scope. `default_headers` are written after `date` (when `date_header`) and before the
    application's.

    `log(level, message)` takes the engine's own lines with a `logging` level; `log_exception(
    message, exception)` what an application raised. `access_log`, when given, is told of each
    response. `trust_proxy(scope)`, when given, may rewrite a scope whose head carries a field
    that only proxies send. `on_loop(function, *arguments)` is the coroutine that `receive` and
    `send` return where another thread calls them. Requests below a route of `static_files` are
    answered without the application. Connections from peers of which `is_proxy(address)` is
    true (the path of a Unix socket in place of an address) begin with a PROXY protocol header.
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
        on_loop: Callable[..., Coroutine[Any, Any, Any]],
        static_files: ServedFiles | None,
        is_proxy: Callable[[str], bool] | None,
    ) -> Engine: ...
    def fileno(self) -> int:
        """The descriptor that is readable while any socket of the engine needs attention."""

    def on_ready(self) -> None:
        """Handle what is ready, within a budget, and return to the loop."""

    def listen(self, listener: socket.socket, tls: TLS | None = None) -> None:
        """Accept from a bound, listening stream socket. Its descriptor is duplicated.

        With `tls`, its clients speak TLS, and first HTTP in plain text is refused.
        """

    def share_load(self, words: Buffer, row_words: int, own: int) -> None:
        """Leave new connections to processes that have fewer.

        `words` are unsigned ints in memory that the processes share, in rows of `row_words`; the
        first says how many rows are in use. `own` is the index of the one where this engine keeps
        the number of its connections plus one, the others keep theirs in the same column.
        """

    def stop_listening(self, *, leave_waiting: bool = False) -> None:
        """Stop accepting and close the engine's copies of the listeners.

        Whoever waits to be accepted is accepted first, unless `leave_waiting` says that other
        processes do it.
        """

    def drain(self, idle_grace_s: float, *, is_replaced: bool = False) -> None:
        """Close every connection after its current response, idle ones after one more request.

        An idle connection on which none comes is closed after `idle_grace_s`. WebSockets are closed
        with 1012 and handshakes refused, a moment later if other processes serve on.
        """

    def announce_end(self) -> None:
        """Give `http.disconnect` to every application that waits in `receive()`."""

    def close(self) -> None:
        """Close every connection and free the poll set; the engine is of no use after it."""

    @property
    def connection_count(self) -> int:
        """Open connections, but for those that have had their last answer."""

    @property
    def lingering_count(self) -> int:
        """Connections that have had their last answer and wait for the client to close."""

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

def start_pulse(words: Buffer, index: int, supervisor: int, interval_s: float) -> None:
    """Show a supervisor that this process is alive, and leave when the supervisor has died.

    A thread that never needs the interpreter increments `words[index]` (unsigned ints in shared
    memory) every `interval_s`. When the other end of the descriptor `supervisor` is closed, it
    sends the process SIGTERM, and a second later kills it together with the process group that
    it leads.
    """

def exit_after(delay_s: float, signal: int) -> ExitTimer:
    """End the process by `signal` after `delay_s` unless it has ended by then.

    Needs no interpreter. For SIGINT the exit code is 0.
    """

@final
class ExitTimer:
    """What `exit_after` has started."""

    def cancel(self) -> None:
        """Let the process go on."""

@final
class ClassVersions:
    """Some classes at one moment."""

    def __new__(cls, classes: Sequence[type]) -> Self: ...
    def are_current(self) -> bool:
        """Whether nothing has been set on any of them since; false where that cannot be told."""

@final
class Snapshot:
    """Attributes of objects, or entries of dictionaries, at one moment.

    They are compared by identity, and lists by the identity of their items as well. What a class
    computes is not seen: an attribute is what the instance's dictionary or slot has.
    """

    def __new__(cls, places: Sequence[tuple[Any, str | bytes]]) -> Self: ...
    def holds(self) -> bool:
        """Whether all of it still is what it was."""

def respond(send: Callable[..., Any], status: int, content: bytes) -> Awaitable[None] | None:
    """Send a whole JSON response in the place of two messages, where `send` is an engine's own.

    What it returns is to be awaited; `None` where the messages have to be sent.
    """

def whole_body(receive: Callable[..., Any]) -> bytes | None:
    """What the next message has of the body, where `receive` is an engine's own.

    `None` if that is not all of the rest, or nothing yet: then the message has to be received.
    """
