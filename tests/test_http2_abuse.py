"""HTTP/2 peers that cost much and give nothing: each has a budget and ends with GOAWAY.

Every attack ends with ENHANCE_YOUR_CALM (RFC 9113, 10.5), and what the server holds for it does not
grow with the number of its frames.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest
from conftest import Start
from support.endpoints_script import script
from support.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
)
from support.server import Server

MIB = 1 << 20
# A tenth of what the streams, or the fields, of any flood would take.
GROWTH_BYTES_MAX = 12 * MIB
FRAMES = 100_000


def flood(peer: Peer, frames: Callable[[int], bytes], count: int = FRAMES) -> None:
    """Sends so many frames, or as many as a server that closes will take."""
    for start in range(0, count, 500):
        peer.wire.send(b"".join(frames(number) for number in range(start, start + 500)))


def assert_calmed(peer: Peer) -> None:
    assert peer.wait_for_goaway().code == ENHANCE_YOUR_CALM


def pings(_: Peer) -> Callable[[int], bytes]:
    return lambda number: frame(PING, 0, 0, struct.pack(">Q", number))


def settings(_: Peer) -> Callable[[int], bytes]:
    return lambda number: frame(SETTINGS, 0, 0, struct.pack(">HI", 3, number))


def priorities(_: Peer) -> Callable[[int], bytes]:
    return lambda number: frame(PRIORITY, 0, 2 * number + 1, b"\0\0\0\0\x10")


def unknown_frames(_: Peer) -> Callable[[int], bytes]:
    return lambda number: frame(0xFA, 0, 0, b"x")


def window_updates(_: Peer) -> Callable[[int], bytes]:
    return lambda number: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))


def empty_data(peer: Peer) -> Callable[[int], bytes]:
    stream = peer.begin("POST", "/wait/never")
    return lambda number: frame(DATA, 0, stream)


def continuations(peer: Peer) -> Callable[[int], bytes]:
    stream = peer.number()
    peer.send(HEADERS, END_STREAM, stream, peer.head())
    return lambda number: frame(CONTINUATION, 0, stream, b"")


def resets_by_the_client(peer: Peer) -> Callable[[int], bytes]:
    block = peer.head("GET", "/wait/never")

    def attack(number: int) -> bytes:
        stream = 2 * number + 1
        begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
        return begin + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))

    return attack


def resets_by_the_server(peer: Peer) -> Callable[[int], bytes]:
    """MadeYouReset: the server is made to reset what it has begun."""
    block = peer.head("GET", "/wait/never")

    def attack(number: int) -> bytes:
        stream = 2 * number + 1
        begin = frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
        return begin + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1))

    return attack


def streams_beyond_the_limit(peer: Peer) -> Callable[[int], bytes]:
    block = peer.head("GET", script("flood", ("until-disconnect",)))
    return lambda number: frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block)


ATTACKS = [
    streams_beyond_the_limit,
    pings,
    settings,
    priorities,
    unknown_frames,
    window_updates,
    empty_data,
    continuations,
    resets_by_the_client,
    resets_by_the_server,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_flood_ends_with_goaway_and_flat_memory(
    server: Server, attack: Callable[[Peer], Callable[[int], bytes]]
) -> None:
    before = server.rss_bytes()
    with Peer(server.address) as peer:
        peer.wait_for(SETTINGS)
        flood(peer, attack(peer))
        assert_calmed(peer)
    assert server.rss_bytes() - before < GROWTH_BYTES_MAX
    server.barrier()


def test_streams_that_were_taken_back_at_once_never_start(server: Server, key: str) -> None:
    with Peer(server.address) as peer:
        head = peer.head("GET", f"/wait/{key}")
        streams = [peer.number() for _ in range(50)]
        peer.wire.send(
            b"".join(
                frame(HEADERS, END_HEADERS | END_STREAM, stream, head)
                + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
                for stream in streams
            )
        )
        peer.assert_open()
    assert server.get(f"/waiting/{key}") == b"0"


def test_head_that_grows_when_unpacked_is_refused(server: Server) -> None:
    before = server.rss_bytes()
    with Peer(server.address) as peer:
        # One literal into the table, then references to it: a byte stands for four kilobytes.
        value = "x" * 3900
        bomb = peer.block([("bomb", value)]) + peer.block([("bomb", value)]) * 12_000
        stream = peer.number()
        peer.wire.send(frame(HEADERS, END_STREAM, stream, peer.head()))
        for start in range(0, len(bomb), 16_000):
            peer.wire.send(frame(CONTINUATION, 0, stream, bomb[start : start + 16_000]))
        assert_calmed(peer)
    assert server.rss_bytes() - before < GROWTH_BYTES_MAX


def test_head_list_beyond_the_limit_is_answered_with_431(server: Server) -> None:
    with Peer(server.address) as peer:
        fields = [(f"x-{number}", "v" * 4000) for number in range(20)]
        stream = peer.number()
        block = peer.head("GET", "/smuggled", *fields)
        parts = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
        peer.send(HEADERS, END_STREAM, stream, parts[0])
        for part in parts[1:-1]:
            peer.send(CONTINUATION, 0, stream, part)
        peer.send(CONTINUATION, END_HEADERS, stream, parts[-1])
        assert peer.response(stream).status == 431
        peer.assert_open()


def test_too_many_fields_are_answered_with_431(server: Server) -> None:
    with Peer(server.address) as peer:
        fields = [(f"x-{number}", "v") for number in range(101)]
        assert peer.get("/smuggled", *fields).status == 431
        peer.assert_open()


def test_windows_that_stay_closed_end_the_connection(start: Start) -> None:
    server = start("support.apps:app", "--timeout-write", "1", "--timeout-keep-alive", "60")
    before = server.rss_bytes()
    with Peer(server.address, window=None, settings={INITIAL_WINDOW_SIZE: 0}) as peer:
        begun = time.monotonic()
        for _ in range(100):
            # Ten megabytes each, of which hardly more than `send()` lets through may be there.
            peer.request("GET", "/large/10000000/50000")
        assert_calmed(peer)
        assert time.monotonic() - begun >= 1
    assert server.rss_bytes() - before < 100 * 150_000 + GROWTH_BYTES_MAX
    assert server.get("/") == b"hello"


def test_one_stalled_stream_does_not_end_the_others(start: Start) -> None:
    server = start("support.apps:app", "--timeout-write", "1", "--timeout-keep-alive", "60")
    with Peer(server.address, window=None) as peer:
        stalled = peer.request("GET", "/large/100000/10000")
        until = time.monotonic() + 6
        while peer.answers[stalled].reset is None:
            assert time.monotonic() < until, "the stalled stream was not ended"
            # The connection's window is all but used up by the stalled stream: these are empty.
            peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100))
            assert peer.get("/").status == 200
        peer.assert_open()


def test_head_that_does_not_end_is_given_up(start: Start) -> None:
    server = start("support.apps:app", "--timeout-request-header", "1")
    with Peer(server.address) as peer:
        peer.assert_open()
        peer.send(HEADERS, END_STREAM, peer.number(), peer.head())
        while not peer.wire.is_readable(0.2):
            peer.send(CONTINUATION, 0, 3, b"")
        assert_calmed(peer)


def test_silent_connection_is_closed(start: Start) -> None:
    server = start("support.apps:app", "--timeout-request-header", "1")
    with Peer(server.address) as peer:
        assert peer.wait_for_goaway().code == 0


def test_idle_connection_is_closed_with_goaway(start: Start) -> None:
    server = start("support.apps:app", "--timeout-keep-alive", "1")
    with Peer(server.address) as peer:
        number = peer.request()
        peer.response(number)
        goaway = peer.wait_for_goaway()
        assert (goaway.code, goaway.last_stream) == (0, number)
