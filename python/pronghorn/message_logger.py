"""Logs every ASGI message at the trace level, bodies replaced by their lengths.

`Config.load` puts it around the application when `--log-level trace` is set and leaves it out
otherwise. It changes nothing that passes through it.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pronghorn.access_log import client_address
from pronghorn.logging import TRACE_LOG_LEVEL
from pronghorn.types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

_PLACEHOLDERS = {
    "body": "<{} bytes>",
    "bytes": "<{} bytes>",
    "text": "<{} chars>",
    "headers": "<...>",
}


class MessageLoggerMiddleware:
    """Writes a line for each scope, message, exception and completion."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app
        self.task_counter = 0
        self.logger = logging.getLogger("pronghorn.asgi")

    async def __call__(
        self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one scope and log what passes."""
        self.task_counter += 1
        number = self.task_counter
        client = client_address(scope.get("client"))
        prefix = f"{client} - ASGI" if client else "ASGI"

        def trace(line: str, *arguments: Any) -> None:
            self.logger.log(TRACE_LOG_LEVEL, f"%s [%d] {line}", prefix, number, *arguments)

        async def logged_receive() -> Any:
            message = await receive()
            trace("Receive %s", _summary(message))
            return message

        async def logged_send(message: Any) -> None:
            trace("Send %s", _summary(message))
            await send(message)

        trace("Started scope=%s", _summary(scope))
        try:
            await self.app(scope, logged_receive, logged_send)
        except BaseException:
            trace("Raised exception")
            raise
        trace("Completed")


def _summary(message: Mapping[str, Any]) -> dict[str, Any]:
    shown = dict(message)
    for key, placeholder in _PLACEHOLDERS.items():
        if shown.get(key) is not None:
            shown[key] = placeholder.format(len(shown[key]))
    return shown
