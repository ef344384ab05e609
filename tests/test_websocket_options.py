"""What each of the options for WebSocket does, back-pressure, pings and the end of the server."""

from __future__ import annotations

import signal
import time
import zlib

import pytest
from conftest import Start
from support.frames import BINARY, PING, PONG, TEXT, WebSocket, close_frame, frame, handshake
from support.remote import open_gate, records, wait_for_record, wait_for_records, wait_for_waiting
from support.server import Server
from support.wire import Wire

pytestmark = pytest.mark.strict

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
APP = "support.apps:app"


@pytest.mark.parametrize("name", ["auto", "websockets", "websockets-sansio", "wsproto"])
def test_every_name_stands_for_the_engine(start: Start, name: str) -> None:
    with WebSocket(start(APP, "--ws", name), "/echo") as socket:
        socket.text("a")
        socket.expect_text("a")


def test_none_serves_the_upgrade_as_plain_http(start: Start) -> None:
    server = start(APP, "--ws", "none")
    with server.connect() as wire:
        wire.send(handshake("/", host=server.host))
        assert wire.response().status == 200
        wire.assert_open()
    server.stderr.wait_for(r"WARNING: +Unsupported upgrade request\.")
    server.stderr.wait_for(r"WARNING: +No supported WebSocket library detected")


def test_max_size_is_the_largest_message(start: Start) -> None:
    server = start(APP, "--ws-max-size", "1000")
    with WebSocket(server, "/echo", DEFLATE) as socket:
        socket.send(frame(BINARY, bytes(range(250)) * 4))
        inflater = zlib.decompressobj(wbits=-12)
        payload = socket.frame().payload
        assert inflater.decompress(payload + b"\0\0\xff\xff") == bytes(range(250)) * 4
        socket.send(frame(BINARY, bytes(1001)))
        socket.expect_close(1009, "message too big")
        socket.wire.assert_closed()


@pytest.mark.parametrize("flag", ["--ws-per-message-deflate", None])
def test_deflate_can_be_turned_off(start: Start, flag: str | None) -> None:
    server = start(APP, *([flag, "false"] if flag else []))
    with WebSocket(server, "/echo", DEFLATE) as socket:
        agreed = socket.response.header(b"sec-websocket-extensions")
        assert (agreed is None) == bool(flag)


def test_deflate_options_are_what_is_agreed_on(start: Start) -> None:
    options = ("--ws-deflate-window-bits", "10", "--no-ws-deflate-context-takeover")
    with WebSocket(start(APP, *options), "/echo", DEFLATE) as socket:
        assert socket.response.header(b"sec-websocket-extensions") == (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            b"server_max_window_bits=10; client_max_window_bits=10"
        )
        socket.text("a" * 100)
        socket.text("a" * 100)
        assert socket.frame() == socket.frame()


@pytest.mark.parametrize("codecs", [0, 1, 4])
def test_any_number_of_codecs_serves_any_number_of_connections(start: Start, codecs: int) -> None:
    server = start(APP, "--ws-deflate-codecs", str(codecs))
    clients = [
        (WebSocket(server, "/echo", DEFLATE), zlib.decompressobj(wbits=-12)) for _ in range(6)
    ]
    for turn in range(5):
        for number, (socket, inflater) in enumerate(clients):
            text = f"client {number}, turn {turn}, " + "the same again and again " * 4
            socket.text(text)
            received = socket.frame()
            assert inflater.decompress(received.payload + b"\0\0\xff\xff") == text.encode()
            assert turn == 0 or len(received.payload) < 40
    for socket, _ in clients:
        socket.wire.close()


# --- Back-pressure -----------------------------------------------------------------------------


def test_reading_pauses_while_the_application_lags(start: Start, key: str) -> None:
    server = start(
        APP, "--ws-max-queue", "4", "--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.2"
    )
    message = frame(BINARY, bytes(8000))
    with WebSocket(server, f"/count/{key}") as socket:
        wait_for_waiting(server, key)
        socket.wire.socket.setblocking(False)
        sent = blocked = 0
        while blocked < 20:
            try:
                sent += socket.wire.socket.send((message * 9)[sent % len(message) :])
                blocked = 0
            except BlockingIOError:
                blocked += 1
                time.sleep(0.01)
        assert server.rss_bytes() < 200 << 20
        # A pong cannot be read either; that is no reason to give the client up.
        time.sleep(0.6)
        open_gate(server, key)
        socket.wire.socket.setblocking(True)
        begun = sent % len(message)
        socket.send(message[begun:] if begun else b"", frame(TEXT))
        number = (sent + len(message) - 1) // len(message)
        while (received := socket.frame()).opcode == PING:
            pass
        assert received.payload.decode() == str(number)


def test_sending_waits_for_a_client_that_does_not_read(server: Server, key: str) -> None:
    wire = Wire(server.address, receive_buffer_bytes=4096)
    with WebSocket(server, f"/flood/{key}", wire=wire) as socket:
        counts: list[int] = []
        while len(counts) < 5 or counts[-1] != counts[-5]:
            counts += records(server, key)
            server.barrier()
        assert counts[-1] < 1000
        for _ in range(counts[-1] + 20):
            assert len(socket.frame().payload) == 16384
    wait_for_record(server, key, "disconnected")


def test_pings_of_a_client_that_does_not_read_are_not_gathered(server: Server) -> None:
    with WebSocket(server, "/echo", wire=Wire(server.address, receive_buffer_bytes=4096)) as socket:
        server.barrier()
        before = server.rss_bytes()
        socket.wire.socket.setblocking(False)
        pings = frame(PING, bytes(125)) * 1000
        sent = blocked = 0
        while blocked < 20 and sent < 64 << 20:
            try:
                sent += socket.wire.socket.send(pings)
                blocked = 0
            except BlockingIOError:
                blocked += 1
                time.sleep(0.01)
        assert sent < 64 << 20, "it reads on"
        assert server.rss_bytes() - before < 8 << 20


# --- Pings and time ----------------------------------------------------------------------------


def test_pings_are_sent_and_their_pongs_counted(start: Start, key: str) -> None:
    server = start(APP, "--ws-ping-interval", "0.1", "--ws-ping-timeout", "0.5")
    with WebSocket(server, f"/record/{key}") as socket:
        payloads = set()
        for _ in range(4):
            ping = socket.frame()
            assert ping.opcode == PING
            payloads.add(ping.payload)
            socket.send(frame(PONG, ping.payload))
        assert len(payloads) == 4
        # Now the client is silent.
        assert socket.frame().opcode == PING
        socket.expect_close(1011, "keepalive ping timeout")
        socket.wire.assert_closed()
    gone = {"type": "websocket.disconnect", "code": 1011, "reason": "keepalive ping timeout"}
    wait_for_record(server, key, gone)


def test_client_that_vanishes_is_found(start: Start, key: str) -> None:
    server = start(APP, "--ws-ping-interval", "0.1", "--ws-ping-timeout", "0.2")
    socket = WebSocket(server, f"/record/{key}")
    # It neither answers nor says goodbye; the kernel goes on taking bytes for it.
    assert wait_for_records(server, key)[0]["code"] == 1011
    socket.wire.close()


def test_pings_can_be_turned_off(start: Start) -> None:
    server = start(APP, "--ws-ping-interval", "0")
    with WebSocket(server, "/echo") as socket:
        assert not socket.wire.is_readable(within_s=0.3)


def test_close_frame_that_is_not_answered_is_waited_for_ten_seconds(
    server: Server, key: str
) -> None:
    with WebSocket(server, f"/close/{key}/1000/x") as socket:
        socket.expect_close(1000, "x")
        begun = time.monotonic()
        socket.wire.assert_closed(deadline_s=15)
        assert 9 < time.monotonic() - begun < 12


# --- Logs --------------------------------------------------------------------------------------


def test_log_lines_are_uvicorns(start: Start, key: str) -> None:
    server = start(APP)
    with WebSocket(server, "/echo?a=b") as socket:
        host, port = socket.wire.socket.getsockname()
        socket.send(close_frame())
        socket.expect_close(1000)
        socket.wire.assert_closed()
    for target, status, phrase in (
        (f"/deny/{key}", 403, "Forbidden"),
        (f"/denial-response/{key}", 418, "I'm a Teapot"),
        ("/return/early", 500, "Internal Server Error"),
    ):
        with server.connect() as wire:
            wire.send(handshake(target, host=server.host))
            assert wire.response().status == status
        server.stderr.wait_for(rf"INFO: +connection rejected \({status} {phrase}\)$")
    text = server.stderr.text()
    assert f'INFO:     {host}:{port} - "WebSocket /echo?a=b" [accepted]' in text
    assert "INFO:     connection open" in text
    assert "INFO:     connection closed" in text
    assert f'"WebSocket /deny/{key}" 403' in text
    assert f'"WebSocket /denial-response/{key}" 418' in text
    assert "ERROR:    ASGI callable returned without completing handshake." in text


# --- The end of the server ---------------------------------------------------------------------


def test_shutdown_tells_both_sides_at_once(start: Start, key: str) -> None:
    server = start(APP)
    with WebSocket(server, f"/record/{key}") as socket, server.connect() as wire:
        # A request that has begun keeps the server up for the question below.
        socket.text("a")
        wait_for_records(server, key)
        wire.send(b"GET / HTTP/1.1\r\n")
        server.signal(signal.SIGTERM)
        socket.expect_close(1012)
        socket.send(close_frame(1012))
        socket.wire.assert_closed()
        wire.close()
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize(("path", "code"), [("/echo", 1012), ("/close/key/4000/why", 4000)])
def test_shutdown_does_not_wait_for_clients_that_do_not_answer(
    start: Start, path: str, code: int
) -> None:
    server = start(APP)
    with WebSocket(server, path) as socket:
        if code == 4000:  # The application has closed before.
            socket.expect_close(code)
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        if code == 1012:
            socket.expect_close(code)
        assert server.wait() == -signal.SIGTERM
        assert time.monotonic() - begun < 5


def test_handshake_that_waits_for_its_application_is_refused_at_shutdown(
    start: Start, key: str
) -> None:
    server = start(APP, "--timeout-graceful-shutdown", "3")
    with server.connect() as wire:
        wire.send(handshake(f"/late-accept/{key}", host=server.host))
        wait_for_waiting(server, key)
        server.signal(signal.SIGTERM)
        assert wire.response().status == 503
        wire.assert_closed()
    assert server.wait() == -signal.SIGTERM


def test_limit_on_concurrency_holds_for_websockets(start: Start) -> None:
    server = start(APP, "--limit-concurrency", "2")
    with WebSocket(server, "/echo"), server.connect() as wire:
        wire.send(handshake("/echo", host=server.host))
        assert wire.response().status == 503


# --- Memory ------------------------------------------------------------------------------------


def grown_per_connection(server: Server, count: int, *, deflate: bool) -> float:
    """Bytes that one idle WebSocket takes, once it has had a message."""
    fields = [DEFLATE] if deflate else []

    def open_one() -> WebSocket:
        socket = WebSocket(server, "/echo", *fields)
        socket.text("a message that is used once " * 4)
        assert socket.frame().opcode == TEXT
        return socket

    warm = [open_one() for _ in range(200)]
    before = server.rss_bytes()
    opened = [open_one() for _ in range(count)]
    grown = server.rss_bytes() - before
    for socket in warm + opened:
        socket.wire.close()
    return grown / count


@pytest.mark.parametrize(("deflate", "bytes_max"), [(False, 6 << 10), (True, 40 << 10)])
def test_idle_websocket_takes_little_memory(start: Start, deflate: bool, bytes_max: int) -> None:
    server = start(APP, "--no-access-log")
    assert grown_per_connection(server, 600, deflate=deflate) <= bytes_max
