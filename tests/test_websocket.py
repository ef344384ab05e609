"""WebSocket as applications and clients see it: handshake, messages, closing, options."""

from __future__ import annotations

import ast
import re
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Start
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    TEXT,
    WebSocket,
    close_frame,
    close_payload,
    frame,
    handshake,
)
from support.remote import open_gate, wait_for_record, wait_for_records, wait_for_waiting
from support.server import Server
from support.wire import Response

pytestmark = pytest.mark.strict

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def refusal(server: Server, target: str, *fields: str, method: str = "GET") -> Response:
    """The answer to a handshake, after which the connection ends."""
    with server.connect() as wire:
        request = handshake(target, *fields, host=server.host)
        wire.send(request.replace(b"GET", method.encode(), 1))
        response = wire.response()
        assert response.closes
        wire.assert_closed()
    return response


# --- Handshake ---------------------------------------------------------------------------------


def test_answer_has_uvicorns_fields_in_its_order(server: Server) -> None:
    with WebSocket(server, "/accept", DEFLATE, "Sec-WebSocket-Protocol: a, b") as socket:
        names = [name for name, _ in socket.response.headers]
        assert names == [
            b"Upgrade",
            b"Connection",
            b"Sec-WebSocket-Accept",
            b"Sec-WebSocket-Extensions",
            b"date",
            b"server",
            b"x-app",
            b"Sec-WebSocket-Protocol",
        ]
        assert socket.response.header(b"sec-websocket-protocol") == b"b"
        assert socket.response.header(b"sec-websocket-extensions") == (
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        )


@pytest.mark.parametrize(
    ("fields", "method", "status", "text"),
    [
        (["Sec-WebSocket-Key"], "GET", 400, "missing Sec-WebSocket-Key header"),
        (["Sec-WebSocket-Key: abc"], "GET", 400, "invalid Sec-WebSocket-Key header: abc"),
        (["Sec-WebSocket-Version"], "GET", 400, "missing Sec-WebSocket-Version header"),
        (["Sec-WebSocket-Version: 8"], "GET", 400, "invalid Sec-WebSocket-Version header: 8"),
        *(
            (
                [f"Sec-WebSocket-Protocol: {value}"],
                "GET",
                400,
                f"invalid Sec-WebSocket-Protocol header: expected {what} in {value}",
            )
            for value, what in [
                ('a, "c"', "token at 3"),
                ("a b", "comma at 2"),
                (",", "token at 1"),
                ("a,, /", "token at 4"),
            ]
        ),
        ([], "POST", 405, "unsupported HTTP method: POST"),
    ],
)
def test_handshake_is_refused_with_uvicorns_words(
    server: Server, fields: list[str], method: str, status: int, text: str
) -> None:
    response = refusal(server, "/echo", *fields, method=method)
    assert response.status == status
    assert response.body.decode() == f"Failed to open a WebSocket connection: {text}.\n"
    assert response.header(b"allow") == (b"GET" if status == 405 else None)


@pytest.mark.parametrize("field", ["Content-Length: 3", "Transfer-Encoding: chunked"])
def test_handshake_with_a_body_is_refused(server: Server, field: str) -> None:
    assert refusal(server, "/echo", field).status == 400


def test_scope_is_uvicorns(server: Server) -> None:
    fields = ["Sec-WebSocket-Protocol: a, b", "X-A: b"]
    with WebSocket(server, "/scope/%C3%A4?q=1", *fields) as socket:
        scope: dict[str, Any] = ast.literal_eval(socket.frame().payload.decode())
        host, port = socket.wire.socket.getsockname()
    headers = dict(scope.pop("headers"))
    assert headers[b"upgrade"] == b"websocket"
    assert headers[b"x-a"] == b"b"
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": server.address,
        "client": (host, port),
        "root_path": "",
        "path": "/scope/ä",
        "raw_path": b"/scope/%C3%A4",
        "query_string": b"q=1",
        "subprotocols": ["a", "b"],
        "state": {"number": 1, "shared": [], "text": "from lifespan"},
        "extensions": {"websocket.http.response": {}},
    }


@pytest.mark.parametrize(("sent", "scheme"), [("https", "wss"), ("http", "ws"), ("wss", "wss")])
def test_proxy_headers_are_mapped(server: Server, sent: str, scheme: str) -> None:
    fields = [f"X-Forwarded-Proto: {sent}", "X-Forwarded-For: 192.0.2.7"]
    with WebSocket(server, "/scope", *fields) as socket:
        scope: dict[str, Any] = ast.literal_eval(socket.frame().payload.decode())
    assert (scope["scheme"], scope["client"]) == (scheme, ("192.0.2.7", 0))


def test_frames_sent_with_the_handshake_are_kept(server: Server, key: str) -> None:
    request = b"GET /record/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    early = frame(TEXT, b"early") + frame(BINARY, request)
    with server.connect() as wire:
        wire.send(handshake(f"/late-accept/{key}", host=server.host) + early)
        wait_for_waiting(server, key)
        open_gate(server, key)
        assert wire.head().status == 101
        assert wire.read(2 + 5) == b"\x81\x05early"
        assert wire.read(2 + len(request)).endswith(request)


def test_bytes_behind_a_denied_handshake_are_not_a_request(
    server: Server, key: str, nothing_is_smuggled: None
) -> None:
    request = b"GET /record-scope/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as wire:
        wire.send(handshake(f"/deny/{key}", host=server.host) + request)
        assert wire.response().status == 403
        wire.assert_closed()


def test_client_that_leaves_during_the_handshake_is_gone(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send(handshake(f"/late-accept/{key}", host=server.host))
        wait_for_waiting(server, key)
        wire.send_end()
        wire.assert_closed()
    open_gate(server, key)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"headers": [(b"x-a", b"b\r\nc: d")]}, "Invalid HTTP header value."),
        ({"headers": [(b"x a", b"b")]}, "Invalid HTTP header name."),
        ({"subprotocol": "a\r\nb: c"}, "Invalid WebSocket subprotocol."),
        ({"status": 401, "headers": [(b"x-a", b"b\r\nc: d")]}, "Invalid HTTP header value."),
        ({"status": 4001, "headers": []}, "Invalid HTTP status."),
    ],
)
def test_answer_that_cannot_be_sent_is_500(
    server: Server, key: str, given: dict[str, Any], error: str
) -> None:
    mark = server.stderr.count()
    response = refusal(server, f"/bad-answer/{key}?{quote(repr(given))}")
    assert (response.status, response.body) == (500, b"Internal Server Error")
    assert wait_for_records(server, key) == [error]
    server.stderr.wait_for(r"connection rejected \(500 Internal Server Error\)", since=mark)


# --- Denying -----------------------------------------------------------------------------------


def test_close_before_accept_is_403(server: Server, key: str) -> None:
    response = refusal(server, f"/deny/{key}")
    assert (response.status, response.body) == (403, b"")
    assert response.header(b"content-type") == b"text/plain; charset=utf-8"
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": 1006})


def test_denial_response_goes_out_as_it_was_sent(server: Server, key: str) -> None:
    response = refusal(server, f"/denial-response/{key}")
    assert (response.status, response.body) == (418, b"teapot")
    assert response.header(b"x-why") == b"because"
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": 1006})


@pytest.mark.parametrize("endpoint", ["return/early", "raise/early"])
def test_application_that_ends_before_it_accepts_is_500(server: Server, endpoint: str) -> None:
    response = refusal(server, f"/{endpoint}")
    assert (response.status, response.body) == (500, b"Internal Server Error")


@pytest.mark.parametrize("endpoint", ["return/accepted", "raise/accepted"])
def test_application_that_ends_without_closing_ends_the_connection(
    server: Server, endpoint: str
) -> None:
    with WebSocket(server, f"/{endpoint}") as socket:
        socket.wire.assert_closed()


# --- Messages ----------------------------------------------------------------------------------


def test_order_of_messages_is_checked(server: Server, key: str) -> None:
    with WebSocket(server, f"/wrong-order/{key}") as socket:
        socket.expect(BINARY, b"a buffer")
        socket.expect_text("done")
    expected_accept = (
        "RuntimeError: Expected ASGI message 'websocket.accept', 'websocket.close' or "
        "'websocket.http.response.start' but got '{}'."
    )
    expected_message = (
        "RuntimeError: Expected ASGI message 'websocket.send' or 'websocket.close', but got '{}'."
    )
    surrogate = (
        "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"
    )
    assert wait_for_records(server, key, 10) == [
        expected_accept.format("websocket.send"),
        expected_accept.format("http.response.start"),
        expected_message.format("websocket.accept"),
        expected_message.format("websocket.http.response.start"),
        "TypeError: `text` must be a str",
        "TypeError: a bytes-like object is required",
        f"UnicodeEncodeError: {surrogate}",
        "no error",
        "KeyError: 'type'",
        "no error",
    ]


def test_tasks_share_what_they_receive(server: Server) -> None:
    with WebSocket(server, "/two-receivers") as socket:
        socket.text("a", "b")
        socket.expect_text("['a', 'b']")
        socket.expect_text("timed out")
        socket.text("c")
        socket.expect_text("c")
        socket.expect_text("True")


def test_published_messages_reach_every_subscriber(server: Server) -> None:
    sockets = [WebSocket(server, "/subscribe") for _ in range(30)]
    for socket in sockets:
        socket.expect_text("subscribed")
    with WebSocket(server, "/publish") as publisher:
        publisher.text("one", "two")
        publisher.expect_text("30")
        publisher.expect_text("30")
    for socket in sockets:
        socket.expect_text("one")
        socket.expect_text("two")
        socket.wire.close()


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (3001, "für dich"), (4999, "x" * 123)])
def test_application_closes_with_its_code(server: Server, key: str, code: int, reason: str) -> None:
    with WebSocket(server, f"/close/{key}/{code}/{quote(reason)}") as socket:
        socket.expect(CLOSE, close_payload(code, reason))
        # What was on its way is dropped.
        socket.send(frame(TEXT, b"late"), close_frame(code))
        socket.wire.assert_closed()
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": code, "reason": reason})


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1005, "x", "Invalid WebSocket close code."),
        (70000, "x", "Invalid WebSocket close code."),
        (1000, "x" * 124, "A WebSocket close reason must be at most 123 bytes of UTF-8."),
    ],
)
def test_close_that_cannot_be_sent_is_an_error(
    server: Server, key: str, code: int, reason: str, error: str
) -> None:
    with WebSocket(server, f"/close/{key}/{code}/{reason}") as socket:
        socket.wire.assert_closed()
    assert wait_for_records(server, key) == [error]


def test_sending_after_own_close_is_an_error(server: Server, key: str) -> None:
    with WebSocket(server, f"/send-after-close/{key}/own") as socket:
        socket.expect_close(1000)
        text = "Unexpected ASGI message 'websocket.send', after sending 'websocket.close'."
        assert wait_for_records(server, key) == [("RuntimeError", False, text)]


@pytest.mark.parametrize("way", ["close", "end", "reset"])
def test_sending_to_a_client_that_has_gone_raises_an_os_error(
    server: Server, key: str, way: str
) -> None:
    mark = server.stderr.count()
    socket = WebSocket(server, f"/send-after-close/{key}/client")
    match way:
        case "close":
            socket.send(close_frame())
        case "end":
            socket.wire.send_end()
        case "reset":
            socket.wire.reset()
    assert wait_for_records(server, key) == [("ClientDisconnected", True, "")]
    socket.wire.close()
    # It need not be caught.
    assert "Traceback" not in server.stderr.text(mark)


@pytest.mark.parametrize("way", ["end", "reset"])
def test_connection_lost_is_1006(server: Server, key: str, way: str) -> None:
    socket = WebSocket(server, f"/record/{key}")
    socket.text("last words")
    wait_for_records(server, key)
    if way == "end":
        socket.wire.send_end()
        socket.wire.assert_closed()
        socket.wire.close()
    else:
        socket.wire.reset()
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": 1006})


# --- Compression -------------------------------------------------------------------------------


def compressed(text: bytes, codec: Any) -> bytes:
    data: bytes = codec.compress(text) + codec.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


def test_compressed_messages_refer_to_those_before_them(server: Server) -> None:
    deflater, inflater = zlib.compressobj(wbits=-12), zlib.decompressobj(wbits=-12)
    text = bytes(range(32, 127)) * 3
    with WebSocket(server, "/echo", DEFLATE) as socket:
        sizes = []
        for _ in range(3):
            socket.send(frame(TEXT, compressed(text, deflater), rsv=4))
            received = socket.frame()
            assert (received.opcode, received.rsv) == (TEXT, 4)
            assert inflater.decompress(received.payload + b"\0\0\xff\xff") == text
            sizes.append(len(received.payload))
    assert sizes[1] < sizes[0] / 4, sizes


def test_compressed_frame_that_was_not_agreed_on_fails(server: Server) -> None:
    with WebSocket(server, "/echo") as socket:
        socket.send(frame(TEXT, compressed(b"a", zlib.compressobj(wbits=-12)), rsv=4))
        socket.expect_failure(1002)


@pytest.mark.parametrize("limit", [1 << 20, 16 << 20])
@pytest.mark.parametrize("fragments", [1, 100])
def test_deflate_bomb_is_refused_without_the_memory(
    start: Start, limit: int, fragments: int
) -> None:
    # 1 GB of zeros in 1 MB. crates/proto/tests/websocket_memory.rs counts what is allocated.
    server = start("support.apps:app", "--no-access-log", "--ws-max-size", str(limit))
    deflater = zlib.compressobj(9, wbits=-12)
    bomb = (deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)) * 1024
    assert len(bomb) < 2 << 20, len(bomb)
    size = len(bomb) // fragments + 1
    first, *others = (bomb[start : start + size] for start in range(0, len(bomb), size))
    with WebSocket(server, "/echo", DEFLATE) as socket:
        socket.text("so that what is made on first use is there before")
        assert socket.frame().opcode == TEXT
        before = memory_bytes(server, "VmRSS")
        socket.send(
            frame(BINARY, first, fin=not others, rsv=4),
            *(frame(CONTINUATION, part, fin=part is others[-1]) for part in others),
        )
        socket.expect_close(1009, "message too big")
        grown = memory_bytes(server, "VmHWM") - before
    assert grown <= limit + (64 << 10), grown


def memory_bytes(server: Server, line: str) -> int:
    with open(f"/proc/{server.pid}/status") as status:
        found = re.search(rf"{line}:\s+(\d+) kB", status.read())
    assert found is not None
    return int(found[1]) << 10


def test_exit_in_a_task_that_received_a_message_ends_the_server(start: Start) -> None:
    server = start("support.apps:app")
    with WebSocket(server, "/exit-in-task") as socket:
        socket.text("go")
        assert server.wait() == 7
