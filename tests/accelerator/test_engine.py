"""Served by the engine, whose ways round ASGI's messages compiled routes take: the same answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pronghorn.fastapi.native import respond, whole_body
from support.server import Server

Start = Callable[..., Server]

pytestmark = pytest.mark.strict

JSON = "Content-Type: application/json"
ITEM = b'{"name":"hammer","price":9.5,"tags":["tool"]}'
REQUESTS: tuple[tuple[str, str, tuple[str, ...], bytes], ...] = (
    ("GET", "/", (), b""),
    ("HEAD", "/", (), b""),
    ("GET", "/synchronous", (), b""),
    ("GET", "/items/7?q=hammer", ("User-Agent: me",), b""),
    ("GET", "/items/seven", (), b""),
    ("GET", "/depends", (), b""),
    ("GET", "/background/key", (), b""),
    ("DELETE", "/items/7", (), b""),
    ("POST", "/items", (JSON,), ITEM),
    ("POST", "/items", (JSON,), b'{"name":"\xc3\xa4","price":"1e3"}'),
    ("POST", "/items", (JSON,), b'{"name":"hammer","price":0}'),
    ("POST", "/items", (JSON,), b'{"name":"hammer","price":' + b"9" * 400 + b"}"),
    ("POST", "/items", (JSON,), b'{"name":"hammer",'),
    ("POST", "/items", (JSON,), b'{"name":"\xff"}'),
    ("POST", "/items", (JSON,), b""),
    ("POST", "/items", ("Content-Type: text/plain",), ITEM),
    ("GET", "/nowhere", (), b""),
)


def answers(server: Server) -> list[tuple[object, ...]]:
    """All that is told of each answer, on one connection."""
    found: list[tuple[object, ...]] = []
    with server.connect() as wire:
        for method, target, fields, body in REQUESTS:
            wire.send_request(method, target, *fields, body=body)
            response = wire.response(method)
            lines = [line for line in response.headers if line[0].lower() != b"date"]
            found.append((method, target, response.status, lines, response.body))
        # A body of which the head comes alone.
        wire.send(b"POST /items HTTP/1.1\r\nHost: a\r\n%s\r\n" % JSON.encode())
        wire.send(b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(ITEM))
        wire.read_until(b" 100 Continue\r\n\r\n")
        wire.send(ITEM)
        found.append(("late", wire.response("POST").body))
    return found


def test_answers_are_those_of_fastapi(start: Start) -> None:
    fast, plain = (
        start("support.fastapi_app:app", "--accelerate", choice) for choice in ("on", "off")
    )
    for mine, theirs in zip(answers(fast), answers(plain), strict=True):
        assert mine == theirs


def test_the_access_log_has_the_same_lines(start: Start) -> None:
    template = "%(s)s %(B)s %({content-type}o)s %({content-length}o)s"
    lines = []
    for choice in ("on", "off"):
        server = start(
            "support.fastapi_app:app", "--accelerate", choice, "--access-log-format", template
        )
        answers(server)
        server.stdout.wait_for("201 45 application/json 45")
        lines.append(server.stdout.all())
    assert lines[0] == lines[1]


def test_functions_that_are_not_the_engines_are_declined() -> None:
    async def send(message: object) -> None: ...

    for function in (send, print, [].append, object()):
        assert respond(function, 200, b"{}") is None  # type: ignore[arg-type]
        assert whole_body(function) is None  # type: ignore[arg-type]
