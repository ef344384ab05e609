"""HTTP/2 bodies in both directions: flow control, early answers, trailers, hints, mistakes."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from support.endpoints_files import zero_copy
from support.endpoints_script import body_message, script, start_message
from support.http2 import (
    CANCEL,
    DATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    NO_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    ResetError,
)
from support.remote import open_gate, records, wait_for_record, wait_for_records
from support.server import Server

MIB = 1 << 20


@pytest.fixture
def peer(server: Server) -> Iterator[Peer]:
    with Peer(server.address) as peer:
        yield peer


def test_large_body_goes_up_within_the_windows(peer: Peer) -> None:
    peer.wait_for(SETTINGS)
    body = os.urandom(3 * MIB)
    number = peer.begin("POST", "/digest")
    peer.send_body(number, body)
    assert hashlib.sha256(body).hexdigest().encode() in peer.response(number).body


def test_pieces_of_any_size_come_as_one_message(server: Server, peer: Peer, key: str) -> None:
    sizes = (1, 1, 16384, 3, 16384, 16384, 16384, 16384, 100)
    pieces = [os.urandom(size) for size in sizes]
    peer.wait_for(SETTINGS)
    number = peer.begin("POST", script(key, ("gate", key), ("receive",), ("send", start_message())))
    for piece in pieces:
        peer.send(DATA, 0, number, piece)
    peer.assert_open()
    open_gate(server, key)
    [received, *_] = wait_for_records(server, key)
    assert received[1]["body"] == b"".join(pieces)


def test_windows_stay_closed_until_the_application_reads(start: Start, key: str) -> None:
    window = 65535
    server = start(
        "support.apps:app",
        *("--http2-initial-stream-window-size", str(window)),
        *("--http2-initial-connection-window-size", str(window)),
    )
    with Peer(server.address) as peer:
        peer.wait_for(SETTINGS)
        assert peer.settings[INITIAL_WINDOW_SIZE] == window
        body = os.urandom(window)
        number = peer.begin("POST", f"/wait-then-echo/{key}")
        for start_at in range(0, window, 16384):
            peer.send(DATA, 0, number, body[start_at : start_at + 16384])
        server.barrier()
        peer.assert_open()
        updated = {f.stream for f in peer.frames if f.kind == WINDOW_UPDATE}
        assert number not in updated
        server.get(f"/open/{key}")
        peer.wait_for(WINDOW_UPDATE, stream=number)
        peer.send(DATA, END_STREAM, number, b"end")
        digest = hashlib.sha256(body + b"end").hexdigest().encode()
        assert digest in peer.response(number).body


def test_large_body_comes_down(peer: Peer) -> None:
    number = peer.request("GET", f"/large/{3 * MIB}/65536")
    response = peer.response(number)
    assert len(response.body) == 3 * MIB
    assert response.header(b"content-length") == str(3 * MIB).encode()


def test_send_waits_while_the_window_is_closed(server: Server, key: str) -> None:
    fills = [("fill", 65536)] * 20
    target = script(key, ("send", start_message()), *fills, ("send", body_message()))
    with Peer(server.address, window=None) as peer:
        number = peer.request("GET", target)
        received = 0
        while received < 65535:
            frame = peer.read_frame()
            received += len(frame.payload) if frame.kind == DATA else 0
        server.barrier()
        filled = [step for step in records(server, key) if step[0] == "filled"]
        assert len(filled) < 10
        peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 10 * MIB))
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", 10 * MIB))
        assert len(peer.response(number).body) == 20 * 65536
    assert records(server, key)[-1] == ("finished",)


@pytest.mark.parametrize(
    ("kind", "length", "holds"),
    [("bytes", 20_000, 1), ("derived", 20_000, 0), ("bytes", 100, 0)],
    ids=["large", "derived", "small"],
)
def test_body_that_waits_is_held_and_not_copied(
    server: Server, key: str, kind: str, length: int, holds: int
) -> None:
    with Peer(server.address, window=None, settings={INITIAL_WINDOW_SIZE: 10}) as peer:
        number = peer.request("GET", f"/held-body/{key}/{kind}/{length}")
        assert wait_for_records(server, key) == [holds]
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", length))
        while len(peer.answers[number].body) < length:
            peer.read_frame()
        open_gate(server, key)
        assert peer.response(number).body == b"x" * length
    assert records(server, key) == [holds, 0]


def test_window_that_shrinks_below_zero_is_respected(server: Server) -> None:
    with Peer(server.address, window=None) as peer:
        number = peer.request("GET", "/large/200000/1000")
        received = 0
        while received < 65535:
            frame = peer.read_frame()
            received += len(frame.payload) if frame.kind == DATA else 0
        peer.send(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 1000))
        peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", MIB))
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", 64000))
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", MIB))
        assert len(peer.response(number).body) == 200_000


def test_early_answer_is_whole_and_then_the_body_is_stopped(peer: Peer) -> None:
    number = peer.begin("POST", "/ignore-body")
    peer.send(DATA, 0, number, b"x" * 16384)
    assert peer.response(number).status == 413
    assert peer.wait_for(RST_STREAM, stream=number).code == NO_ERROR
    peer.assert_open()


def test_body_that_ends_soon_is_not_stopped(peer: Peer) -> None:
    number = peer.begin("POST", "/ignore-body")
    assert peer.response(number).status == 413
    peer.send(DATA, END_STREAM, number, b"x" * 1000)
    peer.assert_open()
    assert not [frame for frame in peer.frames if frame.kind == RST_STREAM]


def test_window_that_becomes_too_large_resets_an_answered_stream(peer: Peer) -> None:
    number = peer.begin("POST", "/ignore-body")
    assert peer.response(number).status == 413
    for _ in range(2):
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", 2**31 - 1))
    assert peer.wait_for(RST_STREAM, stream=number).code == FLOW_CONTROL_ERROR
    peer.assert_open()


def test_client_that_waits_is_told_to_continue(peer: Peer) -> None:
    number = peer.begin("POST", "/echo", ("expect", "100-continue"), ("content-length", "4"))
    while not peer.answers[number].heads:
        peer.read_frame()
    assert dict(peer.answers[number].heads[0])[b":status"] == b"100"
    peer.send(DATA, END_STREAM, number, b"body")
    response = peer.response(number)
    assert (response.interim, response.body) == ((100,), b"body")


@pytest.mark.parametrize(
    ("length", "body"), [("5", b"four"), ("3", b"four"), ("1", b"")], ids=["less", "more", "none"]
)
def test_body_that_is_not_as_long_as_declared_ends_its_stream(
    peer: Peer, length: str, body: bytes
) -> None:
    number = peer.request("POST", "/echo", ("content-length", length), body=body)
    with pytest.raises(ResetError):
        peer.response(number)
    peer.assert_open()


def test_body_beyond_the_limit_is_answered_with_413(start: Start) -> None:
    server = start("support.apps:app", "--limit-request-body", "1000")
    with Peer(server.address) as peer:
        number = peer.request("POST", "/echo", body=b"x" * 1001)
        assert peer.response(number).status == 413
        number = peer.request("POST", "/echo", ("content-length", "1001"), body=b"x" * 1001)
        assert peer.response(number).status == 413
        assert peer.response(peer.request("POST", "/echo", body=b"x" * 1000)).status == 200


def test_body_that_does_not_come_is_answered_with_408(start: Start) -> None:
    server = start("support.apps:app", "--timeout-request-body", "1")
    with Peer(server.address) as peer:
        number = peer.begin("POST", "/echo")
        peer.send(DATA, 0, number, b"some")
        assert peer.response(number).status == 408
        peer.assert_open()


def test_body_in_time_counts_behind_a_large_one(start: Start, key: str) -> None:
    server = start("support.apps:app", "--timeout-request-body", "1")
    with server.connect() as blocker, Peer(server.address) as peer:
        # The kernel's receive buffer grows with what comes.
        peer.response(peer.request("POST", "/echo", body=b"x" * 8 * MIB))
        large, slow = peer.begin("POST", "/echo"), peer.begin("POST", "/echo")
        peer.send(DATA, 0, slow, b"some")
        peer.assert_open()
        blocker.send_request("GET", f"/block/1500/{key}")
        server.stdout.wait_for(f"blocking {key}")
        peer.send_body(large, b"x" * 200_000)
        peer.send_body(slow, b" body")
        assert peer.response(slow).body == b"some body"
        assert peer.response(large).body == b"x" * 200_000


def test_client_that_takes_its_request_back_is_gone(peer: Peer, server: Server, key: str) -> None:
    number = peer.request("GET", script(key, ("until-disconnect",)))
    peer.assert_open()
    peer.send(RST_STREAM, 0, number, struct.pack(">I", CANCEL))
    peer.assert_open()
    server.barrier()
    assert ("finished",) in records(server, key)


@pytest.mark.parametrize("at_once", [False, True], ids=["later", "at-once"])
def test_client_that_resets_behind_its_half_close_is_gone(
    server: Server, key: str, at_once: bool
) -> None:
    target = script(key, ("send", start_message()), ("fill", 200_000))
    with Peer(server.address, window=None) as peer:
        number = peer.request("GET", target)
        while len(peer.answers[number].body) < 65535:
            peer.read_frame()
        peer.wire.send_end()
        if not at_once:
            server.barrier()
            assert ("finished",) not in records(server, key), "it still reads"
        peer.wire.reset()
    wait_for_record(server, key, ("finished",))


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body(peer: Peer, key: str, status: int) -> None:
    target = script(key, ("send", start_message(status)), ("send", body_message()))
    response = peer.get(target)
    assert (response.status, response.body) == (status, b"")


def test_head_gets_the_fields_and_no_body(peer: Peer) -> None:
    response = peer.response(peer.request("HEAD", "/large/5000/100"))
    assert (response.status, response.body) == (200, b"")
    assert response.header(b"content-length") == b"5000"


def test_fields_about_the_connection_are_left_out(peer: Peer, key: str) -> None:
    headers = [
        (b"connection", b"close"),
        (b"keep-alive", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"TE", b"gzip"),
        (b"te", b"trailers"),
        (b"X-Kept", b"yes"),
    ]
    target = script(key, ("send", start_message(200, *headers)), ("send", body_message(b"a")))
    response = peer.get(target)
    assert response.header(b"x-kept") == b"yes"
    # The only one that RFC 9113, 8.2.2, allows.
    assert response.values(b"te") == [b"trailers"]
    names = {name for name, _ in response.headers}
    assert not names & {b"connection", b"keep-alive", b"transfer-encoding"}
    peer.assert_open()


@pytest.mark.parametrize(
    "steps",
    [
        [("send", start_message(200, (b"content-length", b"5"))), ("send", body_message(b"four"))],
        [("send", start_message(200, (b"content-length", b"3"))), ("send", body_message(b"four"))],
        [("send", start_message()), ("fill", 10), ("raise", "late")],
        [("send", {**start_message(), "trailers": True}), ("send", body_message(b"a"))],
    ],
    ids=["less", "more", "raised", "without trailers"],
)
def test_answer_that_cannot_be_completed_is_reset(
    peer: Peer, key: str, steps: list[tuple[object, ...]]
) -> None:
    number = peer.request("GET", script(key, *steps))
    with pytest.raises(ResetError) as caught:
        peer.response(number)
    assert caught.value.code == INTERNAL_ERROR
    peer.assert_open()


def test_exception_before_the_answer_is_500(peer: Peer, key: str) -> None:
    assert peer.get(script(key, ("raise", "early"))).status == 500
    peer.assert_open()


def test_trailers_follow_the_body(peer: Peer, key: str) -> None:
    start_with = {**start_message(), "trailers": True}
    trailers = {
        "type": "http.response.trailers",
        "headers": [(b"grpc-status", b"0"), (b"grpc-message", b"fine")],
        "more_trailers": False,
    }
    steps = [("send", start_with), ("send", body_message(b"body")), ("send", trailers)]
    number = peer.request("GET", script(key, *steps), ("te", "trailers"))
    assert peer.response(number).body == b"body"
    assert peer.trailers(number) == [(b"grpc-status", b"0"), (b"grpc-message", b"fine")]


def test_early_hint_precedes_the_answer(peer: Peer, key: str) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    steps = [("send", hint), ("send", start_message()), ("send", body_message(b"body"))]
    number = peer.request("GET", script(key, *steps))
    response = peer.response(number)
    assert (response.interim, response.body) == ((103,), b"body")
    assert (b"link", b"</a.css>; rel=preload") in peer.answers[number].heads[0]


def test_file_is_sent_as_the_windows_allow(server: Server, key: str, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    pathsend = {"type": "http.response.pathsend", "path": str(tmp_path / "file")}
    target = script(key, ("send", start_message()), ("send", pathsend))
    with Peer(server.address, window=None) as peer:
        number = peer.request("GET", target)
        answer = peer.answers[number]
        while len(answer.body) < 65535:
            peer.read_frame()
        peer.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", MIB))
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", MIB))
        assert peer.response(number).body == content


def test_empty_part_of_a_file_behind_what_waits(server: Server, key: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    steps = (b"x" * 20, {"count": 0, "more_body": True}, {"offset": 3})
    target = zero_copy(key, tmp_path / "file", *steps)
    with Peer(server.address, window=None, settings={INITIAL_WINDOW_SIZE: 10}) as peer:
        number = peer.request("GET", target)
        while len(peer.answers[number].body) < 10:
            peer.read_frame()
        server.barrier()
        peer.send(WINDOW_UPDATE, 0, number, struct.pack(">I", 100))
        assert peer.response(number).body == b"x" * 20 + b"tent"


def test_options_are_told_to_the_peer(start: Start) -> None:
    server = start(
        "support.apps:app",
        *("--http2-max-concurrent-streams", "7"),
        *("--http2-initial-stream-window-size", "70000"),
        *("--http2-initial-connection-window-size", "200000"),
        *("--http2-max-frame-size", "20000"),
        *("--http2-max-header-list-size", "3000"),
    )
    with Peer(server.address) as peer:
        peer.assert_open()
        assert [peer.settings[key] for key in (3, 4, 5, 6)] == [7, 70000, 20000, 3000]
        updates = [frame for frame in peer.frames if frame.kind == WINDOW_UPDATE]
        assert struct.unpack(">I", updates[0].payload)[0] == 200000 - 65535
        number = peer.begin("POST", "/echo")
        peer.send(DATA, END_STREAM, number, b"x" * 20000)
        assert len(peer.response(number).body) == 20000
        assert peer.get("/", ("x-a", "v" * 3000)).status == 431
        waiting = [peer.request("GET", "/wait/never") for _ in range(8)]
        with pytest.raises(ResetError):
            peer.response(waiting[-1])


def test_shutdown_finishes_what_has_begun(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with Peer(server.address) as peer, Peer(server.address) as idle:
        idle.assert_open()
        number = peer.request("GET", "/delay/700/late")
        peer.send(6, 0, 0, b"12345678")
        peer.wait_for(6)
        server.process.terminate()
        assert peer.response(number).body == b"late"
        goaway = peer.wait_for_goaway()
        assert (goaway.code, goaway.last_stream) == (NO_ERROR, number)
        assert idle.wait_for_goaway().code == NO_ERROR
    assert server.wait() == -signal.SIGTERM
