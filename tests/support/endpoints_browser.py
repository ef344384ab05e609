"""Endpoints for scripts in a browser."""

from __future__ import annotations

from support.asgi import Receive, Scope, Send, argument, gate, piece, respond, route, start


@route("page")
async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """A page with nothing on it but its icon, so that browsers ask for none."""
    html = b'<!doctype html><link rel="icon" href="data:,"><title>Pronghorn</title>'
    await respond(send, html, headers=[(b"content-type", b"text/html; charset=utf-8")])


@route("two-pieces")
async def two_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """A piece, and another once the gate is open."""
    await start(send)
    await piece(send, b"one")
    await gate(argument(scope)).wait()
    await piece(send, b"two", more_body=False)


@route("events")
async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Two events behind the last one that the client has seen; then the stream ends."""
    last = int(dict(scope["headers"]).get(b"last-event-id", b"0"))
    await start(send, headers=[(b"content-type", b"text/event-stream")])
    for number in (last + 1, last + 2):
        await piece(send, b"retry: 1\nid: %d\ndata: event %d\n\n" % (number, number))
    await piece(send, b"", more_body=False)
