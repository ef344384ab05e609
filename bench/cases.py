"""The cases: what is asked of a server, and how it is loaded while it is measured.

Comes in: nothing. Goes out: `CASES`, a table in the order of the report. Called by `run.py`,
`probe.py` and `measure.py`.

The rule it keeps: a case says what the right answer is, and no answer is measured that was not
compared with it first.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

MEGABYTES_100 = 1600 * 64 * 1024

RAW_APP = "apps:app"
FASTAPI_APP = "fastapi_app:app"
FILE_APP = "file_app:app"
FASTAPI_MIDDLEWARE_APP = "fastapi_app:with_middleware"
FASTAPI_ROUTERS_APP = "fastapi_app:with_routers"
FASTAPI_SENTRY_APP = "fastapi_sentry_app:app"
FASTAPI_OPENTELEMETRY_APP = "fastapi_opentelemetry_app:app"
WEBSOCKET_APP = "websocket_app:app"

# What Chrome sends with a navigation; the load generator adds Host, which makes fifteen.
BROWSER_HEADERS = (
    ("Connection", "keep-alive"),
    ("sec-ch-ua", '"Chromium";v="146", "Not-A.Brand";v="24", "Google Chrome";v="146"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/146.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
        "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    ),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Cookie", "session=7f3c9a1e5b2d4f60; csrftoken=Zk3vQ9xT1mYpL8wR; theme=dark"),
)


@dataclass(frozen=True)
class Exchange:
    """A request and the body that answers it with status 200."""

    path: str
    answer: bytes
    answer_repeats: int = 1  # the body is `answer` this many times, so that 100 MB need no memory
    body: bytes | None = None  # of the request, a POST then
    headers: tuple[tuple[str, str], ...] = ()
    pipelined: int = 1
    tls: bool = False


@dataclass(frozen=True)
class Wrk:
    """Requests as fast as they are answered, from wrk, with a script from `lua/` if need be."""

    connections: int
    script: str | None = None
    script_argument: str | None = None


@dataclass(frozen=True)
class H2load:
    """Requests over HTTP/2 in clear text, so many at once on each connection, from h2load."""

    connections: int
    streams: int
    http1: bool = False  # over HTTP/1.1 instead, for what HTTP/2 costs
    body_bytes: int | None = None  # of large bodies, whose rate is the figure


class Direction(enum.Enum):
    """Which way the large bodies of `bulk.c` go."""

    DOWN = "down"
    UP = "up"


@dataclass(frozen=True)
class Bulk:
    """Large bodies, from `bulk.c`."""

    direction: Direction
    connections: int
    body_bytes: int


class Traffic(enum.Enum):
    """Where the messages of `websocket.c` go."""

    ECHO = "echo"
    BROADCAST = "broadcast"


@dataclass(frozen=True)
class WebSocket:
    """Text messages, from `websocket.c`."""

    traffic: Traffic
    connections: int
    message_bytes: int


@dataclass(frozen=True)
class IdleMemory:
    """Connections that have had one answer each and are kept open; as WebSockets, one message."""

    connections: int
    websocket: bool = False
    deflate: bool = False


@dataclass(frozen=True)
class Startup:
    """The time from the start of the process to its first right answer."""


Load = Wrk | H2load | Bulk | WebSocket | IdleMemory | Startup


@dataclass(frozen=True)
class Case:
    """One table of the report."""

    name: str
    title: str
    exchange: Exchange
    load: Load
    app: str = RAW_APP
    access_log: bool = False
    static: bool = False  # served by the server itself, where it can


HELLO = Exchange("/hello", b"Hello, world!")
JSON = Exchange("/", b'{"message":"Hello, world!"}')
ITEM = '{"name":"Hammer","price":12.5,"tags":["tools","steel"]}'
ECHO = Exchange("/echo", b"")
DOWN = Exchange("/down", b"x" * 65536, answer_repeats=1600)
UP = Exchange("/up", str(MEGABYTES_100).encode(), body=b"x" * MEGABYTES_100)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("hello", "GET hello, 64 connections", HELLO, Wrk(64)),
        Case(
            "headers15",
            "GET hello with 15 browser headers, 64 connections",
            Exchange("/hello", b"Hello, world!", headers=BROWSER_HEADERS),
            Wrk(64),
        ),
        Case("10k", "GET 10 KB, 64 connections", Exchange("/10k", b"x" * 10240), Wrk(64)),
        Case(
            "echo10k",
            "POST and echo 10 KB, 64 connections",
            Exchange("/echo", b"x" * 10240, body=b"x" * 10240),
            Wrk(64, script="body.lua", script_argument="10240"),
        ),
        Case("c1000", "GET hello, 1,000 connections", HELLO, Wrk(1000)),
        Case(
            "close",
            "GET hello, a connection per request, 64 at a time",
            Exchange("/hello", b"Hello, world!", headers=(("Connection", "close"),)),
            Wrk(64),
        ),
        Case(
            "pipeline16",
            "GET hello, 16-deep pipelining, 64 connections",
            Exchange("/hello", b"Hello, world!", pipelined=16),
            Wrk(64, script="pipeline.lua", script_argument="16"),
        ),
        Case(
            "stream100",
            "GET a stream of 100 chunks of 1 KB, 64 connections",
            Exchange("/stream", b"x" * 1024, answer_repeats=100),
            Wrk(64),
        ),
        Case(
            "down100m",
            "GET 100 MB in messages of 64 KB, 4 connections",
            DOWN,
            Bulk(Direction.DOWN, connections=4, body_bytes=MEGABYTES_100),
        ),
        Case(
            "up100m",
            "POST 100 MB, 4 connections",
            UP,
            Bulk(Direction.UP, connections=4, body_bytes=MEGABYTES_100),
        ),
        Case("h2-hello", "HTTP/2, GET hello, 8 connections of 32 streams", HELLO, H2load(8, 32)),
        Case(
            "h2-10k",
            "HTTP/2, GET 10 KB, 8 connections of 32 streams",
            Exchange("/10k", b"x" * 10240),
            H2load(8, 32),
        ),
        *(
            Case(
                f"{protocol}-{direction}100m",
                f"{title}, {verb} 100 MB, 4 connections, from h2load",
                exchange,
                H2load(4, 1, http1=protocol == "h1", body_bytes=MEGABYTES_100),
            )
            for direction, verb, exchange in (("down", "GET", DOWN), ("up", "POST", UP))
            for protocol, title in (("h2", "HTTP/2"), ("h1", "HTTP/1.1"))
        ),
        Case(
            "pathsend100m",
            "GET a file of 100 MB from Starlette's FileResponse, 4 connections",
            Exchange("/large", b"x" * 65536, answer_repeats=1600),
            Bulk(Direction.DOWN, connections=4, body_bytes=MEGABYTES_100),
            FILE_APP,
        ),
        Case(
            "static1k",
            "GET a static file of 1 KB, 64 connections",
            Exchange("/static/1k.bin", b"x" * 1024),
            Wrk(64),
            FILE_APP,
            static=True,
        ),
        Case(
            "accesslog",
            "GET hello with the access log on, to a file, 64 connections",
            HELLO,
            Wrk(64),
            access_log=True,
        ),
        Case(
            "tls-hello",
            "GET hello over TLS, 64 connections",
            Exchange("/hello", b"Hello, world!", tls=True),
            Wrk(64),
        ),
        Case(
            "tls-1m",
            "GET 1 MB over TLS, 8 connections",
            Exchange("/1m", b"x" * 1024, answer_repeats=1024, tls=True),
            Wrk(8),
        ),
        Case(
            "tls-handshake",
            "GET hello over TLS, a connection and a full handshake per request, 16 at a time",
            Exchange("/hello", b"Hello, world!", headers=(("Connection", "close"),), tls=True),
            Wrk(16),
        ),
        Case("fastapi", "FastAPI, GET a JSON object, 64 connections", JSON, Wrk(64), FASTAPI_APP),
        Case(
            "fastapi-typed",
            "FastAPI, a path parameter and a query parameter, 64 connections",
            Exchange("/items/7?q=hammer", b'{"number":7,"q":"hammer"}'),
            Wrk(64),
            FASTAPI_APP,
        ),
        Case(
            "fastapi-post",
            "FastAPI, POST of a pydantic model that comes back, 64 connections",
            Exchange(
                "/items",
                ITEM.encode(),
                body=ITEM.encode(),
                headers=(("Content-Type", "application/json"),),
            ),
            Wrk(64, script="json.lua", script_argument=ITEM),
            FASTAPI_APP,
        ),
        Case(
            "fastapi-depends",
            "FastAPI, two levels of Depends, one with yield, 64 connections",
            Exchange("/depends", b'{"user":"resource of the user"}'),
            Wrk(64),
            FASTAPI_APP,
        ),
        Case(
            "fastapi-def",
            "FastAPI, an endpoint that is a plain def, 64 connections",
            Exchange("/thread", b'{"message":"Hello, world!"}'),
            Wrk(64),
            FASTAPI_APP,
        ),
        Case(
            "fastapi-middleware",
            "FastAPI, CORS and an http middleware, 64 connections",
            Exchange(
                "/", b'{"message":"Hello, world!"}', headers=(("Origin", "http://example.com"),)
            ),
            Wrk(64),
            FASTAPI_MIDDLEWARE_APP,
        ),
        Case(
            "fastapi-routers",
            "FastAPI, one of 100 routes in 10 included routers, 64 connections",
            Exchange("/api/7/things/5/9", b'{"number":9}'),
            Wrk(64),
            FASTAPI_ROUTERS_APP,
        ),
        Case(
            "fastapi-sentry",
            "FastAPI with Sentry's integration, GET a JSON object, 64 connections",
            JSON,
            Wrk(64),
            FASTAPI_SENTRY_APP,
        ),
        Case(
            "fastapi-opentelemetry",
            "FastAPI with OpenTelemetry's traces, GET a JSON object, 64 connections",
            JSON,
            Wrk(64),
            FASTAPI_OPENTELEMETRY_APP,
        ),
        Case("memory", "Memory of 5,000 idle keep-alive connections", HELLO, IdleMemory(5000)),
        Case(
            "ws-echo",
            "WebSocket, echo of 32 bytes of text, 64 connections",
            ECHO,
            WebSocket(Traffic.ECHO, connections=64, message_bytes=32),
            WEBSOCKET_APP,
        ),
        Case(
            "ws-echo4k",
            "WebSocket, echo of 4 KB of text, 64 connections",
            ECHO,
            WebSocket(Traffic.ECHO, connections=64, message_bytes=4096),
            WEBSOCKET_APP,
        ),
        Case(
            "ws-broadcast",
            "WebSocket, 100 bytes of text from 1 publisher to 1,000 subscribers",
            Exchange("/broadcast", b""),
            WebSocket(Traffic.BROADCAST, connections=1000, message_bytes=100),
            WEBSOCKET_APP,
        ),
        Case(
            "ws-memory",
            "Memory of 5,000 idle WebSockets",
            ECHO,
            IdleMemory(5000, websocket=True),
            WEBSOCKET_APP,
        ),
        Case(
            "ws-memory-deflate",
            "Memory of 1,000 idle WebSockets that have compressed a message",
            ECHO,
            IdleMemory(1000, websocket=True, deflate=True),
            WEBSOCKET_APP,
        ),
        Case("startup", "Start to first answer, raw application", HELLO, Startup()),
        Case(
            "startup-fastapi",
            "Start to first answer, FastAPI application",
            JSON,
            Startup(),
            FASTAPI_APP,
        ),
    )
}
