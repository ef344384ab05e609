"""The application behind `--ssl-redirect-port`: sends plain HTTP on to https.

Keeps the host that the client named and everything behind it. The rule: nothing of the request
gets into the answer that is not a host name or has not passed the engine's parser; a request
without a host to send it to is refused.
"""

import re

from pronghorn.types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

HTTPS_PORT = 443
HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z._~-]+)(:[0-9]{0,5})?")
"""`uri-host [":" port]` (RFC 9110, section 7.2), without the parts that no name in use has."""


def redirect_to_https(port: int) -> ASGI3Application:
    """An application that answers 308 to the same place on `port`."""
    suffix = b"" if port == HTTPS_PORT else b":%d" % port

    async def redirect(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] in ("http", "websocket")
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if host is None or not scope["raw_path"].startswith(b"/"):
            status, body = 400, b"The request does not say which host it is for."
        else:
            status, body = 308, b""
            query = b"?" + scope["query_string"] if scope["query_string"] else b""
            location = b"https://" + host[1] + suffix + scope["raw_path"] + query
            headers.append((b"location", location))
        headers.append((b"content-length", b"%d" % len(body)))
        prefix = "websocket." if scope["type"] == "websocket" else ""
        start = {"type": f"{prefix}http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": f"{prefix}http.response.body", "body": body})

    return redirect
