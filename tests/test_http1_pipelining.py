"""Requests sent before the answers to earlier ones: answered in order, one at a time."""

from __future__ import annotations

import random
import select
import socket

import pytest
from support.endpoints_script import body_message, script, start_message
from support.refusal import assert_refusal
from support.remote import open_gate, records, wait_for_record, wait_for_waiting
from support.server import Server
from support.tls import TLSSocket
from support.wire import TruncatedError, Wire, deliveries, request

pytestmark = pytest.mark.usefixtures("nothing_is_smuggled")


@pytest.fixture
def server(every_http1: Server) -> Server:
    """Every case is run on each transport."""
    return every_http1


def test_a_hundred_requests_with_random_delays_are_answered_in_order(server: Server) -> None:
    chance = random.Random(1)
    data = b"".join(
        request("GET", f"/delay/{chance.choice([0, 0, 0, 1, 2, 5])}/{number}")
        for number in range(100)
    )
    with server.connect() as wire:
        wire.send(data)
        assert [int(wire.response().body) for _ in range(100)] == list(range(100))
        wire.assert_open()


def test_a_thousand_requests_in_one_write_are_all_answered(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("GET", "/") * 1000)
        assert {wire.response().body for _ in range(1000)} == {b"hello"}
        wire.assert_open()


def test_pipelined_requests_are_answered_however_they_are_cut(server: Server) -> None:
    data = (
        request("GET", "/delay/0/a")
        + request("POST", "/echo", body=b"b")
        + request("POST", "/echo", "Transfer-Encoding: chunked")
        + b"1\r\nc\r\n0\r\n\r\n"
        + request("GET", "/delay/1/d")
    )
    for how, wire in deliveries(server, data):
        assert [wire.response().body for _ in range(4)] == [b"a", b"b", b"c", b"d"], how
        wire.assert_open()


def test_methods_and_framings_may_be_mixed(server: Server) -> None:
    methods = ["GET", "HEAD", "POST", "HEAD", "POST", "GET"]
    with server.connect() as wire:
        for method in methods * 10:
            wire.send_request(method, "/echo", body=b"body" if method == "POST" else b"")
        for method in methods * 10:
            response = wire.response(method)
            assert response.status == 200
            assert response.body == (b"body" if method == "POST" else b"")
        wire.assert_open()


@pytest.mark.strict
def test_answers_to_requests_read_at_once_leave_in_one_write(server: Server) -> None:
    with server.connect() as wire:
        wire.assert_open()
        wire.send(request("GET", "/") * 16)
        # On the loopback a write arrives as it was made, and TLS makes a record of it.
        received = wire.socket.recv(1 << 20)
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 16
        assert received.endswith(b"hello")


def test_next_request_starts_only_when_the_one_before_is_answered(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send(request("GET", f"/wait/{key}") + request("GET", f"/record-scope/{key}-next"))
        wait_for_waiting(server, key)
        server.barrier()
        assert records(server, f"{key}-next") == []
        open_gate(server, key)
        assert wire.response().body == b"opened"
        assert wire.response().body == b"recorded"
    assert len(records(server, f"{key}-next")) == 1


def assert_last(wire: Wire, status: int = 200) -> None:
    assert wire.response().status == status
    wire.assert_closed()


def test_nothing_is_answered_after_connection_close(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("GET", "/", "Connection: close") + request("GET", "/smuggled") * 3)
        assert_last(wire)


def test_nothing_is_answered_after_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n" + request("GET", "/smuggled") * 3)
        assert_last(wire)


def test_nothing_is_answered_after_the_application_closed(server: Server, key: str) -> None:
    head = start_message(200, (b"content-length", b"0"), (b"connection", b"close"))
    target = script(key, ("sleep", 0.01), ("send", head), ("send", body_message()))
    with server.connect() as wire:
        wire.send(request("GET", target) + request("GET", "/smuggled") * 3)
        assert_last(wire)


def answer_to_a_part(key: str) -> str:
    """The target of an answer in one piece, given when a part of the body has come."""
    head = start_message(200, (b"content-length", b"2"))
    return script(key, ("receive",), ("send", head), ("send", body_message(b"ok")))


@pytest.mark.strict
@pytest.mark.parametrize("length", [None, 1 << 20])
def test_answer_that_leaves_too_much_of_a_body_unread_says_that_it_is_the_last(
    server: Server, key: str, length: int | None
) -> None:
    with server.connect() as wire:
        wire.begin("POST", answer_to_a_part(key), length=length)
        wire.piece(b"hello")
        response = wire.response()
        assert (response.body, response.closes) == (b"ok", True)
        wire.piece(b"rest", end=True)
        wire.send(request("GET", "/smuggled"))
        wire.assert_closed()


@pytest.mark.strict
def test_request_behind_the_unread_rest_of_a_short_body_is_answered(
    server: Server, key: str
) -> None:
    with server.connect() as wire:
        wire.begin("POST", answer_to_a_part(key), length=1000)
        wire.piece(b"hello")
        response = wire.response()
        assert (response.body, response.closes) == (b"ok", False)
        wire.send(b"x" * 995 + request("GET", "/"))
        assert wire.response().body == b"hello"
        wire.assert_open()


def test_nothing_is_answered_after_a_500(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send(request("GET", script(key, ("raise", "x"))) + request("GET", "/smuggled") * 3)
        assert_last(wire, 500)


def test_nothing_is_answered_after_a_response_was_cut(server: Server, key: str) -> None:
    steps = [("send", start_message()), ("send", body_message(b"a", True)), ("raise", "x")]
    with server.connect() as wire:
        wire.send(request("GET", script(key, *steps)) + request("GET", "/smuggled") * 3)
        with pytest.raises(TruncatedError):
            wire.response()
        wire.assert_closed()


@pytest.mark.strict
def test_malformed_request_is_refused_after_the_answers_before_it(server: Server) -> None:
    data = request("GET", "/delay/20/a") + request("GET", "/delay/0/b")
    with server.connect() as wire:
        wire.send(data + b"GET / HTTP/9\r\n\r\n" + request("GET", "/smuggled"))
        assert wire.response().body == b"a"
        assert wire.response().body == b"b"
        assert_refusal(wire, (400, 505))


@pytest.mark.strict
def test_malformed_request_does_not_disturb_the_answer_under_way(server: Server, key: str) -> None:
    steps = [
        ("send", start_message()),
        ("send", body_message(b"first", True)),
        ("gate", key),
        ("send", body_message(b"last")),
    ]
    with server.connect() as wire:
        wire.send(request("GET", script(key, *steps)) + b"oops\r\n\r\n")
        wait_for_waiting(server, key)
        server.barrier()
        open_gate(server, key)
        assert wire.response().body == b"firstlast"
        assert_refusal(wire)


def test_reading_stops_while_pipelined_requests_wait(server: Server, key: str) -> None:
    block = request("GET", "/") * 1000
    with server.connect() as wire:
        wire.send(request("GET", f"/wait/{key}"))
        wait_for_waiting(server, key)
        before = server.rss_bytes()
        wire.socket.setblocking(False)
        sent = 0
        while sent < 64 << 20 and select.select([], [wire.socket], [], 0.25)[1]:
            sent += wire.socket.send(block)
        assert sent < 32 << 20, "the server read on"
        assert server.rss_bytes() - before < 8 << 20


@pytest.mark.strict
def test_memory_stays_flat_while_nobody_reads_the_answers(server: Server) -> None:
    block = request("GET", "/large/100000/100000") * 100
    before = server.rss_bytes()
    with server.connect() as wire:
        wire.socket.setblocking(False)
        sent = 0
        while sent < 64 << 20 and select.select([], [wire.socket], [], 0.25)[1]:
            sent += wire.socket.send(block)
        assert sent < 32 << 20, "the server read on"
        assert server.rss_bytes() - before < 16 << 20


def test_vanished_client_with_requests_waiting_does_no_harm(server: Server, key: str) -> None:
    for number in range(20):
        wire = server.connect()
        wire.send(request("GET", f"/wait/{key}") + request("GET", "/") * 50)
        wait_for_waiting(server, key, number + 1)
        wire.reset()
    open_gate(server, key)
    server.barrier()


def leave(wire: Wire) -> None:
    """Ends the client's side, of TLS and of the connection below it."""
    wire.send_end()
    if isinstance(wire.socket, TLSSocket):
        wire.socket.raw.shutdown(socket.SHUT_WR)


# Behind more than is kept of what has been pipelined, the end is not read.
@pytest.mark.parametrize("junk", [0, 70_000])
def test_request_that_begins_behind_the_clients_end_is_told_of_it(
    server: Server, key: str, junk: int
) -> None:
    second = request("GET", script(f"{key}-second", ("until-disconnect",)))
    with server.connect() as wire:
        wire.send(request("GET", f"/wait/{key}") + second + b"x" * junk)
        leave(wire)
        wait_for_waiting(server, key)
        server.barrier()
        open_gate(server, key)
        wait_for_record(server, f"{key}-second", ("disconnected",))


def test_request_whose_body_is_cut_behind_the_clients_end_is_told_of_it(
    server: Server, key: str
) -> None:
    with server.connect() as wire:
        wire.send(request("GET", f"/wait/{key}"))
        wire.begin("POST", f"/messages/{key}-second", length=10)
        wire.piece(b"hello")
        leave(wire)
        wait_for_waiting(server, key)
        server.barrier()
        open_gate(server, key)
        found = wait_for_record(server, f"{key}-second", {"type": "http.disconnect"})
    assert found[0] == {"type": "http.request", "body": b"hello", "more_body": True}
