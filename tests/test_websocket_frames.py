"""Frames through real sockets: RFC 6455, sections 5 to 8."""

from __future__ import annotations

import pytest
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocket,
    close_frame,
    close_payload,
    frame,
)
from support.remote import wait_for_record, wait_for_records
from support.server import Server

pytestmark = pytest.mark.strict

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 125, 126, 127, 128, 1000, 65535, 65536, 200_000]


@pytest.fixture
def echo(server: Server) -> WebSocket:
    with WebSocket(server, "/echo") as socket:
        yield socket


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_message_of_any_length_comes_back(echo: WebSocket, opcode: int, length: int) -> None:
    payload = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    echo.send(frame(opcode, payload))
    echo.expect(opcode, payload)


def test_every_byte_value_survives_in_a_binary_message(echo: WebSocket) -> None:
    payload = bytes(range(256)) * 3
    echo.send(frame(BINARY, payload))
    echo.expect(BINARY, payload)


@pytest.mark.parametrize("text", ["κόσμε", "a\u0000b", "\U0010ffff", "é" * 5000, "x\ud7ff\ue000"])
def test_text_of_any_width_comes_back(echo: WebSocket, text: str) -> None:
    echo.text(text)
    echo.expect_text(text)


def test_three_fragments_in_one_write_are_one_message(echo: WebSocket) -> None:
    # h2corn 2.0 stalls on this.
    echo.send(
        frame(TEXT, b"one ", fin=False),
        frame(CONTINUATION, b"two ", fin=False),
        frame(CONTINUATION, b"three"),
    )
    echo.expect_text("one two three")


def test_empty_messages_are_messages(echo: WebSocket) -> None:
    # Daphne drops them.
    echo.send(frame(TEXT), frame(BINARY), frame(TEXT, fin=False), frame(CONTINUATION))
    echo.expect(TEXT, b"")
    echo.expect(BINARY, b"")
    echo.expect(TEXT, b"")


def test_many_messages_in_one_write_come_back_in_order(echo: WebSocket) -> None:
    texts = [f"message {number}" for number in range(2000)]
    echo.text(*texts)
    for text in texts:
        echo.expect_text(text)


def test_control_frames_between_fragments_are_answered_at_once(echo: WebSocket) -> None:
    echo.send(frame(TEXT, b"a", fin=False), frame(PING, b"now"))
    echo.expect(PONG, b"now")
    echo.send(frame(PONG, b"unasked"), frame(CONTINUATION, b"b"))
    echo.expect_text("ab")


@pytest.mark.parametrize("delivery", ["bytes", "cuts"])
def test_delivery_makes_no_difference(server: Server, delivery: str) -> None:
    script = b"".join(
        [
            frame(TEXT, "grüße".encode()),
            frame(PING, b"p"),
            frame(BINARY, b"x" * 130, fin=False),
            frame(CONTINUATION, b"", fin=False),
            frame(CONTINUATION, b"y"),
            close_frame(3001, "für".encode()),
        ]
    )
    expected = [
        Frame(TEXT, "grüße".encode()),
        Frame(PONG, b"p"),
        Frame(BINARY, b"x" * 130 + b"y"),
        Frame(CLOSE, close_payload(3001, "für")),
    ]
    cuts = [range(1, len(script))] if delivery == "bytes" else [[at] for at in range(0, 60, 3)]
    for cut in cuts:
        with WebSocket(server, "/echo") as socket:
            start = 0
            for at in [*cut, len(script)]:
                socket.send(script[start:at])
                start = at
            assert [socket.frame() for _ in expected] == expected
            socket.wire.assert_closed()


FAILURES = {
    "rsv1": (frame(TEXT, b"a", rsv=4), 1002),
    "rsv2": (frame(TEXT, b"a", rsv=2), 1002),
    "rsv3 on a control frame": (frame(PING, b"a", rsv=1), 1002),
    "opcode 3": (frame(3), 1002),
    "opcode 7": (frame(7, fin=False), 1002),
    "opcode 11": (frame(11), 1002),
    "opcode 15": (frame(15), 1002),
    "no mask": (frame(TEXT, b"a", mask=None), 1002),
    "no mask on a ping": (frame(PING, mask=None), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "fragmented close": (frame(CLOSE, close_payload(1000), fin=False), 1002),
    "long ping": (frame(PING, bytes(126)), 1002),
    "long close": (frame(CLOSE, close_payload(1000, b"a" * 124)), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"a"), 1002),
    "text within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "binary within a message": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), 1002),
    "length with its highest bit set": (b"\x81\xff" + b"\xff" * 8 + b"\0" * 4, 1002),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "invalid UTF-8": (
        frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"),
        1007,
    ),
    "cut UTF-8": (frame(TEXT, b"\xce\xba\xce"), 1007),
    "overlong UTF-8": (frame(TEXT, b"\xc0\xaf"), 1007),
    "UTF-8 above U+10FFFF": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "invalid UTF-8 in a reason": (frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    **{
        f"close code {code}": (frame(CLOSE, close_payload(code)), 1002)
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
    },
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_is_not_allowed_fails_the_connection(echo: WebSocket, case: str) -> None:
    sent, code = FAILURES[case]
    echo.send(sent)
    echo.expect_failure(code)


@pytest.mark.parametrize(
    "pieces",
    [
        [frame(TEXT, b"\xce\xba\xff", fin=False)],
        [frame(TEXT, b"\xf4", fin=False), frame(CONTINUATION, b"\x90", fin=False)],
        # Within a frame of which most is still to come.
        [frame(TEXT, b"ok\xff", length=1000)],
    ],
)
def test_invalid_text_fails_as_soon_as_it_is_there(echo: WebSocket, pieces: list[bytes]) -> None:
    echo.send(*pieces)
    echo.expect_failure(1007)


def test_text_cut_within_a_character_by_fragments_is_whole(echo: WebSocket) -> None:
    text = "κόσμε\U0001f40e"
    parts = [bytes([byte]) for byte in text.encode()]
    echo.send(frame(TEXT, parts[0], fin=False))
    echo.send(*(frame(CONTINUATION, part, fin=False) for part in parts[1:]), frame(CONTINUATION))
    echo.expect_text(text)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_close_frame_is_answered_with_its_own_code(server: Server, key: str, code: int) -> None:
    with WebSocket(server, f"/record/{key}") as socket:
        socket.send(close_frame(code, b"why"))
        socket.expect(CLOSE, close_payload(code, "why"))
        socket.wire.assert_closed()
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": code, "reason": "why"})


def test_close_frame_without_a_code_is_1005(server: Server, key: str) -> None:
    with WebSocket(server, f"/record/{key}") as socket:
        socket.send(close_frame(None))
        socket.expect(CLOSE, b"")
        socket.wire.assert_closed()
    wait_for_record(server, key, {"type": "websocket.disconnect", "code": 1005, "reason": ""})


def test_nothing_behind_a_close_frame_is_understood(server: Server, key: str) -> None:
    with WebSocket(server, f"/record/{key}") as socket:
        socket.send(frame(TEXT, b"last"), close_frame(), frame(TEXT, b"behind"), b"\xff" * 5000)
        socket.expect_close(1000)
        socket.wire.assert_closed()
    assert [message.get("text") for message in wait_for_records(server, key, 2)] == ["last", None]
