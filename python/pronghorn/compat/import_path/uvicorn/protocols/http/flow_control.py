"""What is left of flow control where the engine does it: the answer of a server that is full."""

from pronghorn.types import ASGIReceiveCallable, ASGISendCallable, Scope

CLOSE_HEADER = (b"connection", b"close")
HIGH_WATER_LIMIT = 65536


async def service_unavailable(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """An application that answers 503 and has the connection closed."""
    body = b"Service Unavailable"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        CLOSE_HEADER,
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})


__all__ = ["CLOSE_HEADER", "HIGH_WATER_LIMIT", "service_unavailable"]
