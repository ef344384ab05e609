"""Requests that two servers could read in two ways: refused, and what follows is never answered.

Every refused payload is followed by a request for `/smuggled`, which the application records.
"""

from __future__ import annotations

import random
import re

import pytest
from support.payloads import (
    AUTHORITIES_REFUSED,
    CHUNKED_BODIES_ACCEPTED,
    CHUNKED_BODIES_REFUSED,
    CODINGS_IN_DISGUISE,
    CODINGS_REFUSED,
    CODINGS_TWICE,
    FIELD_LINES_REFUSED,
    HEADS_WITH_A_BARE_CARRIAGE_RETURN,
    HEADS_WITH_A_BARE_LINE_FEED,
    HOSTS_REFUSED,
    HOSTS_TWICE,
    LENGTH_WITH_CODING,
    LENGTHS_REFUSED,
    LENGTHS_TWICE,
    OTHER_PROTOCOLS,
    REQUEST_LINES_REFUSED,
    TARGETS_REFUSED,
    TRAILERS_ACCEPTED,
    TRAILERS_REFUSED,
)
from support.refusal import ALL, SMUGGLED, WHOLE, assert_refusal, assert_refused
from support.remote import literal, wait_for_record
from support.server import Server
from support.wire import ClosedError, Delivery, TruncatedError, deliveries, request

TCHAR = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# On tests of which Uvicorn, on httptools, fails at least one case.
strict = pytest.mark.strict

pytestmark = pytest.mark.usefixtures("nothing_is_smuggled")


def label(value: object) -> str:
    return repr(value)[2:-1] if isinstance(value, bytes) else repr(value)


def post(*lines: bytes, version: bytes = b"1.1") -> bytes:
    head = b"POST /echo HTTP/%b\r\nHost: a\r\n" % version
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


# --- Transfer-Encoding -------------------------------------------------------------------------


@strict
@pytest.mark.parametrize("coding", CODINGS_REFUSED, ids=label)
def test_refuses_any_transfer_encoding_but_chunked(server: Server, coding: bytes) -> None:
    data = post(b"Transfer-Encoding: " + coding)
    assert_refused(server, data, statuses=(400, 501), rest=b"0\r\n\r\n" + SMUGGLED)


@strict
@pytest.mark.parametrize("coding", [b"chunked", *CODINGS_REFUSED], ids=label)
def test_refuses_any_transfer_encoding_on_http_1_0(server: Server, coding: bytes) -> None:
    data = post(b"Transfer-Encoding: " + coding, version=b"1.0")
    assert_refused(server, data, statuses=(400, 501), rest=b"0\r\n\r\n" + SMUGGLED, how=WHOLE)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED", b"\t chunked", b"chunked "])
def test_accepts_chunked_in_any_case_with_space_around(server: Server, coding: bytes) -> None:
    data = post(b"Transfer-Encoding:" + coding) + b"5\r\nhello\r\n0\r\n\r\n"
    for how, wire in deliveries(server, data):
        assert wire.response().body == b"hello", how
        wire.assert_open()


@strict
@pytest.mark.parametrize("lines", CODINGS_TWICE, ids=label)
def test_refuses_two_transfer_encoding_fields(server: Server, lines: tuple[bytes, bytes]) -> None:
    assert_refused(server, post(*lines), statuses=(400, 501), rest=b"0\r\n\r\n" + SMUGGLED)


@pytest.mark.parametrize("lines", CODINGS_IN_DISGUISE, ids=label)
def test_refuses_a_transfer_encoding_field_in_disguise(
    server: Server, lines: tuple[bytes, ...]
) -> None:
    assert_refused(server, post(*lines), rest=b"0\r\n\r\n" + SMUGGLED)


def test_underscores_do_not_frame_a_message(server: Server) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 9\r\n\r\n"
    for how, wire in deliveries(server, data):
        assert wire.response().body == b"hello", how
        wire.assert_open()


# --- Content-Length ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS_REFUSED, ids=label)
def test_refuses_a_content_length_that_is_no_number(server: Server, length: bytes) -> None:
    data = post(b"Content-Length: " + length)
    how: tuple[Delivery, ...] = ALL if len(data) < 200 else WHOLE
    assert_refused(server, data, statuses=(400, 413), rest=SMUGGLED, how=how)


@pytest.mark.parametrize("length", [b"5", b"05", b"0000000000000005", b" \t5", b"5 "], ids=label)
def test_accepts_a_content_length_of_digits(server: Server, length: bytes) -> None:
    for how, wire in deliveries(server, post(b"Content-Length:" + length) + b"hello"):
        assert wire.response().body == b"hello", how
        wire.assert_open()


@pytest.mark.parametrize(
    "length", [b"9223372036854775807", b"9223372036854775808", b"18446744073709551615"]
)
def test_length_near_the_end_of_the_numbers_does_not_wrap(server: Server, length: bytes) -> None:
    # Either refused or a body that will not end here; never a request after it.
    with server.connect() as wire:
        wire.send(post(b"Content-Length: " + length) + SMUGGLED)
        server.barrier()
        if wire.is_readable():
            assert_refusal(wire, (400, 413))


def test_content_length_is_accepted_if_and_only_if_it_is_digits(server: Server) -> None:
    chance = random.Random(9112)
    alphabet = b"0123456789+-_x,. \t\x00\x0b\x0c\x1c\x7f\x80\x85\xa0\xb2abeE;\"'"
    digits = re.compile(rb"[\t ]*([0-9]+)[\t ]*")
    refused = accepted = 0
    for _ in range(1500):
        value = bytes(chance.choice(alphabet[: chance.choice([10, 33])]) for _ in range(2))
        number = digits.fullmatch(value)
        with server.connect() as wire:
            data = post(b"Content-Length:" + value)
            if number is None:
                refused += 1
                wire.send(data + SMUGGLED)
                assert_refusal(wire)
            else:
                accepted += 1
                body = b"x" * int(number[1])
                wire.send(data + body)
                response = wire.response()
                assert (response.status, response.body) == (200, body), value
                wire.assert_open()
    assert refused > 200
    assert accepted > 200


@pytest.mark.parametrize("lines", LENGTHS_TWICE, ids=label)
def test_refuses_two_content_length_fields(server: Server, lines: tuple[bytes, bytes]) -> None:
    assert_refused(server, post(*lines), rest=b"hello" + SMUGGLED)


@pytest.mark.parametrize("lines", LENGTH_WITH_CODING, ids=label)
def test_refuses_content_length_with_transfer_encoding(
    server: Server, lines: tuple[bytes, ...]
) -> None:
    rest = b"0\r\n\r\n" + SMUGGLED
    assert_refused(server, post(*lines), statuses=(400, 501), rest=rest)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_body_of_any_method_is_not_taken_for_a_request(server: Server, method: str) -> None:
    with server.connect() as wire:
        wire.send_request(method, "/", body=SMUGGLED)
        assert wire.response(method).status == 200
        wire.assert_open()


# --- Chunks ------------------------------------------------------------------------------------

CHUNKED = post(b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("body", CHUNKED_BODIES_REFUSED, ids=label)
def test_refuses_a_malformed_chunked_body(server: Server, body: bytes) -> None:
    for how, wire in deliveries(server, body, SMUGGLED, how=ALL, before=CHUNKED):
        try:
            assert_refusal(wire)
        except AssertionError as error:
            raise AssertionError(f"{how}: {error}") from error


@pytest.mark.parametrize("body", CHUNKED_BODIES_ACCEPTED, ids=label)
def test_accepts_a_well_formed_chunked_body(server: Server, body: bytes) -> None:
    for how, wire in deliveries(server, body, how=ALL, before=CHUNKED):
        assert wire.response().body == b"hello", how
        wire.assert_open()


def test_size_in_capital_and_small_digits_means_the_same(server: Server) -> None:
    for size in (b"a", b"A", b"0a", b"1F", b"1f", b"fF"):
        data = b"x" * int(size, 16)
        with server.connect() as wire:
            wire.send(CHUNKED + size + b"\r\n" + data + b"\r\n0\r\n\r\n")
            assert wire.response().body == data
            wire.assert_open()


@pytest.mark.parametrize("size", [b"7fffffffffffffff", b"8000000000000000", b"ffffffffffffffff"])
def test_chunk_size_near_the_end_of_the_numbers_does_not_wrap(server: Server, size: bytes) -> None:
    with server.connect() as wire:
        wire.send(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED)
        server.barrier()
        if wire.is_readable():
            assert_refusal(wire, (400, 413))


def test_chunk_lines_are_accepted_as_a_reference_would(server: Server) -> None:
    chance = random.Random(7230)
    size_line = re.compile(rb"[0-9a-fA-F]{1,8}")
    # Size, then anything printable: what a lenient reading of extensions would take.
    may_be_fine = re.compile(rb"[0-9a-fA-F]{1,8}[\t ]*(;[\t\x20-\x7e\x80-\xff]*)?")
    alphabet = b"0123456789abcdefABCDEF" * 2 + b'gx+-_ \t;="\r\n\x00\x0b\x80,.'
    refused = accepted = 0
    for _ in range(1500):
        line = bytes(chance.choice(alphabet) for _ in range(chance.randint(0, 3)))
        plain = size_line.fullmatch(line) is not None
        if not plain and may_be_fine.fullmatch(line):
            continue
        with server.connect() as wire:
            if plain:
                accepted += 1
                data = b"x" * int(line, 16)
                end = b"\r\n0\r\n\r\n" if data else b"\r\n"
                wire.send(CHUNKED + line + b"\r\n" + data + end)
                assert wire.response().body == data, line
                wire.assert_open()
            else:
                refused += 1
                wire.send(CHUNKED + line + b"\r\n" + SMUGGLED)
                try:
                    assert_refusal(wire)
                except AssertionError as error:
                    raise AssertionError(f"{line!r}: {error}") from error
    assert refused > 200
    assert accepted > 200


@strict
def test_refuses_a_chunk_extension_without_end(server: Server) -> None:
    assert_refused(server, CHUNKED + b"5;" + b"a" * 100_000, rest=b"\r\nhello\r\n", how=WHOLE)


def test_refuses_more_extensions_than_data(server: Server) -> None:
    # One byte of data with a kilobyte of extension, over and over.
    body = (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 200
    assert_refused(server, CHUNKED + body, how=WHOLE)


@strict
def test_malformed_chunk_after_the_response_began_cuts_it_short(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("POST", "/echo-stream", "Transfer-Encoding: chunked"))
        wire.send(b"5\r\nhello\r\n")
        wire.head()
        assert wire.read_until(b"hello\r\n") == b"5\r\nhello\r\n"
        wire.send(b"oops\r\n" + SMUGGLED)
        wire.assert_closed()


# --- Trailers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trailer", TRAILERS_ACCEPTED, ids=label)
@strict
def test_trailer_is_read_and_never_merged(server: Server, trailer: bytes) -> None:
    head = request("POST", "/headers-after-body", "Transfer-Encoding: chunked")
    data = b"0\r\n" + trailer + b"\r\nOther: z\r\n\r\n"
    for how, wire in deliveries(server, data, before=head):
        body = wire.response().body
        assert body == b"[(b'host', b'localhost'), (b'transfer-encoding', b'chunked')]", how
        wire.assert_open()


@pytest.mark.parametrize("trailers", TRAILERS_REFUSED, ids=label)
def test_refuses_a_malformed_trailer(server: Server, trailers: bytes) -> None:
    assert_refused(server, CHUNKED + b"5\r\nhello\r\n0\r\n" + trailers)


# --- Line ends and field lines -----------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS_WITH_A_BARE_LINE_FEED, ids=label)
@strict
def test_refuses_a_bare_line_feed(server: Server, head: bytes) -> None:
    assert_refused(server, head)


@pytest.mark.parametrize("head", HEADS_WITH_A_BARE_CARRIAGE_RETURN, ids=label)
@strict
def test_refuses_a_bare_carriage_return(server: Server, head: bytes) -> None:
    assert_refused(server, head)


@pytest.mark.parametrize("lines", FIELD_LINES_REFUSED, ids=label)
def test_refuses_a_malformed_field_line(server: Server, lines: bytes) -> None:
    assert_refused(server, b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")


@pytest.mark.parametrize("space", [b" ", b"\t", b"  \t"], ids=label)
def test_refuses_space_before_the_first_field_line(server: Server, space: bytes) -> None:
    assert_refused(server, b"GET / HTTP/1.1\r\n" + space + b"Host: a\r\n\r\n")
    assert_refused(server, b"GET / HTTP/1.1\r\n" + space + b"X: y\r\nHost: a\r\n\r\n")


def test_every_byte_of_a_field_name_is_a_token_or_refused(server: Server) -> None:
    for byte in range(256):
        if byte == ord(":"):
            continue
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX%cY: z\r\n\r\n" % byte
        if byte in TCHAR:
            with server.connect() as wire:
                wire.send(data)
                assert wire.response().status == 200, hex(byte)
                wire.assert_open()
        else:
            assert_refused(server, data, how=WHOLE)


def test_every_control_byte_of_a_field_value_is_refused(server: Server) -> None:
    for byte in range(256):
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: y%cz\r\n\r\n" % byte
        if byte == 0x09 or (byte >= 0x20 and byte != 0x7F):
            with server.connect() as wire:
                wire.send(data)
                assert wire.response().status == 200, hex(byte)
                wire.assert_open()
        else:
            assert_refused(server, data, how=WHOLE)


# --- Request line ------------------------------------------------------------------------------


@pytest.mark.parametrize("line", REQUEST_LINES_REFUSED, ids=label)
@strict
def test_refuses_a_malformed_request_line(server: Server, line: bytes) -> None:
    assert_refused(server, line + b"\r\nHost: a\r\n\r\n", statuses=(400, 505))


@pytest.mark.parametrize("version", ["0.9", "0.0", "1.2", "1.9", "2.0", "2.1", "3.0", "9.9"])
@strict
def test_refuses_other_versions(server: Server, version: str) -> None:
    data = f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode()
    assert_refused(server, data, statuses=(400, 505))


@pytest.mark.parametrize(
    "opening",
    OTHER_PROTOCOLS.values(),
    ids=OTHER_PROTOCOLS,
)
def test_refuses_other_protocols(server: Server, opening: bytes) -> None:
    assert_refused(server, opening, statuses=(400, 505))


# --- Target ------------------------------------------------------------------------------------


def test_every_byte_of_a_target_is_visible_ascii_or_refused(server: Server) -> None:
    for byte in range(256):
        if byte in b"?#":
            continue
        for target in (b"/scope/a%cb" % byte, b"/scope?a%cb" % byte):
            data = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
            if 0x21 <= byte <= 0x7E:
                with server.connect() as wire:
                    wire.send(data)
                    assert wire.response().status == 200, hex(byte)
                    wire.assert_open()
            else:
                assert_refused(server, data, how=WHOLE)


@pytest.mark.parametrize("target", TARGETS_REFUSED, ids=label)
@strict
def test_refuses_a_malformed_target(server: Server, target: bytes) -> None:
    assert_refused(server, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("authority", AUTHORITIES_REFUSED, ids=label)
@strict
def test_refuses_an_authority_other_than_the_host(server: Server, authority: bytes) -> None:
    assert_refused(server, b"GET http://" + authority + b"/ HTTP/1.1\r\nHost: a\r\n\r\n")


@strict
def test_refuses_an_absolute_form_without_a_host_field(server: Server) -> None:
    # RFC 9112, 3.2: a request without `Host` is refused, whatever its target says.
    assert_refused(server, b"GET http://a/ HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize(
    ("target", "methods"),
    [
        (b"/", (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS")),
        (b"http://a/", (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS")),
        (b"*", (b"OPTIONS",)),
        (b"a:80", ()),
    ],
    ids=label,
)
@strict
def test_form_of_the_target_fits_the_method(
    server: Server, method: bytes, target: bytes, methods: tuple[bytes, ...]
) -> None:
    data = b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target)
    if method not in methods:
        assert_refused(server, data, statuses=(400, 405))
        return
    with server.connect() as wire:
        wire.send(data)
        assert wire.response(method.decode()).status == (404 if target == b"*" else 200)
        wire.assert_open()


@pytest.mark.parametrize("target", [b"a:80", b"a", b"/", b"*", b"http://a/", b"[::1]:443"])
@strict
def test_refuses_connect(server: Server, target: bytes) -> None:
    data = b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n"
    assert_refused(server, data, statuses=(400, 405, 501))


# --- Host --------------------------------------------------------------------------------------


@strict
def test_refuses_http_1_1_without_a_host(server: Server) -> None:
    assert_refused(server, b"GET / HTTP/1.1\r\nX: y\r\n\r\n")
    assert_refused(server, b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("lines", HOSTS_TWICE, ids=label)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@strict
def test_refuses_two_hosts(server: Server, lines: bytes, version: bytes) -> None:
    assert_refused(server, b"GET / HTTP/" + version + b"\r\n" + lines + b"\r\n")


@pytest.mark.parametrize("host", HOSTS_REFUSED, ids=label)
@strict
def test_refuses_a_host_that_is_no_authority(server: Server, host: bytes) -> None:
    assert_refused(server, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


# --- Upgrade, Connection: close, proxies -------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=label,
)
@strict
def test_refuses_a_websocket_upgrade_with_a_body(server: Server, body: bytes) -> None:
    head = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    assert_refused(server, head + body)


@strict
@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "x_forwarded_for", "X-Forwarded_For", "X_Forwarded-For"]
)
@pytest.mark.parametrize(
    ("ending", "value"), [("For", "9.9.9.9"), ("Proto", "https"), ("Host", "b"), ("Port", "1")]
)
def test_underscored_forwarded_field_is_dropped(
    server: Server, name: str, ending: str, value: str
) -> None:
    scope = literal(server, "/scope", f"{name[:-3]}{ending}: {value}")
    assert scope["headers"] == [(b"host", server.host.encode())]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["scheme"] == "http"


def test_other_underscored_fields_are_kept(server: Server) -> None:
    scope = literal(server, "/scope", "X_Custom: a")
    assert (b"x_custom", b"a") in scope["headers"]


# --- Bodies that never end ---------------------------------------------------------------------

TRUNCATED = [
    pytest.param(
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n",
        id="chunked",
    ),
    pytest.param(b"Content-Length: 11\r\n\r\n", b"hello world", id="content-length"),
]


@pytest.mark.parametrize(("framing", "body"), TRUNCATED)
@pytest.mark.parametrize("ending", ["close", "reset", "half-close"])
def test_truncated_body_is_never_complete(
    server: Server, key: str, framing: bytes, body: bytes, ending: str
) -> None:
    for cut in range(len(body)):
        wire = server.connect()
        target = b"/messages/%b-%d" % (key.encode(), cut)
        wire.send(b"POST " + target + b" HTTP/1.1\r\nHost: a\r\n" + framing + body[:cut])
        if ending == "half-close":
            wire.send_end()
        elif ending == "close":
            wire.close()
        else:
            server.barrier()
            wire.reset()
        messages = wait_for_record(server, f"{key}-{cut}", {"type": "http.disconnect"})
        assert all(message.get("more_body", True) for message in messages), (cut, messages)
        received = b"".join(message.get("body", b"") for message in messages)
        assert b"hello world".startswith(received)
        wire.close()


def test_response_to_a_truncated_body_does_not_end_cleanly(server: Server) -> None:
    with server.connect() as wire:
        wire.send(request("POST", "/echo-stream", "Transfer-Encoding: chunked"))
        wire.send(b"5\r\nhello\r\n5\r\nwor")
        wire.send_end()
        with pytest.raises((TruncatedError, ClosedError)):
            wire.response()
