"""The readiness path: how load balancers learn that a server is about to end.

A wrapper around the application, made by `Server` when there is such a path. While the server runs
the application answers; from the moment it is told to end, the wrapper says 503.
"""

from pronghorn.types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

BODY = b"Draining"


class Readiness:
    """Passes everything on, until `is_draining`."""

    def __init__(self, app: ASGI3Application, path: str) -> None:
        self._app = app
        self._path = path
        self.is_draining = False

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer, or have the application answer."""
        is_asked = scope["type"] == "http" and scope["path"] == self._path
        if not (is_asked and self.is_draining):
            return await self._app(scope, receive, send)
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        return await send({"type": "http.response.body", "body": BODY})
