"""The shapes of ASGI and WSGI; what has two names here is one thing in Pronghorn."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, TypeAlias, TypedDict

from pronghorn.types import *  # noqa: F403
from pronghorn.types import Application as ASGIApplication
from pronghorn.types import (
    ASGI2Instance,
    Headers,
    LifespanCompleteEvent,
    LifespanFailedEvent,
    WebSocketConnectEvent,
    WebSocketDisconnectEvent,
    WebSocketReceiveEvent,
)
from pronghorn.types import WSGIApplication as WSGIApp
from pronghorn.types import WSGIEnvironment as Environ

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
StartResponse: TypeAlias = Callable[[str, Iterable[tuple[str, str]], ExcInfo | None], None]

ASGI2Protocol = ASGI2Instance
WebSocketEvent: TypeAlias = WebSocketReceiveEvent | WebSocketDisconnectEvent | WebSocketConnectEvent
LifespanStartupCompleteEvent = LifespanShutdownCompleteEvent = LifespanCompleteEvent
LifespanStartupFailedEvent = LifespanShutdownFailedEvent = LifespanFailedEvent


class HTTPResponseDebugEvent(TypedDict):
    """What Starlette's test client understands, and no server."""

    type: Literal["http.response.debug"]
    info: dict[str, object]


class HTTPServerPushEvent(TypedDict):
    """What browsers have given up."""

    type: Literal["http.response.push"]
    path: str
    headers: Headers


__all__ = [
    "ASGI2Protocol",
    "ASGIApplication",
    "Environ",
    "ExcInfo",
    "HTTPResponseDebugEvent",
    "HTTPServerPushEvent",
    "LifespanShutdownCompleteEvent",
    "LifespanShutdownFailedEvent",
    "LifespanStartupCompleteEvent",
    "LifespanStartupFailedEvent",
    "StartResponse",
    "WSGIApp",
    "WebSocketEvent",
]
