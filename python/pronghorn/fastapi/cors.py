"""`CORSMiddleware` for all but preflight requests, without objects and coroutines in between.

`call` stands in for `CORSMiddleware.__call__` and what that calls for a simple request: it copies
the request's headers as `Headers` does, and marks the start of the response in the order in which
`CORSMiddleware.send` sets its fields.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from pronghorn.fastapi.bodies import find_header
from pronghorn.fastapi.relays import Relay, Send

Fields = list[tuple[bytes, bytes]]


def call(middleware: CORSMiddleware, scope: Any, receive: Any, send: Any) -> Any:
    """An awaitable for the request; None for one that `CORSMiddleware` may answer itself."""
    fields = scope["headers"] = list(scope["headers"])
    if scope["method"] == "OPTIONS" and find_header(fields, b"origin") is not None:
        return None
    return middleware.app(scope, receive, _Marking(send, middleware, fields))


class _Marking(Relay):
    """The `send` of a simple request."""

    __slots__ = ("fields", "middleware")

    def __init__(self, send: Send, middleware: CORSMiddleware, fields: Fields) -> None:
        self.send = send
        self.middleware = middleware
        self.fields = fields
        """Those of the request, as they are when the response starts."""

    def __repr__(self) -> str:
        """That of the partial in the middleware: spans for middleware are named after it."""
        headers = Headers(raw=self.fields)
        return repr(partial(self.middleware.send, send=self.send, request_headers=headers))

    def look(self, message: Any) -> None:
        """What `CORSMiddleware.send` does with the start of a response."""
        fields = message["headers"] = list(message.setdefault("headers", []))
        origin = find_header(self.fields, b"origin")
        if origin is None:
            _vary(fields)
            return
        middleware, headers = self.middleware, MutableHeaders(raw=fields)
        headers.update(middleware.simple_headers)
        if middleware.allow_all_origins:
            is_explicit = middleware.allow_credentials
        else:
            is_explicit = middleware.is_allowed_origin(origin=origin)
        if is_explicit:
            middleware.allow_explicit_origin(headers, origin)
        else:
            _vary(fields)


def _vary(fields: Fields) -> None:
    """Say that the response depends on the request's origin."""
    if find_header(fields, b"vary") is None:
        fields.append((b"vary", b"Origin"))
    else:
        headers = MutableHeaders(raw=fields)
        headers["Vary"] = ", ".join([*headers.getlist("Vary"), "Origin"])
