"""The shapes of ASGI: scopes, messages and applications, as type checkers see them.

Nothing here runs. The engine's stub, the middleware and applications that want precise types
import from it. The names are those of the ASGI specification, version 3.0.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import IO, Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Address: TypeAlias = tuple[str, int]
ServerAddress: TypeAlias = tuple[str, int | None]


class ASGIVersions(TypedDict):
    """The `asgi` entry of a scope."""

    version: Literal["2.0", "3.0"]
    spec_version: str


class _WebScope(TypedDict):
    asgi: ASGIVersions
    http_version: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: Headers
    client: Address | None
    server: ServerAddress | None
    state: NotRequired[dict[str, Any]]
    extensions: NotRequired[dict[str, dict[object, object]]]


class HTTPScope(_WebScope):
    """One HTTP request."""

    type: Literal["http"]
    method: str


class WebSocketScope(_WebScope):
    """One WebSocket connection."""

    type: Literal["websocket"]
    subprotocols: Iterable[str]


class LifespanScope(TypedDict):
    """The life of one event loop of the server."""

    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: NotRequired[dict[str, Any]]


class HTTPRequestEvent(TypedDict):
    """A part of a request's body."""

    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HTTPDisconnectEvent(TypedDict):
    """The client has gone, or the response is complete."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    """The head of a response."""

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[Headers]
    trailers: NotRequired[bool]


class HTTPResponseBodyEvent(TypedDict):
    """A part of a response's body."""

    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPResponsePathsendEvent(TypedDict):
    """A whole file as the body, by its absolute path."""

    type: Literal["http.response.pathsend"]
    path: str


class HTTPResponseZeroCopySendEvent(TypedDict):
    """A part of a regular file as a part of the body, by its descriptor."""

    type: Literal["http.response.zerocopysend"]
    file: int | IO[bytes]
    offset: NotRequired[int | None]
    count: NotRequired[int | None]
    more_body: NotRequired[bool]


class HTTPResponseTrailersEvent(TypedDict):
    """Fields after the body, which the start has announced."""

    type: Literal["http.response.trailers"]
    headers: NotRequired[Headers]
    more_trailers: NotRequired[bool]


class HTTPResponseEarlyHintEvent(TypedDict):
    """Values of `Link` fields that are of use before the response."""

    type: Literal["http.response.early_hint"]
    links: Iterable[bytes]


class WebSocketConnectEvent(TypedDict):
    """A client asks for a WebSocket connection."""

    type: Literal["websocket.connect"]


class WebSocketReceiveEvent(TypedDict):
    """A message from the client; exactly one of `bytes` and `text` is not None."""

    type: Literal["websocket.receive"]
    bytes: NotRequired[bytes | None]
    text: NotRequired[str | None]


class WebSocketDisconnectEvent(TypedDict):
    """The connection is closed."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: NotRequired[str | None]


class WebSocketAcceptEvent(TypedDict):
    """The application takes the connection."""

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[Headers]


class WebSocketSendEvent(TypedDict):
    """A message to the client; exactly one of `bytes` and `text` is not None."""

    type: Literal["websocket.send"]
    bytes: NotRequired[bytes | None]
    text: NotRequired[str | None]


class WebSocketResponseStartEvent(TypedDict):
    """The head of a response with which the application refuses the connection."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: NotRequired[Headers]


class WebSocketResponseBodyEvent(TypedDict):
    """A part of that response's body."""

    type: Literal["websocket.http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class WebSocketCloseEvent(TypedDict):
    """The application closes, or refuses, the connection."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class LifespanStartupEvent(TypedDict):
    """The server is about to listen."""

    type: Literal["lifespan.startup"]


class LifespanShutdownEvent(TypedDict):
    """The server has finished its last request."""

    type: Literal["lifespan.shutdown"]


class LifespanCompleteEvent(TypedDict):
    """The application is done with a phase of its life."""

    type: Literal["lifespan.startup.complete", "lifespan.shutdown.complete"]


class LifespanFailedEvent(TypedDict):
    """The application could not complete a phase of its life."""

    type: Literal["lifespan.startup.failed", "lifespan.shutdown.failed"]
    message: NotRequired[str]


WWWScope: TypeAlias = HTTPScope | WebSocketScope
Scope: TypeAlias = HTTPScope | WebSocketScope | LifespanScope

LifespanReceiveEvent: TypeAlias = LifespanStartupEvent | LifespanShutdownEvent
LifespanSendEvent: TypeAlias = LifespanCompleteEvent | LifespanFailedEvent

ASGIReceiveEvent: TypeAlias = (
    HTTPRequestEvent
    | HTTPDisconnectEvent
    | WebSocketConnectEvent
    | WebSocketReceiveEvent
    | WebSocketDisconnectEvent
    | LifespanReceiveEvent
)
ASGISendEvent: TypeAlias = (
    HTTPResponseStartEvent
    | HTTPResponseBodyEvent
    | HTTPResponsePathsendEvent
    | HTTPResponseZeroCopySendEvent
    | HTTPResponseTrailersEvent
    | HTTPResponseEarlyHintEvent
    | WebSocketAcceptEvent
    | WebSocketSendEvent
    | WebSocketResponseStartEvent
    | WebSocketResponseBodyEvent
    | WebSocketCloseEvent
    | LifespanSendEvent
)

ASGIReceiveCallable: TypeAlias = Callable[[], Awaitable[Any]]
ASGISendCallable: TypeAlias = Callable[[Any], Awaitable[None]]
ASGI3Application: TypeAlias = Callable[
    [Any, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]
]


class ASGI2Instance(Protocol):
    """What an ASGI 2 application returns for a scope."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the scope that the instance was made for."""


ASGI2Application: TypeAlias = Callable[[Any], ASGI2Instance]

WSGIEnvironment: TypeAlias = MutableMapping[str, Any]
WSGIApplication: TypeAlias = Callable[[WSGIEnvironment, Callable[..., Any]], Iterable[bytes]]

Application: TypeAlias = ASGI3Application | ASGI2Application | WSGIApplication
