"""How a WebSocket ends: what its client said before counts, however it goes."""

from __future__ import annotations

import pytest
from conftest import Start
from support.frames import PING, PONG, TEXT, WebSocket, close_frame, frame
from support.remote import open_gate, records, wait_for_records, wait_for_waiting
from support.server import Server

pytestmark = pytest.mark.strict

# More than wait to be taken at most, so that some are not even understood when the end comes.
TEXTS = [f"message {number}" for number in range(100)]
MESSAGES = [{"type": "websocket.receive", "text": text} for text in TEXTS]
LOST = {"type": "websocket.disconnect", "code": 1006}
CLOSED = {"type": "websocket.disconnect", "code": 1000, "reason": ""}

every_last_word = pytest.mark.parametrize(
    ("last", "end"),
    [(close_frame(), CLOSED), (b"", LOST), (frame(TEXT, b"cut off")[:-1], LOST)],
    ids=["close", "nothing", "half"],
)


def lagging(server: Server, key: str, last: bytes) -> WebSocket:
    """A WebSocket that has said all of it to an application which waits at a gate."""
    socket = WebSocket(server, f"/lag/{key}")
    wait_for_waiting(server, key)
    # In one write, so that the server has all of it.
    socket.send(*(frame(TEXT, text.encode()) for text in TEXTS), last)
    return socket


@every_last_word
def test_everything_before_the_end_is_delivered(
    every_transport: Server, key: str, last: bytes, end: dict[str, object]
) -> None:
    with lagging(every_transport, key, last) as socket:
        socket.end()
        every_transport.barrier()
        open_gate(every_transport, key)
        assert wait_for_records(every_transport, key, len(TEXTS) + 1) == [*MESSAGES, end]
        if end is CLOSED:
            socket.expect_close(1000)
        assert socket.wire.read_all() == b""


@every_last_word
def test_everything_before_a_reset_is_delivered(
    every_transport: Server, key: str, last: bytes, end: dict[str, object]
) -> None:
    socket = lagging(every_transport, key, last)
    every_transport.barrier()
    socket.wire.reset()
    every_transport.barrier()
    open_gate(every_transport, key)
    assert wait_for_records(every_transport, key, len(TEXTS) + 1) == [*MESSAGES, end]


def test_end_does_not_wait_for_an_application_that_has_taken_all(
    every_transport: Server, key: str
) -> None:
    with WebSocket(every_transport, f"/lag/{key}/{len(TEXTS)}") as socket:
        wait_for_waiting(every_transport, key)
        socket.text(*TEXTS)
        socket.end()
        every_transport.barrier()
        open_gate(every_transport, key)
        wait_for_waiting(every_transport, f"{key}-rest")
        assert socket.wire.read_all() == b""
        assert records(every_transport, key) == MESSAGES
        open_gate(every_transport, f"{key}-rest")
        assert wait_for_records(every_transport, key, len(TEXTS) + 1) == [*MESSAGES, LOST]


def test_pong_behind_messages_that_wait_counts(start: Start, key: str) -> None:
    pings = ("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2")
    server = start("support.apps:app", "--ws-max-queue", "4", *pings)
    with WebSocket(server, f"/lag/{key}/1") as socket:
        wait_for_waiting(server, key)
        ping = socket.frame()
        assert ping.opcode == PING
        texts = (frame(TEXT, text.encode()) for text in TEXTS[:6])
        socket.send(*texts, frame(PONG, ping.payload))
        server.barrier()
        open_gate(server, key)
        wait_for_waiting(server, f"{key}-rest")
        # The application, which has room for one more now, is not the client's fault.
        assert not socket.wire.is_readable(within_s=0.6)
        open_gate(server, f"{key}-rest")
        assert wait_for_records(server, key, 6)[:6] == MESSAGES[:6]
