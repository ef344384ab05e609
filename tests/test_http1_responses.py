"""What the server makes of an application's messages: heads, framing, and how mistakes end."""

from __future__ import annotations

import contextlib
import email.utils
import http
import re
import select
import time
from typing import Any

import pytest
from conftest import Start
from support.endpoints_script import Step, body_message, script, start_message
from support.remote import open_gate, records, wait_for_record, wait_for_waiting
from support.server import Server
from support.wire import ClosedError, Response, TruncatedError, Wire, request

pytestmark = pytest.mark.usefixtures("nothing_is_smuggled")


@pytest.fixture
def server(every_http1: Server) -> Server:
    """Every case is run on each transport."""
    return every_http1


TCHAR = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


# Those whose phrase is the same in every Python and every RFC.
USUAL_STATUSES = [
    *(200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408),
    *(409, 410, 411, 412, 415, 417, 418, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 511),
]


def run(
    server: Server, key: str, *steps: Step, method: str = "GET", version: str = "1.1"
) -> Response:
    """The response of a script on a connection of its own, which must be whole."""
    with server.connect() as wire:
        return run_on(wire, key, *steps, method=method, version=version)


def run_on(
    wire: Wire, key: str, *steps: Step, method: str = "GET", version: str = "1.1"
) -> Response:
    target = script(key, *steps)
    wire.send(f"{method} {target} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    return wire.response(method)


def send(*messages: dict[str, Any]) -> list[Step]:
    return [("send", message) for message in messages]


def assert_nothing_or_500(wire: Wire, target: str) -> None:
    """What an application tried to send is not on the wire."""
    wire.send_request("GET", target)
    with contextlib.suppress(ClosedError):
        assert wire.response().status == 500
    wire.assert_closed()


# --- Heads -------------------------------------------------------------------------------------


def test_head_starts_with_date_and_server_before_the_application_fields(
    server: Server, key: str
) -> None:
    headers = [(b"X-B", b"1"), (b"x-a", b"2"), (b"Content-Length", b"2")]
    response = run(server, key, *send(start_message(200, *headers), body_message(b"ok")))
    names = [name for name, _ in response.headers]
    assert names == [b"date", b"server", b"x-b", b"x-a", b"content-length"]
    assert response.reason == b"OK"


def test_date_is_now_in_the_http_format(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/")
        date = (wire.response().header(b"date") or b"").decode()
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    seconds = email.utils.parsedate_to_datetime(date).timestamp()
    assert abs(time.time() - seconds) < 5


def test_date_goes_on_while_the_server_is_idle(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/")
        first = wire.response().header(b"date")
        until = time.monotonic() + 5
        while True:
            wire.send_request("GET", "/")
            if wire.response().header(b"date") != first:
                break
            assert time.monotonic() < until
            time.sleep(0.1)


def test_date_is_that_of_an_answer_long_after_its_request(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", "/delay/3000/late")
        date = (wire.response().header(b"date") or b"").decode()
    # One more than the clock's grain.
    assert time.time() - email.utils.parsedate_to_datetime(date).timestamp() < 2


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--no-date-header"], [b"server"]),
        (["--no-server-header"], [b"date"]),
        (["--no-date-header", "--no-server-header"], []),
        (["--header", "X-Frame: a:b"], [b"date", b"server", b"x-frame"]),
        (["--header", "Server:other"], [b"date", b"server"]),
    ],
)
def test_default_fields_follow_the_options(
    start: Start, options: list[str], names: list[bytes]
) -> None:
    server = start("support.apps:hello", *options)
    with server.connect() as wire:
        wire.send_request("GET", "/")
        response = wire.response()
        assert [name for name, _ in response.headers] == [*names, b"content-length"]
        if "Server:other" in options:
            assert response.header(b"server") == b"other"
        if "X-Frame: a:b" in options:
            assert (response.header(b"x-frame") or b"").strip() == b"a:b"
        # A refusal carries them as well.
        wire.send(b"?\r\n\r\n")
        refused = wire.response()
        assert [name for name, _ in refused.headers][: len(names)] == names


def test_application_may_add_its_own_server_and_date(server: Server, key: str) -> None:
    headers = [(b"Server", b"mine"), (b"Date", b"then")]
    response = run(server, key, *send(start_message(200, *headers), body_message(b"ok")))
    assert len(response.values(b"server")) == 2
    assert len(response.values(b"date")) == 2
    assert response.values(b"server")[1] == b"mine"


@pytest.mark.parametrize(
    "status",
    USUAL_STATUSES,
)
def test_reason_is_the_usual_one(server: Server, key: str, status: int) -> None:
    response = run(server, key, *send(start_message(status), body_message(b"")))
    assert response.status == status
    assert response.reason == http.HTTPStatus(status).phrase.encode()


@pytest.mark.parametrize("status", [299, 420, 499, 599])
def test_unknown_status_has_an_empty_reason(server: Server, key: str, status: int) -> None:
    with server.connect() as wire:
        target = script(key, *send(start_message(status), body_message(b"")))
        wire.send_request("GET", target)
        assert wire.read_until(b"\r\n") == b"HTTP/1.1 %d \r\n" % status


@pytest.mark.strict
@pytest.mark.parametrize("status", [0, 99, 100, 101, 103, 199, 1000, -200])
def test_status_that_is_no_final_one_never_reaches_the_wire(
    server: Server, key: str, status: int
) -> None:
    with server.connect() as wire:
        assert_nothing_or_500(wire, script(key, *send(start_message(status), body_message(b""))))
    assert records(server, key)[0][0] == "raised"


def test_response_to_http_1_0_says_http_1_1_and_close(server: Server, key: str) -> None:
    response = run(
        server, key, *send(start_message(200, (b"content-length", b"2")), body_message(b"ok")),
        version="1.0",
    )  # fmt: skip
    assert response.closes


def test_application_may_close_the_connection(server: Server, key: str) -> None:
    headers = [(b"content-length", b"2"), (b"Connection", b"close")]
    with server.connect() as wire:
        response = run_on(wire, key, *send(start_message(200, *headers), body_message(b"ok")))
        assert response.closes
        wire.assert_closed()


# --- Framing -----------------------------------------------------------------------------------


@pytest.mark.strict
def test_single_body_without_a_length_gets_one(server: Server, key: str) -> None:
    with server.connect() as wire:
        response = run_on(wire, key, *send(start_message(), body_message(b"hello")))
        assert (response.framing, response.body) == ("length", b"hello")
        assert response.header(b"content-length") == b"5"
        wire.assert_open()


@pytest.mark.strict
def test_empty_body_without_a_length_gets_one(server: Server, key: str) -> None:
    with server.connect() as wire:
        response = run_on(wire, key, *send(start_message(), {"type": "http.response.body"}))
        assert response.header(b"content-length") == b"0"
        wire.assert_open()


def test_several_bodies_without_a_length_are_chunked(server: Server, key: str) -> None:
    steps = send(start_message(), body_message(b"ab", True), body_message(b"c", True))
    with server.connect() as wire:
        response = run_on(wire, key, *steps, *send(body_message(b"de")))
        assert (response.framing, response.body) == ("chunked", b"abcde")
        wire.assert_open()


@pytest.mark.strict
def test_several_bodies_to_http_1_0_end_with_the_connection(server: Server, key: str) -> None:
    steps = send(start_message(), body_message(b"ab", True), body_message(b"c"))
    with server.connect() as wire:
        response = run_on(wire, key, *steps, version="1.0")
        assert (response.framing, response.body) == ("close", b"abc")
        assert response.header(b"transfer-encoding") is None
        assert response.closes


def test_empty_pieces_do_not_end_a_chunked_body(server: Server, key: str) -> None:
    pieces = [b"", b"a", b"", b"", b"b", b""]
    steps = send(start_message(), *(body_message(piece, True) for piece in pieces))
    with server.connect() as wire:
        response = run_on(wire, key, *steps, *send(body_message(b"")))
        assert response.body == b"ab"
        wire.assert_open()


def test_pieces_are_sent_as_they_come(server: Server, key: str) -> None:
    with server.connect() as wire:
        steps = [*send(start_message(), body_message(b"first", True)), ("gate", key)]
        wire.send_request("GET", script(key, *steps, *send(body_message(b"second"))))
        assert wire.head().status == 200
        wire.read_until(b"first")
        open_gate(server, key)
        assert b"second" in wire.read_until(b"0\r\n\r\n")


def test_start_alone_is_not_held_back_for_ever(server: Server, key: str) -> None:
    # Whether the head waits for the first body or not, both must come once there is one.
    with server.connect() as wire:
        steps = [*send(start_message()), ("gate", key), *send(body_message(b"body"))]
        wire.send_request("GET", script(key, *steps))
        wait_for_waiting(server, key)
        open_gate(server, key)
        assert wire.response().body == b"body"


def test_declared_length_is_kept(server: Server, key: str) -> None:
    with server.connect() as wire:
        head = start_message(200, (b"Content-Length", b"3"))
        steps = send(head, body_message(b"a", True), body_message(b"bc", True), body_message())
        response = run_on(wire, key, *steps)
        assert (response.framing, response.body) == ("length", b"abc")
        wire.assert_open()


def test_declared_chunking_is_done_once(server: Server, key: str) -> None:
    head = start_message(200, (b"Transfer-Encoding", b"chunked"))
    with server.connect() as wire:
        response = run_on(wire, key, *send(head, body_message(b"ab", True), body_message(b"c")))
        assert (response.framing, response.body) == ("chunked", b"abc")
        wire.assert_open()


@pytest.mark.parametrize("framing", [(), ((b"content-length", b"5"),)], ids=["none", "length"])
def test_head_is_answered_without_a_body(
    server: Server, key: str, framing: tuple[tuple[bytes, bytes], ...]
) -> None:
    with server.connect() as wire:
        steps = send(start_message(200, *framing), body_message(b"hello"))
        response = run_on(wire, key, *steps, method="HEAD")
        assert response.status == 200
        assert response.header(b"content-length") in (b"5", None if not framing else b"5")
        assert response.header(b"transfer-encoding") is None
        wire.assert_open()
    assert records(server, key)[-1] == ("finished",)


def test_head_is_answered_without_a_body_in_many_pieces(server: Server, key: str) -> None:
    with server.connect() as wire:
        pieces = [body_message(b"x" * 1000, True)] * 10
        run_on(wire, key, *send(start_message(), *pieces, body_message()), method="HEAD")
        wire.assert_open()
    assert records(server, key)[-1] == ("finished",)


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body_has_no_framing(server: Server, key: str, status: int) -> None:
    with server.connect() as wire:
        response = run_on(wire, key, *send(start_message(status), body_message(b"")))
        assert response.status == status
        assert response.header(b"transfer-encoding") is None
        wire.assert_open()


@pytest.mark.parametrize("status", [204, 304])
def test_body_of_a_status_without_one_never_reaches_the_wire(
    server: Server, key: str, status: int
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, *send(start_message(status), body_message(b"body"))))
        assert wire.response().status == status
        wire.send_request("GET", "/")
        # ClosedError, or open and in step; not the body.
        with contextlib.suppress(ClosedError):
            assert wire.response().body == b"hello"


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 1_000_000, 10_000_000])
def test_large_body_arrives_whole(server: Server, size: int) -> None:
    expected = bytes(range(256)) * (size // 256 + 1)
    with server.connect() as wire:
        wire.send_request("GET", f"/large/{size}/{size}")
        assert wire.response().body == expected[:size]
        wire.assert_open()


def test_slow_reader_gets_everything(server: Server) -> None:
    size, piece = 3_000_000, 65_536
    block = bytes(range(256)) * (piece // 256 + 1)
    with Wire(server.address, server.client_context, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", f"/large/{size}/{piece}")
        wire.head()
        for at in range(0, size, piece):
            count = min(piece, size - at)
            assert wire.read(count) == block[:count]
        wire.assert_open()


@pytest.mark.parametrize("buffer_bytes", [4096, None], ids=["slow-reader", "fast-reader"])
def test_pieces_of_all_sizes_keep_their_order(server: Server, buffer_bytes: int | None) -> None:
    sizes = [1, 5000, 4096, 4097, 3, 16_384, 20_000, 70_000, 2, 300_000, *[4500] * 100, 16_383, 9]
    counted = bytes(range(251)) * (sum(sizes) // 251 + 1)
    target = "/pieces/" + ",".join(map(str, sizes))
    with Wire(server.address, server.client_context, receive_buffer_bytes=buffer_bytes) as wire:
        wire.send(request("GET", target) * 3)
        for _ in range(3):
            assert wire.response().body == counted[: sum(sizes)]
        wire.assert_open()


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_body_may_be_any_bytes_like_object(server: Server, kind: str, pieces: int) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/bytes-like/{kind}/{pieces}")
        assert wire.response().body == b"body" * pieces
        wire.assert_open()


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "pairs-as-lists", "absent"])
def test_headers_may_be_any_iterable_of_pairs(server: Server, kind: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/headers-as/{kind}")
        response = wire.response()
        assert response.body == b"ok"
        assert response.values(b"x-a") == ([] if kind == "absent" else [b"1", b"2"])


# --- What an application does wrong ------------------------------------------------------------


def assert_cut(wire: Wire, *received: bytes) -> None:
    """A response ends with the connection before it is whole, after one of these bodies."""
    with pytest.raises((TruncatedError, ClosedError)) as cut:
        wire.response()
    partial = cut.value.partial if isinstance(cut.value, TruncatedError) else None
    assert (partial.body if partial else b"") in received
    wire.assert_closed()


@pytest.mark.parametrize("pieces", [(b"abcdef",), (b"abc", b"def"), (b"abcde", b"f")])
def test_body_longer_than_declared_is_cut(
    server: Server, key: str, pieces: tuple[bytes, ...]
) -> None:
    head = start_message(200, (b"content-length", b"5"))
    *first, last = pieces
    steps = send(head, *(body_message(piece, True) for piece in first), body_message(last))
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        wire.send_request("GET", "/smuggled")
        if first == [b"abcde"]:
            # All that was declared may have left before the mistake was made.
            with contextlib.suppress(TruncatedError, ClosedError):
                assert wire.response().body == b"abcde"
            wire.assert_closed()
        else:
            assert_cut(wire, *(b"abcde"[:size] for size in range(6)))
    raised = ("raised", "RuntimeError", "Response content longer than Content-Length")
    assert wait_for_record(server, key, raised)[-1] == raised


@pytest.mark.parametrize("pieces", [(b"",), (b"abcd",), (b"ab", b"cd"), (b"abcd", b"")])
def test_body_shorter_than_declared_is_cut(
    server: Server, key: str, pieces: tuple[bytes, ...]
) -> None:
    head = start_message(200, (b"content-length", b"5"))
    *first, last = pieces
    steps = send(head, *(body_message(piece, True) for piece in first), body_message(last))
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        wire.send_request("GET", "/smuggled")
        with pytest.raises((TruncatedError, ClosedError)):
            wire.response()
        wire.assert_closed()
    error = ("raised", "RuntimeError", "Response content shorter than Content-Length")
    assert wait_for_record(server, key, error)[-1] == error


@pytest.mark.strict
@pytest.mark.parametrize(
    "headers",
    [
        ((b"content-length", b"5"), (b"content-length", b"6")),
        ((b"content-length", b"+5"),),
        ((b"content-length", b"-5"),),
        ((b"content-length", b"5_0"),),
        ((b"content-length", b"0x5"),),
        ((b"content-length", b"5, 5"),),
        ((b"content-length", b"\xb2"),),
        ((b"content-length", b""),),
        ((b"content-length", b"abc"),),
        ((b"content-length", b"99999999999999999999999"),),
    ],
)
def test_ambiguous_length_never_reaches_the_wire(
    server: Server, key: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    with server.connect() as wire:
        steps = send(start_message(200, *headers), body_message(b"hello"))
        assert_nothing_or_500(wire, script(key, *steps))
    assert records(server, key)[0][:2] == ("raised", "RuntimeError")


@pytest.mark.strict
@pytest.mark.parametrize(
    "headers",
    [
        ((b"content-length", b"5"), (b"transfer-encoding", b"chunked")),
        ((b"transfer-encoding", b"chunked"), (b"content-length", b"5")),
        ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")),
        ((b"transfer-encoding", b"gzip, chunked"),),
        ((b"transfer-encoding", b"identity"),),
    ],
)
def test_response_is_framed_in_one_way_only(
    server: Server, key: str, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    # Refused or put right; the strict reader accepts no second way to read it.
    with server.connect() as wire:
        wire.send_request(
            "GET", script(key, *send(start_message(200, *headers), body_message(b"hello")))
        )
        try:
            assert wire.response().body == b"hello"
        except ClosedError:
            assert records(server, key)[0][:2] == ("raised", "RuntimeError")
        else:
            wire.assert_open()


def try_header(server: Server, key: str, name: bytes, value: bytes) -> bytes:
    """All that comes over the wire for a response with this field."""
    head = start_message(200, (b"content-length", b"2"), (name, value), (b"connection", b"close"))
    with server.connect() as wire:
        wire.send_request("GET", script(key, *send(head, body_message(b"ok"))))
        return wire.read_all()


@pytest.mark.parametrize("place", [b"%b", b"%ba", b"a%b", b"a%bb"])
def test_every_byte_of_a_header_value_is_allowed_or_raises(
    server: Server, key: str, place: bytes
) -> None:
    for byte in range(256):
        value = place % bytes([byte])
        received = try_header(server, f"{key}-{byte}", b"x-a", value)
        if byte == 0x09 or (byte >= 0x20 and byte != 0x7F):
            assert b"\r\nx-a: " + value + b"\r\n" in received, hex(byte)
        else:
            assert received == b"", hex(byte)
            error = ("raised", "RuntimeError", "Invalid HTTP header value.")
            assert records(server, f"{key}-{byte}") == [error]


@pytest.mark.parametrize(
    "value", [b"a\r\nX-Evil: b", b"a\nX-Evil: b", b"a\rX-Evil: b", b"\r\n\r\nbody", b"a\r\n b"]
)
def test_header_value_cannot_split_the_response(server: Server, key: str, value: bytes) -> None:
    for name in (b"x-a", b"location", b"set-cookie", b"content-type", b"content-disposition"):
        assert try_header(server, key, name, value) == b""


@pytest.mark.strict
@pytest.mark.parametrize("place", [b"%b", b"%ba", b"a%b", b"a%bb"])
def test_every_byte_of_a_header_name_is_a_token_or_raises(
    server: Server, key: str, place: bytes
) -> None:
    for byte in range(256):
        name = place % bytes([byte])
        received = try_header(server, f"{key}-{byte}", name, b"value")
        if byte in TCHAR:
            assert b"\r\n" + name.lower() + b": value\r\n" in received, hex(byte)
        else:
            assert received == b"", hex(byte)
            error = ("raised", "RuntimeError", "Invalid HTTP header name.")
            assert records(server, f"{key}-{byte}") == [error]


@pytest.mark.strict
def test_empty_header_name_raises(server: Server, key: str) -> None:
    assert try_header(server, key, b"", b"value") == b""
    assert records(server, key)[0][:2] == ("raised", "RuntimeError")


def test_default_header_option_cannot_split_the_response(start: Start) -> None:
    try:
        server = start("support.apps:hello", "--header", "X-A:a\r\nX-Evil: b")
    except AssertionError:
        return  # refused at the start
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert b"\nX-Evil" not in wire.read_all()


def test_exception_before_the_start_is_a_500(server: Server, key: str) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        response = run_on(wire, key, ("raise", f"oops {key}"))
        assert (response.status, response.reason) == (500, b"Internal Server Error")
        assert response.body == b"Internal Server Error"
        assert response.header(b"content-type") == b"text/plain; charset=utf-8"
        assert response.header(b"content-length") == b"21"
        assert response.closes
        wire.assert_closed()
    server.stderr.wait_for(rf"ValueError: oops {key}", since=since)
    lines = server.stderr.all(since)
    assert "ERROR:    Exception in ASGI application" in lines
    assert "Traceback (most recent call last):" in "\n".join(lines)


def test_exception_after_the_start_cuts_the_response(server: Server, key: str) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        steps = [*send(start_message(), body_message(b"part", True)), ("raise", f"oops {key}")]
        wire.send_request("GET", script(key, *steps))
        wire.send_request("GET", "/smuggled")
        assert_cut(wire, b"part")
    server.stderr.wait_for(rf"ValueError: oops {key}", since=since)


def test_exception_between_start_and_body_never_looks_whole(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, *send(start_message()), ("raise", "oops")))
        with pytest.raises((TruncatedError, ClosedError)):
            wire.response()
        wire.assert_closed()


def test_exception_after_the_end_leaves_the_response_whole(server: Server, key: str) -> None:
    since = server.stderr.count()
    head = start_message(200, (b"content-length", b"2"))
    response = run(server, key, *send(head, body_message(b"ok")), ("raise", f"late {key}"))
    assert response.body == b"ok"
    server.stderr.wait_for(rf"ValueError: late {key}", since=since)


def test_application_that_returns_at_once_is_a_500(server: Server, key: str) -> None:
    since = server.stderr.count()
    response = run(server, key)
    assert (response.status, response.body) == (500, b"Internal Server Error")
    server.stderr.wait_for("ASGI callable returned without starting response.", since=since)


def test_application_that_returns_within_the_response_cuts_it(server: Server, key: str) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        wire.send_request("GET", script(key, *send(start_message(), body_message(b"part", True))))
        assert_cut(wire, b"part")
    server.stderr.wait_for("ASGI callable returned without completing response.", since=since)


def test_application_that_returns_a_value_is_told_so(server: Server, key: str) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("return", key)))
        wire.assert_closed()
    server.stderr.wait_for(f"ASGI callable should return None, but returned '{key}'.", since=since)


# --- Bodies that the application does not read -------------------------------------------------


@pytest.mark.strict
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_early_answer_reaches_a_client_that_sends_on(server: Server, framing: str) -> None:
    size = 10 << 20
    if framing == "length":
        body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * (size // 36 + 1)
        fields = f"Content-Length: {len(body)}"
    else:
        chunk = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n" * 1000
        body = (b"%x\r\n%b\r\n" % (len(chunk), chunk)) * (size // len(chunk)) + b"0\r\n\r\n"
        fields = "Transfer-Encoding: chunked"
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", fields)
        # As a client that looks for an early answer only when it is done sending.
        wire.send(body)
        response = wire.response()
        assert (response.status, response.body) == (413, b"early")
        assert response.closes
        wire.assert_closed()
        assert not wire.was_reset


@pytest.mark.strict
def test_early_answer_reaches_a_client_that_stops_and_waits(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", f"Content-Length: {10 << 20}")
        wire.send(b"x" * 1000)
        response = wire.response()
        assert response.closes
        # The server ends its side at once and waits for the client to end its own.
        wire.assert_closed()
        assert not wire.was_reset


def test_small_body_that_was_not_read_leaves_the_next_request_alone(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", body=b"GET /smuggled HTTP/1.1\r\n\r\n")
        response = wire.response()
        assert (response.status, response.body) == (413, b"early")
        if response.header(b"connection") is None:
            wire.assert_open()
        else:
            wire.assert_closed()


def test_body_that_comes_after_the_answer_is_not_taken_for_a_request(server: Server) -> None:
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with server.connect() as wire:
        wire.send_request("POST", "/ignore-body", f"Content-Length: {len(body)}")
        response = wire.response()
        assert response.status == 413
        wire.send(body)
        if response.header(b"connection") is None:
            wire.assert_open()
        else:
            wire.assert_closed()


def test_memory_stays_flat_while_unread_bodies_are_dropped(server: Server) -> None:
    before = server.rss_bytes()
    for _ in range(4):
        with server.connect() as wire:
            wire.send_request("POST", "/ignore-body", f"Content-Length: {64 << 20}")
            wire.socket.setblocking(False)
            block = b"x" * (1 << 20)
            for _ in range(64):
                if not select.select([], [wire.socket], [], 0.2)[1]:
                    break
                try:
                    wire.socket.send(block)
                except OSError:
                    break
    assert server.rss_bytes() - before < 8 << 20
