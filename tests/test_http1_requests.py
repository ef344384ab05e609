"""Well-formed HTTP/1.1 and HTTP/1.0 requests, and what the application sees of them."""

from __future__ import annotations

import ast
import hashlib
import select
import shutil
import socket
import subprocess
from typing import Any

import pytest
from conftest import Start
from support.remote import literal, open_gate, wait_for_waiting
from support.server import Server
from support.wire import Wire, deliveries, request

pytestmark = pytest.mark.usefixtures("nothing_is_smuggled")


def scope_of(server: Server, data: bytes) -> dict[str, Any]:
    """The scope that the application gets for one raw request to `/scope`."""
    with server.connect() as wire:
        wire.send(data)
        response = wire.response()
        assert response.status == 200, response
        scope: dict[str, Any] = ast.literal_eval(response.body.decode())
    return scope


def test_keep_alive_answers_many_requests_on_one_connection(server: Server) -> None:
    with server.connect() as wire:
        for number in range(100):
            wire.send_request("GET", f"/delay/0/{number}")
            response = wire.response()
            assert response.body == str(number).encode()
            assert response.header(b"connection") is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Content-Length: 5\r\n\r\nhello", id="content-length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", id="chunked"
        ),
        pytest.param(
            b'Transfer-Encoding: chunked\r\n\r\n2;a;b=c;d="e;\\"f"\r\nhe\r\n'
            b"00003\r\nllo\r\n000\r\nTrailer: 1\r\nOther:\r\n\r\n",
            id="chunked-with-extensions-and-trailers",
        ),
    ],
)
def test_request_is_read_however_it_is_cut(server: Server, body: bytes) -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\n" + body
    for how, wire in deliveries(server, data):
        response = wire.response()
        assert (response.status, response.body) == (200, b"hello"), how
        wire.assert_open()


def test_request_without_a_body_is_read_however_it_is_cut(server: Server) -> None:
    for how, wire in deliveries(server, b"GET /?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"):
        assert wire.response().body == b"hello", how
        wire.assert_open()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 4095, 65_535, 65_536, 65_537, 1_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_of_any_size_arrives_whole(server: Server, framing: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    head = b"POST /digest HTTP/1.1\r\nHost: a\r\n"
    if framing == "length":
        data = head + b"Content-Length: %d\r\n\r\n" % size + body
    else:
        chunk = b"%X\r\n%b\r\n" % (size, body) if size else b""
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
    with server.connect() as wire:
        wire.send(data)
        expected = repr((size, hashlib.sha256(body).hexdigest())).encode()
        assert wire.response().body == expected
        wire.assert_open()


def test_many_tiny_chunks_arrive_whole(server: Server) -> None:
    body = bytes(range(256)) * 40
    chunks = b"".join(b"1\r\n%b\r\n" % body[at : at + 1] for at in range(len(body)))
    with server.connect() as wire:
        wire.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks
            + b"0\r\n\r\n"
        )
        assert wire.response().body == body
        wire.assert_open()


def test_ten_megabytes_arrive_whole(server: Server) -> None:
    body = bytes(range(256)) * 40_000
    with server.connect() as wire:
        wire.send_request("POST", "/digest", body=body)
        assert wire.response().body == repr((len(body), hashlib.sha256(body).hexdigest())).encode()


def test_body_is_streamed_to_the_application_as_it_comes(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"POST /echo-stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"5\r\nfirst\r\n")
        wire.head()
        assert wire.read_until(b"first\r\n") == b"5\r\nfirst\r\n"
        wire.send(b"6\r\nsecond\r\n")
        assert wire.read_until(b"second\r\n") == b"6\r\nsecond\r\n"
        wire.send(b"0\r\n\r\n")
        assert wire.read_until(b"0\r\n\r\n") == b"0\r\n\r\n"
        wire.assert_open()


def test_reading_stops_while_the_application_takes_nothing(server: Server, key: str) -> None:
    total = 64 << 20
    block = bytes(range(256)) * 1024
    with server.connect() as wire:
        wire.send(request("POST", f"/wait-then-echo/{key}", f"Content-Length: {total}"))
        wait_for_waiting(server, key)
        rss_before = server.rss_bytes()
        wire.socket.setblocking(False)
        sent, found = 0, hashlib.sha256()
        # Writable again within a moment, as long as the server reads.
        while sent < total and select.select([], [wire.socket], [], 0.25)[1]:
            position = sent % len(block)
            count = wire.socket.send(block[position:][: total - sent])
            found.update(block[position : position + count])
            sent += count
        assert sent < total // 2, "the server read what the application did not take"
        assert server.rss_bytes() - rss_before < 4 << 20
        open_gate(server, key)
        wire.socket.setblocking(True)
        while sent < total:
            position = sent % len(block)
            count = wire.socket.send(block[position:][: total - sent])
            found.update(block[position : position + count])
            sent += count
        assert wire.response().body == repr((total, found.hexdigest())).encode()


@pytest.mark.parametrize(
    "method",
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "M-SEARCH"],
)
def test_method_reaches_the_application(server: Server, key: str, method: str) -> None:
    with server.connect() as wire:
        wire.send_request(method, f"/record-scope/{key}")
        assert wire.response(method).status == 200
        wire.assert_open()
    [scope] = literal(server, f"/records/{key}")
    assert scope["method"] == method


@pytest.mark.strict
def test_unknown_method_reaches_the_application(server: Server) -> None:
    scope = scope_of(server, b"BREW /scope HTTP/1.1\r\nHost: a\r\n\r\n")
    assert scope["method"] == "BREW"


def test_http_1_0_is_answered_and_closed(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        response = wire.response()
        assert (response.status, response.body, response.closes) == (200, b"hello", True)
        wire.assert_closed()


def test_http_1_0_is_closed_even_when_it_asks_for_keep_alive(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /smuggled HTTP/1.0\r\n\r\n")
        response = wire.response()
        assert (response.body, response.closes) == (b"hello", True)
        wire.assert_closed()


def test_http_1_0_body_is_read_by_its_length(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
        assert wire.response().body == b"hello"
        wire.assert_closed()


def test_http_1_0_is_told_to_the_application(server: Server) -> None:
    scope = scope_of(server, b"GET /scope HTTP/1.0\r\n\r\n")
    assert scope["http_version"] == "1.0"


@pytest.mark.parametrize("value", ["close", "Close", "CLOSE", "foo, close", "close , foo"])
def test_connection_close_is_obeyed(server: Server, value: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/", f"Connection: {value}")
        response = wire.response()
        assert response.body == b"hello"
        assert response.closes
        wire.assert_closed()


def test_connection_keep_alive_keeps_it_open(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/", "Connection: Keep-Alive")
        assert wire.response().body == b"hello"
        wire.assert_open()


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request_are_ignored(server: Server, lines: bytes) -> None:
    # RFC 9112, 2.2: clients of old sent one after a body.
    for how, wire in deliveries(server, lines + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert wire.response().body == b"hello", how
        wire.send(lines)
        wire.assert_open()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"X:a", b"a"),
        (b"X: a", b"a"),
        (b"X: \t a b", b"a b"),
        pytest.param(b"X: a b \t", b"a b", marks=pytest.mark.strict),
        (b"X:", b""),
        (b"X: \t ", b""),
        (b"X: a:b", b"a:b"),
        (b"X: a\tb", b"a\tb"),
        (b"X: \x80\xff", b"\x80\xff"),
        (b"X: \xc3\xa9", b"\xc3\xa9"),
        (b"X: \xa0a\x85", b"\xa0a\x85"),
        (b'X: "a, b"', b'"a, b"'),
    ],
)
def test_field_value_arrives_without_the_space_around_it(
    server: Server, line: bytes, value: bytes
) -> None:
    scope = scope_of(server, b"GET /scope HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
    assert scope["headers"] == [(b"host", b"a"), (b"x", value)]


def test_field_names_are_lowered_and_keep_their_order_and_repetition(server: Server) -> None:
    scope = scope_of(
        server,
        b"GET /scope HTTP/1.1\r\nX-B: 1\r\nHOST: a\r\nx-a: 2\r\nX-b: 3\r\n"
        b"!#$%&'*+-.^_`|~09azAZ: 4\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n",
    )
    assert scope["headers"] == [
        (b"x-b", b"1"),
        (b"host", b"a"),
        (b"x-a", b"2"),
        (b"x-b", b"3"),
        (b"!#$%&'*+-.^_`|~09azaz", b"4"),
        (b"cookie", b"a=b"),
        (b"cookie", b"c=d"),
    ]


def test_absolute_form_gives_the_path_alone(server: Server) -> None:
    scope = scope_of(server, b"GET http://a:80/scope/b%20c?d HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert scope["path"] == "/scope/b c"
    assert scope["raw_path"] == b"/scope/b%20c"
    assert scope["query_string"] == b"d"
    assert scope["scheme"] == "http"


@pytest.mark.parametrize(
    ("authority", "host"),
    [(b"A.example", b"a.example"), (b"a.example", b"A.EXAMPLE"), (b"[::1]:80", b"[::1]:80")],
)
def test_absolute_form_matches_the_host_field_in_any_case(
    server: Server, authority: bytes, host: bytes
) -> None:
    data = b"GET http://%b/scope HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, host)
    assert scope_of(server, data)["path"] == "/scope"


@pytest.mark.strict
def test_absolute_form_without_a_path_means_the_root(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"hello"
        wire.send(b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"hello"


def test_asterisk_form_is_accepted_for_options(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().status == 404  # the test application's own
        wire.assert_open()


@pytest.mark.parametrize("character", list("!$&'()*+,-.:;=@_~") + list('"<>[]^`{|}\\'))
def test_printable_target_characters_reach_the_application(server: Server, character: str) -> None:
    # The second half is not allowed by RFC 3986, but browsers and clients send it.
    scope = scope_of(server, f"GET /scope/a{character}b HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert scope["raw_path"] == f"/scope/a{character}b".encode()
    assert scope["path"] == f"/scope/a{character}b"


@pytest.mark.parametrize(
    "host",
    ["a", "a.example", "a.example.", "a_b.example", "127.0.0.1:80", "[::1]", "[::1]:8000", "A-b:1"],
)
def test_host_may_be_a_name_or_an_address_with_a_port(server: Server, host: str) -> None:
    scope = scope_of(server, f"GET /scope HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert scope["headers"] == [(b"host", host.encode())]


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_continue_is_sent_when_the_application_asks_for_the_body(
    server: Server, key: str, framing: str
) -> None:
    with server.connect() as wire:
        wire.send_request("POST", f"/wait-then-echo/{key}", framing, "Expect: 100-continue")
        wait_for_waiting(server, key)
        server.barrier()
        assert not wire.is_readable(), "100 before the application asked"
        open_gate(server, key)
        assert wire.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
        response = wire.response()
        assert response.interim == ()
        assert response.body == repr((5, hashlib.sha256(b"hello").hexdigest())).encode()
        wire.assert_open()


def test_continue_is_sent_once_however_often_the_application_receives(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/echo", "Content-Length: 2", "Expect: 100-Continue")
        assert wire.head().status == 100
        wire.send(b"a")
        server.barrier()
        wire.send(b"b")
        response = wire.response()
        assert (response.interim, response.body) == ((), b"ab")


def test_continue_is_not_sent_when_the_application_answers_without_reading(
    server: Server,
) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", "Content-Length: 5", "Expect: 100-continue")
        response = wire.response()
        assert (response.interim, response.status, response.body) == ((), 413, b"early")


@pytest.mark.strict
def test_body_that_was_never_sent_is_not_taken_from_the_next_request(server: Server) -> None:
    # The client had no 100, so what it sends next may be the body or a request (RFC 9110, 10.1.1):
    # the server closes rather than guess.
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", "Content-Length: 36", "Expect: 100-continue")
        response = wire.response()
        assert response.closes
        wire.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.assert_closed()


@pytest.mark.strict
def test_continue_is_not_sent_to_http_1_0(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        server.barrier()
        wire.send(b"hello")
        response = wire.response()
        assert (response.interim, response.body) == ((), b"hello")


def test_body_sent_with_the_expectation_is_read(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/echo", "Expect: 100-continue", body=b"hello")
        response = wire.response()
        assert response.interim in ((), (100,))
        assert response.body == b"hello"
        wire.assert_open()


def test_upgrade_that_is_not_supported_is_answered_as_a_plain_request(server: Server) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        wire.send_request("GET", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
        assert wire.response().body == b"hello"
    server.stderr.wait_for("WARNING: +Unsupported upgrade request.", since=since)


def test_connection_goes_on_after_an_unsupported_upgrade(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/", "Connection: Upgrade", "Upgrade: h2c")
        assert wire.response().body == b"hello"
        wire.assert_open()


@pytest.mark.strict
def test_half_closed_client_gets_its_answer(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/wait/{key}")
        wire.send_end()
        wait_for_waiting(server, key)
        server.barrier()
        open_gate(server, key)
        assert wire.response().body == b"opened"
        wire.assert_closed()


@pytest.mark.strict
def test_half_closed_client_gets_all_of_its_pipelined_answers(server: Server) -> None:
    with server.connect() as wire:
        for number in range(5):
            wire.send_request("GET", f"/delay/2/{number}")
        wire.send_end()
        assert [wire.response().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        wire.assert_closed()


@pytest.mark.strict
def test_half_closed_client_gets_its_echo(server: Server) -> None:
    body = b"x" * 300_000
    with server.connect() as wire:
        wire.send_request("POST", "/echo", body=body)
        wire.send_end()
        assert wire.response().body == body
        wire.assert_closed()


def test_connection_that_says_nothing_and_closes_is_no_error(start: Start) -> None:
    server = start("support.apps:app")
    since = server.stderr.count()
    for _ in range(20):
        server.connect().close()
        with server.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHo")
        server.connect().reset()
    server.barrier()
    assert server.stderr.all(since) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
class TestCurl:
    def curl(self, server: Server, *arguments: str) -> str:
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--http1.1", "--max-time", "10", *arguments],
            capture_output=True,
            check=True,
        )
        return done.stdout.decode()

    def test_gets(self, server: Server) -> None:
        assert self.curl(server, f"{server.url}/") == "hello"

    def test_reuses_the_connection(self, server: Server) -> None:
        shown = self.curl(server, "-w", " %{num_connects}\n", f"{server.url}/", f"{server.url}/")
        assert shown == "hello 1\nhello 0\n"

    def test_asks_for_the_head(self, server: Server) -> None:
        assert self.curl(server, "-I", f"{server.url}/").startswith("HTTP/1.1 200 OK\r\n")

    def test_posts(self, server: Server) -> None:
        assert self.curl(server, "-d", "a=b", f"{server.url}/echo") == "a=b"

    def test_posts_chunked(self, server: Server) -> None:
        shown = self.curl(
            server, "-H", "Transfer-Encoding: chunked", "-d", "a=b", f"{server.url}/echo"
        )
        assert shown == "a=b"

    def test_waits_for_continue(self, server: Server) -> None:
        shown = self.curl(
            server,
            "-v",
            "--stderr",
            "-",
            "--expect100-timeout",
            "10",
            "-H",
            "Expect: 100-continue",
            "-d",
            "a=b",
            f"{server.url}/echo",
        )
        assert "HTTP/1.1 100 Continue" in shown
        assert shown.endswith("a=b") or "a=b" in shown

    def test_uses_http_1_0(self, server: Server) -> None:
        assert self.curl(server, "-0", f"{server.url}/") == "hello"

    def test_offers_an_upgrade_to_http_2(self, server: Server) -> None:
        assert self.curl(server, "--http2", f"{server.url}/") == "hello"


def test_urgent_data_does_no_harm(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        wire.socket.send(b"!", socket.MSG_OOB)
        wire.send(b"\r\n")
        assert wire.response().status in (200, 400)
    with Wire(server.address) as wire:
        wire.assert_open()
