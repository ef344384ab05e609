"""WebSocket over HTTP/2: extended CONNECT makes a stream a tunnel (RFC 8441)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Start
from support import frames
from support.http2 import (
    CANCEL,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    Peer,
    ResetError,
    frame,
)
from support.remote import wait_for_records
from support.server import Server

TEXT = 1


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    with Peer(server.address) as peer:
        peer.wait_for(SETTINGS)
        yield peer


def connect(peer: Peer, target: str, *fields: tuple[str, str], protocol: str = "websocket") -> int:
    """Asks for a tunnel; returns the stream's number once there is an answer."""
    number = peer.number()
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", target),
        (":authority", peer.wire.host),
    ]
    block = peer.block([*pseudo, ("sec-websocket-version", "13"), *fields])
    peer.send(HEADERS, END_HEADERS, number, block)
    while not peer.answers[number].heads:
        peer.read_frame()
    return number


def read(peer: Peer, number: int, count: int) -> bytes:
    """So many of a tunnel's bytes."""
    answer = peer.answers[number]
    while len(answer.body) < count:
        peer.read_frame()
    taken = bytes(answer.body[:count])
    del answer.body[:count]
    return taken


def test_server_says_that_it_can(peer: Peer) -> None:
    assert peer.settings[ENABLE_CONNECT_PROTOCOL] == 1


def test_messages_go_both_ways_beside_requests(peer: Peer) -> None:
    number = connect(peer, "/echo")
    assert dict(peer.answers[number].heads[0])[b":status"] == b"200"
    assert b"sec-websocket-accept" not in dict(peer.answers[number].heads[0])
    for word in (b"one", b"two"):
        peer.send(DATA, 0, number, frames.frame(TEXT, word))
        assert read(peer, number, 5) == b"\x81\x03" + word
        peer.assert_open()
    peer.send(DATA, 0, number, frames.close_frame(1000))
    assert peer.response(number).body == b"\x88\x02\x03\xe8"
    peer.assert_open()


def test_large_message_passes_the_windows(peer: Peer) -> None:
    number = connect(peer, "/echo")
    payload = b"x" * 200_000
    message = frames.frame(TEXT, payload)
    for start in range(0, len(message), 16384):
        peer.send(DATA, 0, number, message[start : start + 16384])
    assert read(peer, number, 10 + len(payload))[10:] == payload


def test_scope_is_that_of_a_websocket(peer: Peer) -> None:
    number = connect(peer, "/scope?a=b")
    head = read(peer, number, 4)
    shown = read(peer, number, int.from_bytes(head[2:], "big"))
    assert b"'type': 'websocket'" in shown
    assert b"'http_version': '2'" in shown
    assert b"'scheme': 'ws'" in shown


def test_other_protocols_are_refused(peer: Peer) -> None:
    number = connect(peer, "/echo", protocol="else")
    assert peer.response(number).status == 501
    peer.assert_open()


def test_stream_that_is_taken_back_ends_the_websocket(peer: Peer, server: Server) -> None:
    number = connect(peer, "/echo")
    peer.send(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
    peer.assert_open()
    server.barrier()


def test_what_comes_with_the_end_of_a_stream_counts(peer: Peer, server: Server, key: str) -> None:
    # As Chromium does when a page is left.
    number = connect(peer, f"/record/{key}")
    last = frames.frame(TEXT, b"last words") + frames.close_frame(1001)
    reset = frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
    peer.wire.send(frame(DATA, 0, number, last) + reset)
    assert wait_for_records(server, key, 2) == [
        {"type": "websocket.receive", "text": "last words"},
        {"type": "websocket.disconnect", "code": 1001, "reason": ""},
    ]


def test_without_websockets_there_are_no_tunnels(start: Start) -> None:
    server = start("support.apps:app", "--ws", "none")
    with Peer(server.address) as peer:
        peer.wait_for(SETTINGS)
        assert ENABLE_CONNECT_PROTOCOL not in peer.settings
        number = peer.number()
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
        block = peer.block([*pseudo, (":path", "/echo"), (":authority", peer.wire.host)])
        peer.send(HEADERS, END_HEADERS | END_STREAM, number, block)
        with pytest.raises(ResetError):
            peer.response(number)
