"""Bounds: how large a head may be, how slow a client, how many at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from conftest import Start
from support.endpoints_script import body_message, script, start_message
from support.refusal import SMUGGLED, assert_refusal
from support.remote import (
    open_gate,
    records,
    wait_for_record,
    wait_for_records,
    wait_for_waiting,
)
from support.server import Server, serve
from support.wire import ClosedError, TruncatedError, Wire, request

pytestmark = pytest.mark.usefixtures("nothing_is_smuggled")
strict = pytest.mark.strict

KIB = 1024


# --- Size --------------------------------------------------------------------------------------


def head_of(fields: int, value: bytes = b"b") -> bytes:
    """A request with so many field lines, its `Host` among them."""
    lines = b"".join(b"X-%d: %b\r\n" % (number, value) for number in range(fields - 1))
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"


def test_a_hundred_fields_are_accepted(server: Server) -> None:
    with server.connect() as wire:
        wire.send(head_of(100))
        assert wire.response().body == b"hello"
        wire.assert_open()


@strict
@pytest.mark.parametrize("fields", [101, 102, 1000, 10_000])
def test_more_than_a_hundred_fields_are_431(server: Server, fields: int) -> None:
    with server.connect() as wire:
        wire.send(head_of(fields) + SMUGGLED)
        assert_refusal(wire, (431,))


def test_sixty_kilobytes_of_fields_are_accepted(server: Server) -> None:
    with server.connect() as wire:
        wire.send(head_of(61, b"b" * 1000))
        assert wire.response().body == b"hello"
        wire.send_request("GET", "/", "X: " + "b" * 60_000)
        assert wire.response().body == b"hello"
        wire.assert_open()


@strict
@pytest.mark.parametrize("size", [66_000, 100_000, 1_000_000])
def test_fields_of_more_than_64_kib_are_431(server: Server, size: int) -> None:
    with server.connect() as wire:
        wire.send(head_of(2, b"b" * size) + SMUGGLED)
        assert_refusal(wire, (431,))
    with server.connect() as wire:
        wire.send(head_of(67, b"b" * (size // 66)) + SMUGGLED)
        assert_refusal(wire, (431,))


@strict
def test_fields_without_an_end_are_431(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 200_000)
        assert_refusal(wire, (431,))


@strict
def test_field_name_without_an_end_is_431(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"b" * 200_000)
        assert_refusal(wire, (431,))


@pytest.mark.parametrize("target", ["/" + "a" * 60_000, "/?" + "a" * 60_000])
def test_long_target_is_accepted(server: Server, target: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", target)
        assert wire.response().status == (200 if "?" in target else 404)
        wire.assert_open()


@strict
@pytest.mark.parametrize("size", [66_000, 200_000, 1_000_000])
def test_request_line_that_is_too_long_is_414(server: Server, size: int) -> None:
    with server.connect() as wire:
        wire.send(b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED)
        assert_refusal(wire, (414,))


@strict
def test_request_line_without_an_end_is_414(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"GET /" + b"a" * 200_000)
        assert_refusal(wire, (414,))


def test_method_without_an_end_is_refused(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"G" * 200_000)
        assert_refusal(wire, (400, 414, 501))


@strict
def test_empty_lines_without_an_end_are_refused(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"\r\n" * 100_000 + SMUGGLED)
        assert_refusal(wire, (400, 414, 431))


@strict
def test_trailers_without_an_end_are_refused(server: Server) -> None:
    for trailers in (b"X: " + b"b" * 200_000, b"X: y\r\n" * 50_000):
        with server.connect() as wire:
            wire.send(request("POST", "/echo", "Transfer-Encoding: chunked"))
            wire.send(b"5\r\nhello\r\n0\r\n" + trailers)
            assert_refusal(wire, (400, 431))


@strict
def test_refusal_reaches_a_client_that_sends_on(server: Server) -> None:
    for data in (b"GET /" + b"a" * (4 << 20), head_of(50_000, b"b" * 100), b"\x00" * (4 << 20)):
        with server.connect() as wire:
            wire.send(data)
            response = wire.response()
            assert response.status in (400, 414, 431)
            wire.assert_closed()
            assert not wire.was_reset


@strict
def test_limits_follow_the_options(start: Start) -> None:
    server = start(
        "support.apps:app", "--limit-request-headers", "10", "--limit-request-header-bytes", "2000"
    )
    with server.connect() as wire:
        wire.send(head_of(10))
        assert wire.response().status == 200
        wire.send(head_of(11))
        assert_refusal(wire, (431,))
    with server.connect() as wire:
        wire.send(head_of(2, b"b" * 1500))
        assert wire.response().status == 200
        wire.send(head_of(2, b"b" * 2500))
        assert_refusal(wire, (431,))


@strict
def test_request_line_limit_follows_its_option(start: Start) -> None:
    server = start("support.apps:app", "--limit-request-line", "100")
    with server.connect() as wire:
        wire.send_request("GET", "/?" + "a" * 80)
        assert wire.response().status == 200
        wire.send_request("GET", "/?" + "a" * 90)
        assert_refusal(wire, (414,))


@pytest.fixture(scope="module")
def frugal() -> Iterator[Server]:
    with serve("support.apps:app", "--limit-request-body", "1000") as server:
        yield server


@strict
def test_body_within_the_limit_is_taken(frugal: Server) -> None:
    body = b"x" * 1000
    with frugal.connect() as wire:
        wire.send_request("POST", "/echo", body=body)
        assert wire.response().body == body
        wire.send(request("POST", "/echo", "Transfer-Encoding: chunked"))
        wire.send((b"64\r\n" + b"x" * 100 + b"\r\n") * 10 + b"0\r\n\r\n")
        assert wire.response().body == body


@strict
@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
@pytest.mark.parametrize("length", [1001, 10**12, 2**63 - 1])
def test_announced_body_beyond_the_limit_is_413_before_the_application(
    frugal: Server, key: str, length: int, expect: tuple[str, ...]
) -> None:
    with frugal.connect() as wire:
        wire.send(request("POST", f"/messages/{key}", f"Content-Length: {length}", *expect))
        assert_refusal(wire, (413,))
    assert records(frugal, key) == []
    frugal.stderr.wait_for("request body too long")


@strict
def test_refused_body_may_still_be_on_its_way(frugal: Server) -> None:
    with frugal.connect() as wire:
        wire.send(request("POST", "/echo", "Content-Length: 4000000"))
        wire.send(b"x" * 4_000_000)
        assert wire.response().status == 413
        wire.assert_closed()
        assert not wire.was_reset


@strict
@pytest.mark.parametrize("last", [b"3e8\r\n", b"385\r\n", b"ffffffffffffff\r\n"])
def test_chunked_body_beyond_the_limit_is_413_where_it_passes_it(
    frugal: Server, key: str, last: bytes
) -> None:
    with frugal.connect() as wire:
        wire.send(request("POST", f"/messages/{key}", "Transfer-Encoding: chunked"))
        wire.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        wait_for_records(frugal, key)
        # The size alone is enough: no byte beyond the limit is waited for.
        wire.send(last)
        assert_refusal(wire, (413,))
    messages = wait_for_record(frugal, key, {"type": "http.disconnect"})
    assert all(message.get("more_body", True) for message in messages)


@strict
def test_body_beyond_the_limit_cuts_a_response_under_way(frugal: Server) -> None:
    with frugal.connect() as wire:
        wire.send(request("POST", "/echo-stream", "Transfer-Encoding: chunked"))
        wire.send(b"5\r\nhello\r\n")
        wire.head()
        assert wire.read_until(b"hello\r\n") == b"5\r\nhello\r\n"
        wire.send(b"3e8\r\n")
        assert wire.read_all() == b""


# --- Time --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    """A server with half a second of patience for everything."""
    flags = ["--timeout-request-header", "--timeout-request-body", "--timeout-write"]
    timeouts = [word for flag in flags for word in (flag, "0.5")]
    rates = ["--min-request-body-rate", "2048", "--min-response-rate", "200000"]
    with serve("support.apps:app", *timeouts, *rates, "--timeout-keep-alive", "1") as server:
        yield server


def drip(wire: Wire, data: bytes, pause_s: float = 0.04) -> bool:
    """Sends single bytes until the server reacts; false if it never did."""
    for byte in data:
        if wire.is_readable(within_s=pause_s):
            return True
        wire.send(bytes([byte]))
    return wire.is_readable()


def assert_timed_out(wire: Wire) -> None:
    """408, or nothing, and the end of the connection."""
    with contextlib.suppress(ClosedError):
        response = wire.response()
        assert response.status == 408, response
        assert response.closes
    wire.assert_closed()


@strict
@pytest.mark.parametrize("lead", ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_head_in_single_bytes_is_cut_by_its_clock(hasty: Server, lead: str) -> None:
    with hasty.connect() as wire:
        wire.send(lead.encode())
        assert drip(wire, b"E" * 200), "single bytes kept the connection alive"
        assert_timed_out(wire)


@strict
def test_empty_lines_do_not_reset_the_clock(hasty: Server) -> None:
    with hasty.connect() as wire:
        assert drip(wire, b"\r\n" * 100)
        assert_timed_out(wire)


@strict
def test_silent_connection_is_closed(hasty: Server) -> None:
    with hasty.connect() as wire:
        assert_timed_out(wire)


@strict
def test_head_of_a_later_request_is_cut_by_its_clock(hasty: Server) -> None:
    with hasty.connect() as wire:
        wire.assert_open()
        wire.send(b"GET / HT")
        assert drip(wire, b"T" * 200)
        assert_timed_out(wire)


@strict
def test_slow_heads_do_not_delay_others(hasty: Server) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(hasty.connect()) for _ in range(300)]
        for wire in slow:
            wire.send(b"GET / HTTP/1.1\r\nHo")
        for _ in range(50):
            assert hasty.get("/") == b"hello"
        for wire in slow:
            assert_timed_out(wire)


@strict
def test_application_may_take_longer_than_the_clocks(hasty: Server, key: str) -> None:
    with hasty.connect() as silent, hasty.connect() as wire:
        wire.send(request("GET", f"/wait/{key}"))
        wait_for_waiting(hasty, key)
        assert_timed_out(silent)  # so the time is up
        with hasty.connect() as later:
            assert_timed_out(later)  # twice
        open_gate(hasty, key)
        assert wire.response().body == b"opened"
        wire.assert_open()


@strict
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_body_in_single_bytes_is_cut_by_its_clock(hasty: Server, key: str, framing: str) -> None:
    with hasty.connect() as wire:
        wire.send(request("POST", f"/messages/{key}", framing))
        wire.send(b"x" if "Length" in framing else b"3e8\r\n")
        assert drip(wire, b"x" * 200)
        assert_timed_out(wire)
    messages = wait_for_record(hasty, key, {"type": "http.disconnect"})
    assert all(message.get("more_body", True) for message in messages)


@strict
def test_body_that_stops_is_cut_by_its_clock(hasty: Server, key: str) -> None:
    with hasty.connect() as wire:
        wire.send(request("POST", f"/messages/{key}", "Content-Length: 5") + b"hell")
        assert_timed_out(wire)
    assert wait_for_record(hasty, key, {"type": "http.disconnect"})


@strict
def test_body_at_a_steady_pace_outlives_the_clock(hasty: Server) -> None:
    piece, count = b"x" * 4096, 40
    with hasty.connect() as wire:
        wire.send(request("POST", "/echo", f"Content-Length: {len(piece) * count}"))
        for _ in range(count):
            assert not wire.is_readable(within_s=0.03), "cut although it made progress"
            wire.send(piece)
        assert wire.response().body == piece * count


@strict
def test_application_that_does_not_read_yet_does_not_run_the_body_clock(
    hasty: Server, key: str
) -> None:
    with hasty.connect() as wire:
        wire.send(request("POST", f"/wait-then-echo/{key}", body=b"x" * 200_000))
        wait_for_waiting(hasty, key)
        for _ in range(2):
            with hasty.connect() as silent:
                assert_timed_out(silent)
        open_gate(hasty, key)
        assert wire.response().status == 200


@strict
def test_client_that_takes_nothing_of_a_response_is_cut(hasty: Server, key: str) -> None:
    steps = [("send", start_message()), *[("fill", 1 << 20)] * 40, ("send", body_message())]
    with Wire(hasty.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", script(key, *steps))
        wait_for_record(hasty, key, ("finished",))
        with pytest.raises(TruncatedError):
            wire.response()


def read_in_drops(wire: Wire, count: int) -> None:
    """25,000 bytes a second, well below the least that `hasty` asks for."""
    for _ in range(count):
        wire.read(1000)
        time.sleep(0.04)


@strict
def test_client_that_takes_a_response_in_drops_is_cut(hasty: Server, key: str) -> None:
    steps = [("send", start_message()), *[("fill", 1 << 20)] * 40, ("send", body_message())]
    with Wire(hasty.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", script(key, *steps))
        wire.head()
        with pytest.raises(TruncatedError):
            read_in_drops(wire, 200)
        assert ("finished",) in wait_for_record(hasty, key, ("finished",))


@strict
def test_client_at_a_steady_pace_gets_all_of_a_response(hasty: Server, key: str) -> None:
    steps = [("send", start_message()), *[("fill", 1 << 20)] * 2, ("send", body_message())]
    with Wire(hasty.address, receive_buffer_bytes=65536) as wire:
        wire.send_request("GET", script(key, *steps))
        wire.head()
        for _ in range(40):
            wire.read(40_000)
            time.sleep(0.04)  # a million bytes a second, for three windows
        wire.read_until(b"0\r\n\r\n")
        wire.assert_open()


@strict
def test_kernel_keeps_little_for_a_client_that_takes_nothing(start: Start, key: str) -> None:
    server = start("support.apps:app")
    with Wire(server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", script(key, ("send", start_message()), *[("fill", 65536)] * 30))
        wait_for_record(server, key, ("sent", "http.response.start"))
        server.barrier()
        filled = records(server, key).count(("filled", 65536))
        assert 1 <= filled <= 12, "megabytes are on their way to nobody"


def test_idle_connection_is_closed_after_the_keep_alive_timeout(start: Start) -> None:
    server = start("support.apps:app", "--timeout-keep-alive", "1")
    with server.connect() as wire:
        wire.assert_open()
        wire.assert_open()
        wire.assert_closed()
        assert not wire.was_reset


def test_request_under_way_outlives_the_keep_alive_timeout(start: Start, key: str) -> None:
    server = start("support.apps:app", "--timeout-keep-alive", "1")
    with server.connect() as wire, server.connect() as idle:
        wire.assert_open()
        wire.send_request("GET", f"/wait/{key}")
        wait_for_waiting(server, key)
        idle.assert_open()
        idle.assert_closed()  # so the time is up
        open_gate(server, key)
        assert wire.response().body == b"opened"


def test_request_before_the_keep_alive_timeout_restarts_it(start: Start) -> None:
    server = start("support.apps:app", "--timeout-keep-alive", "1")
    with server.connect() as wire:
        began = time.monotonic()
        while time.monotonic() - began < 1.6:
            wire.assert_open()
            assert not wire.is_readable(within_s=0.2), "closed although it was in use"
        wire.assert_closed()


def test_keep_alive_of_zero_closes_or_answers_but_never_hangs(start: Start) -> None:
    server = start("support.apps:app", "--timeout-keep-alive", "0")
    for _ in range(20):
        with server.connect() as wire:
            wire.send_request("GET", "/")
            assert wire.response().body == b"hello"
            wire.assert_closed()


# --- Number ------------------------------------------------------------------------------------


def test_connections_beyond_the_limit_are_503(start: Start) -> None:
    server = start("support.apps:app", "--limit-concurrency", "3")
    with server.connect() as first, server.connect() as second:
        first.assert_open()
        second.assert_open()
        since = server.stderr.count()
        with server.connect() as third:
            third.send_request("GET", "/")
            response = third.response()
            assert (response.status, response.reason) == (503, b"Service Unavailable")
            assert response.body == b"Service Unavailable"
            assert response.header(b"content-type") == b"text/plain; charset=utf-8"
            assert response.header(b"content-length") == b"19"
            assert response.closes
            third.assert_closed()
        server.stderr.wait_for("WARNING: +Exceeded concurrency limit.", since=since)
        second.close()
        get_until_allowed(server, "/")


def test_tasks_beyond_the_limit_are_503(start: Start, key: str) -> None:
    server = start("support.apps:app", "--limit-concurrency", "2")
    # A task that outlives its response and its connection.
    with server.connect() as wire:
        wire.send_request("GET", f"/keep-running/{key}", "Connection: close")
        assert wire.response().body == b"answered"
    with server.connect() as wire:
        wire.send_request("GET", f"/keep-running/{key}", "Connection: close")
        assert wire.response().body == b"answered"
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert wire.response().status == 503


def test_exempt_paths_are_served_beyond_the_limit(start: Start, key: str) -> None:
    limited = start(
        "support.apps:app",
        *("--limit-concurrency", "1", "--limit-concurrency-exempt", "/scope/health"),
        *("--limit-concurrency-exempt", "/open/*"),
    )
    for target, status in (
        ("/", 503),
        ("/scope/health", 200),
        ("/scope/health?a=b", 200),
        ("/scope/healthy", 503),
        (f"/open/{key}", 200),
    ):
        with limited.connect() as wire:
            wire.send_request("GET", target)
            assert wire.response().status == status, target


def test_limits_do_not_touch_what_is_already_running(start: Start, key: str) -> None:
    server = start("support.apps:app", "--limit-concurrency", "3")
    with server.connect() as wire:
        wire.send_request("GET", f"/wait/{key}")
        with server.connect() as idle:
            idle.assert_open()
            with server.connect() as refused:
                refused.send_request("GET", "/")
                assert refused.response().status == 503
                refused.assert_closed()
        get_until_allowed(server, f"/open/{key}")
        assert wire.response().body == b"opened"


def get_until_allowed(server: Server, target: str) -> None:
    """Asks again until the server has seen that others are gone."""
    until = time.monotonic() + 5
    while True:
        with server.connect() as wire:
            wire.send_request("GET", target)
            if wire.response().status == 200:
                return
        assert time.monotonic() < until
        time.sleep(0.005)
