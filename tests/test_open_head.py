"""The head of a response waits for the first body message, and until then none of it is sent.

Its last lines depend on the body, and it can be taken back: by the application's exception, or by a
request that turns out to be malformed. Every test runs in clear text and over TLS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from support.endpoints_script import Step, body_message, script, start_message
from support.server import Server
from support.wire import Wire, request

START = start_message(200, (b"x-app", b"started"))
HINT = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}

HIGH_WATER_BYTES = 64 * 1024
# Small enough to be gathered with the others.
BODY_BYTES = 8150


@contextlib.contextmanager
def behind_much_else(server: Server, missing: int, target: str) -> Iterator[Wire]:
    """Answers to `target` behind others, pipelined, of so much less than the high-water mark."""
    with server.connect() as wire:
        wire.send_request("GET", f"/large/{BODY_BYTES}/{BODY_BYTES}")
        head_bytes = len(wire.read_until(b"\r\n\r\n"))
        wire.read(BODY_BYTES)
        rest = HIGH_WATER_BYTES - missing - 7 * (head_bytes + BODY_BYTES) - head_bytes
        targets = 7 * [f"/large/{BODY_BYTES}/{BODY_BYTES}"] + [f"/large/{rest}/{rest}", target]
        wire.send(b"".join(request("GET", target, host=wire.host) for target in targets))
        wire.read(HIGH_WATER_BYTES - missing)
        yield wire


@pytest.mark.parametrize("missing", [1, 10, 60, 200])
def test_early_hint_precedes_a_head_behind_much_else(
    every_http1: Server, key: str, missing: int
) -> None:
    target = script(key, ("send", START), ("send", HINT), ("send", body_message(b"the end")))
    with behind_much_else(every_http1, missing, target) as wire:
        hint = wire.head()
        assert hint.status == 103
        assert hint.header(b"link") == HINT["links"][0]
        response = wire.response()
    assert response.header(b"x-app") == b"started"
    assert response.header(b"content-length") == b"7"
    assert response.body == b"the end"


@pytest.mark.parametrize("missing", [1, 10, 60, 200])
def test_exception_takes_back_a_head_behind_much_else(
    every_http1: Server, key: str, missing: int
) -> None:
    target = script(key, ("send", START), ("raise", "no body"))
    with behind_much_else(every_http1, missing, target) as wire:
        wire.assert_closed()


STEPS: dict[str, tuple[Step, ...]] = {
    "receives": (("send", START), ("until-disconnect",)),
    "hints-and-receives": (("send", START), ("send", HINT), ("until-disconnect",)),
}


@pytest.mark.parametrize("steps", STEPS)
def test_malformed_body_is_refused_without_a_trace_of_the_head(
    every_http1: Server, key: str, steps: str
) -> None:
    server = every_http1
    chunks = 100 * (b"%x\r\n" % 1000 + b"x" * 1000 + b"\r\n")
    with server.connect() as wire, server.connect() as other:
        # All of it is there when the application reads: more than what one read takes.
        other.send_request("GET", f"/block/300/{key}")
        server.stdout.wait_for(f"blocking {key}")
        head = request(
            "POST", script(key, *STEPS[steps]), "Transfer-Encoding: chunked", host=wire.host
        )
        wire.send(head + chunks + b"no size\r\n")
        received = wire.read_all()
    _, _, answer = received.rpartition(b"HTTP/1.1 ")
    assert answer.startswith(b"400 ")
    assert b"x-app" not in received
    assert received.count(b"HTTP/1.1 200") == 0
