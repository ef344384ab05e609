"""The raw ASGI application that every server is measured with: no framework, one path a case.

Comes in: the ASGI scope. Goes out: the same bytes as `floor.c` answers. The servers import it as
`apps:app` from this directory. It does as little as an application can, so that what is measured
is the server.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

HELLO = b"Hello, world!"
LARGE = b"x" * 10 * 1024
MEGABYTE = b"x" * 1024 * 1024
CHUNK = b"x" * 1024
CHUNK_COUNT = 100
SEGMENT = b"x" * 64 * 1024
SEGMENT_COUNT = 1600

HELLO_HEADERS = ((b"content-type", b"text/plain"), (b"content-length", b"13"))
LARGE_HEADERS = ((b"content-type", b"text/plain"), (b"content-length", b"10240"))
MEGABYTE_HEADERS = ((b"content-type", b"text/plain"), (b"content-length", b"1048576"))
STREAM_HEADERS = ((b"content-type", b"text/plain"),)
DOWN_HEADERS = (
    (b"content-type", b"application/octet-stream"),
    (b"content-length", str(len(SEGMENT) * SEGMENT_COUNT).encode()),
)


async def hello(receive: Receive, send: Send) -> None:
    """13 bytes."""
    await answer(send, HELLO_HEADERS, HELLO)


async def large(receive: Receive, send: Send) -> None:
    """10 KB."""
    await answer(send, LARGE_HEADERS, LARGE)


async def megabyte(receive: Receive, send: Send) -> None:
    """1 MB, in one message."""
    await answer(send, MEGABYTE_HEADERS, MEGABYTE)


async def echo(receive: Receive, send: Send) -> None:
    """The request body, once it is there as a whole."""
    parts: list[bytes] = []
    more_body = True
    while more_body:
        message = await receive()
        parts.append(message.get("body", b""))
        more_body = message.get("more_body", False)
    body = b"".join(parts)  # no copy of a single part; one peer's parts are no bytes
    await answer(send, body_headers(b"application/octet-stream", body), body)


async def stream(receive: Receive, send: Send) -> None:
    """100 messages of 1 KB; no content-length, so that they are chunked."""
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    for _ in range(CHUNK_COUNT - 1):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": CHUNK})


async def down(receive: Receive, send: Send) -> None:
    """100 MB in messages of 64 KB; how fast is up to the server's back-pressure."""
    await send({"type": "http.response.start", "status": 200, "headers": DOWN_HEADERS})
    for _ in range(SEGMENT_COUNT - 1):
        await send({"type": "http.response.body", "body": SEGMENT, "more_body": True})
    await send({"type": "http.response.body", "body": SEGMENT})


async def up(receive: Receive, send: Send) -> None:
    """The size of the request body, none of which is kept."""
    size = 0
    more_body = True
    while more_body:
        message = await receive()
        size += len(message.get("body", b""))
        more_body = message.get("more_body", False)
    body = str(size).encode()
    await answer(send, body_headers(b"text/plain", body), body)


PATHS = {
    "/hello": hello,
    "/10k": large,
    "/1m": megabyte,
    "/echo": echo,
    "/stream": stream,
    "/down": down,
    "/up": up,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the paths above; takes part in the lifespan protocol."""
    if scope["type"] == "http":
        handler = PATHS.get(scope["path"])
        if handler is None:
            await answer(send, (), b"", status=404)
        else:
            await handler(receive, send)
    elif scope["type"] == "lifespan":
        await lifespan(receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, headers: Headers, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def body_headers(content_type: bytes, body: bytes) -> Headers:
    return ((b"content-type", content_type), (b"content-length", str(len(body)).encode()))
