"""WebSocket over HTTP/2: extended CONNECT makes a stream a tunnel (RFC 8441)."""

from __future__ import annotations

import signal
import ssl
import zlib
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import wsproto
import wsproto.events
from conftest import Start
from support import frames
from support.http2 import (
    CANCEL,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    ResetError,
    frame,
)
from support.remote import wait_for_record, wait_for_records, wait_for_waiting
from support.server import Server
from support.tls import Certificates, TLSSocket
from support.wire import connect as connect_socket

APP = "support.apps:app"
TEXT = 1


def context_of(certificates: Certificates) -> ssl.SSLContext:
    context = certificates.client()
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture(params=["clear", "tls"])
def peer(
    request: pytest.FixtureRequest, certificates: Certificates, server: Server
) -> Iterator[Peer]:
    context = None
    if request.param == "tls":
        server = request.getfixturevalue("shared_tls_server")
        context = context_of(certificates)
    with Peer(server.address, context=context) as peer:
        peer.wait_for(SETTINGS)
        yield peer


def connect(
    peer: Peer,
    target: str,
    *fields: tuple[str, str],
    protocol: str = "websocket",
    end: bool = False,
) -> int:
    """Asks for a tunnel; returns the stream's number once there is an answer."""
    number = peer.number()
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", peer.scheme),
        (":path", target),
        (":authority", peer.wire.host),
    ]
    block = peer.block([*pseudo, ("sec-websocket-version", "13"), *fields])
    peer.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), number, block)
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
    scheme = "ws" if peer.scheme == "http" else "wss"
    assert f"'scheme': '{scheme}'".encode() in shown


def test_other_protocols_are_refused(peer: Peer) -> None:
    number = connect(peer, "/echo", protocol="else")
    assert peer.response(number).status == 501
    peer.assert_open()


def test_client_that_has_ended_its_side_at_once_is_refused(peer: Peer) -> None:
    number = connect(peer, "/echo", end=True)
    assert peer.response(number).status == 400
    peer.assert_open()


@pytest.mark.parametrize("way", ["reset", "end"])
def test_stream_that_is_taken_back_ends_the_websocket(server: Server, key: str, way: str) -> None:
    with Peer(server.address) as peer:
        number = connect(peer, f"/record/{key}")
        if way == "reset":
            peer.send(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
        else:
            peer.send(DATA, END_STREAM, number)
        wait_for_record(server, key, {"type": "websocket.disconnect", "code": 1006})
        peer.assert_open()


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/deny/denied", 403, b""),
        ("/denial-response/denied", 418, b"teapot"),
        ("/return/early", 500, b"Internal Server Error"),
        ("/raise/early", 500, b"Internal Server Error"),
    ],
)
def test_handshake_can_be_denied(peer: Peer, target: str, status: int, body: bytes) -> None:
    response = peer.response(connect(peer, target))
    assert (response.status, response.body) == (status, body)
    peer.assert_open()


def test_handshake_of_another_version_is_refused(peer: Peer) -> None:
    number = peer.number()
    pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", peer.scheme)]
    place = [(":path", "/echo"), (":authority", peer.wire.host)]
    block = peer.block([*pseudo, *place, ("sec-websocket-version", "12")])
    peer.send(HEADERS, END_HEADERS, number, block)
    assert peer.response(number).status in (400, 426)
    peer.assert_open()


def test_application_closes_its_stream_and_no_other(peer: Peer) -> None:
    other = connect(peer, "/echo")
    number = connect(peer, "/close/closed/3000/enough")
    head = read(peer, number, 2)
    code = read(peer, number, head[1])
    assert head[0] == 0x88
    peer.send(DATA, 0, number, frames.frame(8, code))
    peer.response(number)
    peer.send(DATA, 0, other, frames.frame(TEXT, b"one"))
    assert read(peer, other, 5) == b"\x81\x03one"


@pytest.mark.parametrize("endpoint", ["return/accepted", "raise/accepted"])
def test_application_that_ends_without_closing_ends_its_stream(peer: Peer, endpoint: str) -> None:
    number = connect(peer, f"/{endpoint}")
    while not peer.answers[number].is_over:
        peer.read_frame()
    peer.assert_open()


def test_pings_are_answered(peer: Peer) -> None:
    number = connect(peer, "/echo")
    peer.send(DATA, 0, number, frames.frame(9, b"ping"))
    assert read(peer, number, 6) == b"\x8a\x04ping"


def test_message_may_come_in_single_bytes(peer: Peer) -> None:
    number = connect(peer, "/echo")
    for byte in frames.frame(TEXT, b"slow"):
        peer.send(DATA, 0, number, bytes([byte]))
    assert read(peer, number, 6) == b"\x81\x04slow"


def test_what_breaks_a_rule_ends_its_stream_with_the_reason(peer: Peer) -> None:
    number = connect(peer, "/echo")
    # An unmasked frame.
    peer.send(DATA, 0, number, b"\x81\x03one")
    closed = read(peer, number, 4)
    assert (closed[0], closed[2:]) == (0x88, (1002).to_bytes(2, "big"))
    peer.assert_open()


def test_messages_are_compressed_where_that_is_agreed_on(peer: Peer) -> None:
    number = connect(peer, "/echo", ("sec-websocket-extensions", "permessage-deflate"))
    agreed = dict(peer.answers[number].heads[0])[b"sec-websocket-extensions"]
    assert agreed.startswith(b"permessage-deflate")
    message = frames.frame(TEXT, b"again and " * 1000)
    for start in range(0, len(message), 16384):
        peer.send(DATA, 0, number, message[start : start + 16384])
    head = read(peer, number, 2)
    assert head[0] == 0xC1
    length = head[1] if head[1] < 126 else int.from_bytes(read(peer, number, 2), "big")
    plain = zlib.decompressobj(-15).decompress(read(peer, number, length) + b"\0\0\xff\xff")
    assert plain == b"again and " * 1000


def test_largest_message_is_that_of_the_option(start: Start) -> None:
    server = start(APP, "--ws-max-size", "1000")
    with Peer(server.address) as peer:
        number = connect(peer, "/echo")
        peer.send(DATA, 0, number, frames.frame(TEXT, b"x" * 1001))
        assert read(peer, number, 4)[2:] == (1009).to_bytes(2, "big")
        peer.assert_open()


def test_limit_on_concurrency_holds(start: Start) -> None:
    server = start(APP, "--limit-concurrency", "2")
    with Peer(server.address) as peer:
        numbers = [connect(peer, "/echo") for _ in range(2)]
        assert peer.response(connect(peer, "/echo")).status == 503
        peer.send(DATA, 0, numbers[1], frames.frame(TEXT, b"one"))
        assert read(peer, numbers[1], 5) == b"\x81\x03one"


def test_client_that_does_not_read_is_not_read_from(start: Start) -> None:
    server = start(APP)
    with Peer(server.address, window=None) as peer:
        peer.wait_for(SETTINGS)
        number = connect(peer, "/echo")
        message = frames.frame(TEXT, b"x" * 16000)
        sent = 0
        # Its own window is 64 KiB; the server's is what echoes fill besides the queue of messages.
        while peer.room(number) >= len(message):
            peer.send(DATA, 0, number, message)
            sent += 1
            server.barrier()
            while peer.wire.is_readable():
                peer.read_frame()
            assert sent < 100, "there is no end to what the server takes"
        assert server.rss_bytes() < 300 << 20


def test_shutdown_tells_every_stream(start: Start, key: str) -> None:
    server = start(APP)
    with Peer(server.address) as peer:
        numbers = [connect(peer, f"/record/{key}-{index}") for index in range(3)]
        server.signal(signal.SIGTERM)
        for number in numbers:
            assert read(peer, number, 4) == b"\x88\x02" + (1012).to_bytes(2, "big")
            peer.send(DATA, 0, number, frames.close_frame(1012))
            peer.response(number)
        assert peer.wait_for_goaway().code == 0
    assert server.wait() == -signal.SIGTERM


def test_shutdown_does_not_wait_for_clients_that_do_not_answer(start: Start) -> None:
    server = start(APP)
    with Peer(server.address) as peer:
        number = connect(peer, "/echo")
        server.signal(signal.SIGTERM)
        assert read(peer, number, 4) == b"\x88\x02" + (1012).to_bytes(2, "big")
        assert server.wait() == -signal.SIGTERM


def test_handshake_that_waits_is_refused_at_shutdown(start: Start, key: str) -> None:
    server = start(APP, "--timeout-graceful-shutdown", "3")
    with Peer(server.address) as peer:
        number = peer.number()
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")]
        place = [(":path", f"/late-accept/{key}"), (":authority", peer.wire.host)]
        block = peer.block([*pseudo, *place, ("sec-websocket-version", "13")])
        peer.send(HEADERS, END_HEADERS, number, block)
        wait_for_waiting(server, key)
        server.signal(signal.SIGTERM)
        assert peer.response(number).status == 503
    assert server.wait() == -signal.SIGTERM


def test_client_made_of_the_usual_libraries(
    shared_tls_server: Server, certificates: Certificates
) -> None:
    """`h2` and `wsproto`, which Hypercorn and others are made of, over TLS."""
    address = shared_tls_server.address
    tls = TLSSocket(connect_socket(address), context_of(certificates))
    tls.handshake()
    tls.settimeout(10)
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    stream = client.get_next_available_stream_id()
    socket = wsproto.Connection(wsproto.ConnectionType.CLIENT)
    received: list[wsproto.events.Event] = []

    def talk(until: type[h2.events.Event]) -> None:
        while True:
            tls.sendall(client.data_to_send())
            events = client.receive_data(tls.recv(65536))
            for event in events:
                if isinstance(event, h2.events.DataReceived):
                    client.acknowledge_received_data(event.flow_controlled_length, stream)
                    if event.data:
                        socket.receive_data(event.data)
                    received.extend(socket.events())
            if any(isinstance(event, until) for event in events):
                return

    try:
        talk(h2.events.RemoteSettingsChanged)
        code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        assert client.remote_settings[code] == 1
        head = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": "/echo",
            ":authority": shared_tls_server.host,
            "sec-websocket-version": "13",
        }
        client.send_headers(stream, list(head.items()))
        talk(h2.events.ResponseReceived)
        for text in ("one", "two" * 1000):
            client.send_data(stream, socket.send(wsproto.events.TextMessage(text)))
            received.clear()
            while not (received and getattr(received[-1], "message_finished", False)):
                talk(h2.events.DataReceived)
            assert "".join(str(getattr(event, "data", "")) for event in received) == text
        client.send_data(stream, socket.send(wsproto.events.CloseConnection(1000)))
        talk(h2.events.StreamEnded)
        assert isinstance(received[-1], wsproto.events.CloseConnection)
    finally:
        tls.close()


def test_what_comes_with_the_end_of_a_stream_counts(server: Server, key: str) -> None:
    # As Chromium does when a page is left.
    with Peer(server.address) as peer:
        number = connect(peer, f"/record/{key}")
        last = frames.frame(TEXT, b"last words") + frames.close_frame(1001)
        reset = frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))
        peer.wire.send(frame(DATA, 0, number, last) + reset)
        assert wait_for_records(server, key, 2) == [
            {"type": "websocket.receive", "text": "last words"},
            {"type": "websocket.disconnect", "code": 1001, "reason": ""},
        ]


def test_pings_of_a_client_that_takes_nothing_are_not_gathered(server: Server) -> None:
    pings = 100
    data = frames.frame(frames.PING, bytes(125)) * pings
    with Peer(server.address, window=None, settings={INITIAL_WINDOW_SIZE: 0}) as peer:
        peer.wait_for(SETTINGS)
        number = connect(peer, "/echo")
        sent = 0
        while sent < 64 << 20:
            if peer.room(number) >= len(data):
                peer.send(DATA, 0, number, data)
                sent += len(data)
            elif peer.wire.is_readable(within_s=0.5):
                peer.read_frame()
            else:
                break
        assert sent < 4 << 20, "it reads on"
        # Nothing is lost by that.
        wide = (1 << 30).to_bytes(4)
        peer.send(WINDOW_UPDATE, 0, 0, wide)
        peer.send(WINDOW_UPDATE, 0, number, wide)
        answers = read(peer, number, sent // len(data) * pings * 127)
        assert answers == (b"\x8a\x7d" + bytes(125)) * (len(answers) // 127)
        peer.send(DATA, 0, number, frames.frame(TEXT, b"on"))
        assert read(peer, number, 4) == b"\x81\x02on"


def test_last_messages_reach_a_client_that_takes_its_time(server: Server) -> None:
    with Peer(server.address, window=None, settings={INITIAL_WINDOW_SIZE: 0}) as peer:
        peer.wait_for(SETTINGS)
        number = connect(peer, "/echo")
        payload = b"x" * 60_000
        message = frames.frame(TEXT, payload) + frames.close_frame(1000)
        for start in range(0, len(message), 16384):
            peer.send(DATA, 0, number, message[start : start + 16384])
        peer.send(DATA, END_STREAM, number)
        server.barrier()
        wide = (1 << 30).to_bytes(4)
        peer.send(WINDOW_UPDATE, 0, 0, wide)
        peer.send(WINDOW_UPDATE, 0, number, wide)
        head = b"\x81\x7e" + len(payload).to_bytes(2)
        assert peer.response(number).body == head + payload + b"\x88\x02\x03\xe8"


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
