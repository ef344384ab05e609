"""`send` functions of ours, which look at the start of a response and hand every message on.

Each is a callable that anybody may await, as the frameworks' own are. Where the caller is code of
ours that awaits at once, `send_start` and `sender_of_bodies` go through all of them without a
coroutine for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[Any], Awaitable[None]]


class Relay:
    """A `send` that looks at the start of a response."""

    __slots__ = ("send",)

    def __init__(self, send: Send) -> None:
        self.send = send

    async def __call__(self, message: Any) -> None:
        """Send a message."""
        if message["type"] == "http.response.start":
            self.look(message)
        await self.send(message)

    def look(self, message: Any) -> None:
        """See, and perhaps change, the start of the response."""
        raise NotImplementedError


class Track(Relay):
    """A `send` that remembers whether a response has started."""

    __slots__ = ("started",)

    def __init__(self, send: Send, started: bool = False) -> None:
        self.send = send
        self.started = started

    def look(self, message: Any) -> None:
        """Remember it."""
        self.started = True


def send_start(send: Send, message: Any) -> Awaitable[None]:
    """Send the start of a response; to be awaited at once."""
    while isinstance(send, Relay):
        send.look(message)
        send = send.send
    return send(message)


def sender_of_bodies(send: Send) -> Send:
    """The `send` that the other messages of a response go to in the end; to be awaited at once."""
    while isinstance(send, Relay):
        send = send.send
    return send
