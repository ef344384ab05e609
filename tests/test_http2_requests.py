"""HTTP/2 in clear text: how a connection turns to it, and what becomes of a request's head."""

from __future__ import annotations

import ast
import socket

import pytest
from conftest import Start
from support.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    SETTINGS,
    Peer,
    ResetError,
    frame,
)
from support.server import Server


@pytest.fixture
def peer(server: Server):  # type: ignore[no-untyped-def]
    with Peer(server.address) as peer:
        yield peer


def scope_of(peer: Peer, *fields: tuple[str, str], target: str = "/scope") -> dict[str, object]:
    response = peer.get(target, *fields)
    assert response.status == 200, response
    scope = ast.literal_eval(response.body.decode())
    assert isinstance(scope, dict)
    return scope


def test_answers_and_says_how_long_it_is(peer: Peer) -> None:
    response = peer.get("/")
    assert (response.status, response.body) == (200, b"hello")
    assert response.header(b"content-length") == b"5"
    assert response.header(b"server") == b"pronghorn"
    assert response.header(b"date") is not None


def test_preface_is_understood_however_it_comes(server: Server) -> None:
    with Peer(server.address, preface=False) as peer:
        request = frame(HEADERS, END_HEADERS | END_STREAM, peer.number(), peer.head())
        for byte in PREFACE + frame(SETTINGS, 0, 0) + request:
            peer.wire.send(bytes([byte]))
            server.barrier()
        assert peer.response(1).body == b"hello"


def test_preface_comes_first_or_not_at_all(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert wire.response().status == 200
        wire.send(PREFACE)
        assert wire.response().status == 505
        wire.assert_closed()


@pytest.mark.parametrize(
    "wrong", [b"\r\n\r\n\r\n\r\n", b"\r\nSM\r\n\r\r", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_half_a_preface_is_closed(server: Server, wrong: bytes) -> None:
    with server.connect() as wire:
        wire.send(PREFACE[:16] + wrong)
        wire.read_all()


def test_what_is_neither_protocol_is_an_invalid_preface(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
        # The server's own preface, which may come first (RFC 9113, 3.4).
        assert wire.read_all().startswith(b"\0\0\x1e\x04")
    with server.connect() as wire:
        wire.send(b"INVALID PREFACE\r\n\r\n")
        assert wire.response().status == 400


def test_scope_says_http_2(peer: Peer, server: Server) -> None:
    scope = scope_of(peer, ("x-a", "1"), ("x-b", " padded "), target="/scope/a%20b?c=d&e")
    assert scope["http_version"] == "2"
    assert scope["path"] == "/scope/a b"
    assert scope["raw_path"] == b"/scope/a%20b"
    assert scope["query_string"] == b"c=d&e"
    assert scope["scheme"] == "http"
    assert scope["headers"] == [
        (b"host", server.host.encode()),
        (b"x-a", b"1"),
        (b"x-b", b"padded"),
    ]


def test_crumbs_of_a_cookie_are_joined(peer: Peer) -> None:
    scope = scope_of(peer, ("cookie", "a=1"), ("x-a", "2"), ("cookie", "b=3"), ("cookie", "c=4"))
    headers = scope["headers"]
    assert isinstance(headers, list)
    assert [value for name, value in headers if name == b"cookie"] == [b"a=1; b=3; c=4"]


def test_aliases_of_forwarding_fields_are_dropped(peer: Peer) -> None:
    scope = scope_of(peer, ("x_forwarded_for", "1.2.3.4"), ("x-real_ip", "1.2.3.4"))
    headers = scope["headers"]
    assert isinstance(headers, list)
    assert [name for name, _ in headers] == [b"host"]


@pytest.mark.parametrize(
    ("pseudo", "status"),
    [
        ([(":authority", "a.example"), ("host", "b.example")], 400),
        ([(":authority", "a.example"), ("host", "A.example")], 200),
        ([(":authority", "a.example"), ("host", "a.example"), ("host", "a.example")], 400),
        ([("host", "a.example")], 200),
        ([("host", "a/b")], 400),
        ([(":authority", "user@a.example")], 400),
        ([], 400),
    ],
)
def test_one_host_and_no_second_opinion(
    peer: Peer, pseudo: list[tuple[str, str]], status: int
) -> None:
    number = peer.number()
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
    authority = [pair for pair in pseudo if pair[0] == ":authority"]
    others = [pair for pair in pseudo if pair[0] != ":authority"]
    block = peer.block([*fields, *authority, *others])
    peer.send(HEADERS, END_HEADERS | END_STREAM, number, block)
    assert peer.response(number).status == status
    peer.assert_open()


@pytest.mark.parametrize(
    "fields",
    [
        [("connection", "keep-alive")],
        [("transfer-encoding", "chunked")],
        [("upgrade", "websocket")],
        [("keep-alive", "1")],
        [("proxy-connection", "close")],
        [("te", "gzip")],
        [("content-length", "1"), ("content-length", "2")],
    ],
    ids=lambda fields: str(fields[0][0]),
)
def test_malformed_head_ends_its_stream(peer: Peer, fields: list[tuple[str, str]]) -> None:
    number = peer.request("GET", "/smuggled", *fields)
    with pytest.raises(ResetError) as caught:
        peer.response(number)
    assert caught.value.code == PROTOCOL_ERROR
    peer.assert_open()


def test_upper_case_name_ends_the_connection(peer: Peer) -> None:
    peer.request("GET", "/smuggled", ("X-Upper", "1"))
    assert peer.wait_for_goaway().code == PROTOCOL_ERROR


def test_many_requests_at_once_are_answered_out_of_order(peer: Peer, server: Server) -> None:
    late = peer.request("GET", "/delay/200/late")
    early = [peer.request("GET", "/") for _ in range(20)]
    for number in reversed(early):
        assert peer.response(number).body == b"hello"
    assert not peer.answers[late].ended
    assert peer.response(late).status == 200


def test_body_comes_in_pieces(peer: Peer) -> None:
    number = peer.begin("POST", "/echo")
    peer.send(DATA, 0, number, b"one ")
    peer.send(DATA, 0, number, b"two ")
    peer.send(DATA, END_STREAM, number, b"three")
    assert peer.response(number).body == b"one two three"


def test_priority_signals_are_taken(peer: Peer) -> None:
    peer.send(PRIORITY, 0, 1, b"\0\0\0\0\x10")
    number = peer.request("GET", "/", ("priority", "u=1, i"))
    assert peer.response(number).status == 200
    # PRIORITY_UPDATE (RFC 9218, 7.1) is one of the frames that may be unknown.
    peer.send(0x10, 0, 0, b"\0\0\0\x03u=0")
    peer.assert_open()


def test_ping_is_answered(peer: Peer) -> None:
    peer.send(PING, 0, 0, b"12345678")
    assert peer.wait_for(PING, flags=ACK).payload == b"12345678"


def test_http_2_can_be_turned_off(start: Start) -> None:
    server = start("support.apps:app", "--no-http2")
    with server.connect() as wire:
        wire.send(PREFACE)
        assert wire.response().status == 505
        wire.assert_closed()
    with server.connect() as wire:
        wire.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
        assert wire.response().status == 400
        wire.assert_closed()


def test_access_log_names_the_version(start: Start) -> None:
    server = start("support.apps:app")
    with Peer(server.address) as peer:
        assert peer.get("/?a=b").status == 200
    server.stdout.wait_for(r'"GET /\?a=b HTTP/2" 200')


def test_peer_that_ends_its_side_is_answered(peer: Peer) -> None:
    number = peer.request("GET", "/delay/100/late")
    peer.wire.socket.shutdown(socket.SHUT_WR)
    assert peer.response(number).status == 200


def test_peer_that_ends_its_side_gets_all_of_many_answers(peer: Peer) -> None:
    # More than is written in one turn, each of them whole before the first byte is sent.
    numbers = [peer.request("GET", "/large/100000/100000") for _ in range(60)]
    peer.wire.socket.shutdown(socket.SHUT_WR)
    for number in numbers:
        assert len(peer.response(number).body) == 100_000
