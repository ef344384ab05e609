"""What a refused request looks like: one error response, a closed connection, nothing after it."""

from __future__ import annotations

from support.server import Server
from support.wire import ClosedError, Delivery, Response, Wire, deliveries

# A request that a server answers only if it lost track of where messages begin.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"

ALL: tuple[Delivery, ...] = ("whole", "bytes", "cuts")
WHOLE: tuple[Delivery, ...] = ("whole",)


def assert_refused(
    server: Server,
    data: bytes,
    *,
    statuses: tuple[int, ...] = (400,),
    rest: bytes = SMUGGLED,
    how: tuple[Delivery, ...] = ALL,
) -> None:
    """However `data` is cut, the answer is one of `statuses`, and `rest` is never answered.

    That the application saw nothing of `rest` is for the fixture `nothing_is_smuggled` to check.
    """
    for delivery, wire in deliveries(server, data, rest, how=how):
        try:
            assert_refusal(wire, statuses)
        except AssertionError as error:
            raise AssertionError(f"{delivery}: {error}") from error


def assert_refusal(wire: Wire, statuses: tuple[int, ...] = (400,)) -> None:
    """The next response is the refusal that Uvicorn sends, and the last one."""
    try:
        response = wire.response()
    except ClosedError as error:
        raise AssertionError(f"closed without a response: {error}") from error
    assert response.status in statuses, response
    assert response.interim == (), response
    assert response.closes, response
    assert response.framing == "length", response
    if response.status == 400:
        assert_400(response)
    wire.assert_closed()


def assert_400(response: Response) -> None:
    assert response.reason == b"Bad Request"
    assert response.header(b"content-type") == b"text/plain; charset=utf-8"
    assert response.header(b"content-length") == b"30"
    assert response.header(b"date") is not None
    assert response.header(b"server") is not None
    assert response.body == b"Invalid HTTP request received."
