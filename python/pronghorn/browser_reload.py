"""`--reload-browser`: pages refresh themselves when the server has been started again.

A wrapper around the application, made by `Server`. HTML responses get a script that listens to
events of this process; when it finds itself connected to another process than the one that sent
the page, it reloads it. The rule: what is not a plain, whole HTML response to GET is not touched.
"""

import asyncio
import os
from typing import Any

from pronghorn.types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

PATH = "/__pronghorn__/reload"
RETRY_MS = 100

_SCRIPT = b"""<script>(() => {
  let first;
  new EventSource("%s").onmessage = ({data}) => {
    if (first !== undefined && data !== first) location.reload();
    first = data;
  };
})()</script>
"""


class BrowserReload:
    """Adds the script to pages, and answers what it asks for."""

    def __init__(self, app: ASGI3Application) -> None:
        self._app = app
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let go of the browsers: the server is about to end."""
        self._ended.set()

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer, or have the application answer."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
        elif scope["path"] == scope["root_path"] + PATH:
            await self._tell(receive, send)
        else:
            page = _Page(send, (scope["root_path"] + PATH).encode())
            await self._app(scope, receive, page.send)

    async def _tell(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event = b"retry: %d\ndata: %d\n\n" % (RETRY_MS, os.getpid())
        await send({"type": "http.response.body", "body": event, "more_body": True})
        waits = [asyncio.ensure_future(self._ended.wait()), asyncio.ensure_future(_gone(receive))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: ASGIReceiveCallable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Page:
    """A response on its way, to which the script is added if it is a page."""

    def __init__(self, send: ASGISendCallable, path: bytes) -> None:
        self._send = send
        self._script = _SCRIPT % path
        self._is_page = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message = self._with_start(message)
        elif self._is_page and not message.get("more_body", False):
            # Browsers run what comes behind the end of the document as well.
            message = {**message, "body": bytes(message.get("body", b"")) + self._script}
        await self._send(message)

    def _with_start(self, message: Any) -> Any:
        headers = [(bytes(name).lower(), value) for name, value in message.get("headers", ())]
        values = dict(headers)
        is_html = bytes(values.get(b"content-type", b"")).lower().startswith(b"text/html")
        self._is_page = is_html and b"content-encoding" not in values and message["status"] == 200
        if not self._is_page:
            return message
        changed = [
            (name, b"%d" % (int(value) + len(self._script)) if name == b"content-length" else value)
            for name, value in headers
        ]
        return {**message, "headers": changed}
