"""The access log: one line a response as it starts, Uvicorn's five arguments, nothing unescaped."""

from __future__ import annotations

import copy
import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from support.endpoints_script import body_message, script, start_message
from support.remote import literal, open_gate
from support.server import Server

PRINTABLE = re.compile(r"[\x20-\x7e]*")


FILTERED = {"TEST_FILTER_ACCESS": "1"}


@pytest.fixture(scope="module", params=[{}, FILTERED], ids=["plain", "filtered"])
def logged(request: pytest.FixtureRequest, start_module: Start) -> Server:
    """With and without a filter on the logger: the lines are the same, the ways to them differ."""
    return start_module("support.apps:app", environment=request.param)


def line_after(server: Server, data: bytes, pattern: str = " - ") -> str:
    """The access line of one raw request."""
    since = server.stdout.count()
    with server.connect() as wire:
        wire.send(data)
        wire.response()
    return server.stdout.wait_for(pattern, since=since)


def get(target: str, version: str = "1.1", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


def test_line_tells_client_request_and_status(logged: Server) -> None:
    since = logged.stdout.count()
    with logged.connect() as wire:
        wire.send_request("GET", "/scope/a?b=c")
        wire.response()
        port = wire.socket.getsockname()[1]
        line = logged.stdout.wait_for(" - ", since=since)
    assert line == f'INFO:     127.0.0.1:{port} - "GET /scope/a?b=c HTTP/1.1" 200 OK'


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/", "/"),
        ("/?", "/"),
        ("/scope/a%20b", "/scope/a%20b"),
        ("/scope/%41%2F", "/scope/A/"),
        ("/scope/%C3%A9", "/scope/%C3%A9"),
        ("/scope/%ff", "/scope/%EF%BF%BD"),
        ("/scope/a;b:c@d&e=f+g,h", "/scope/a%3Bb%3Ac%40d%26e%3Df%2Bg%2Ch"),
        ("/scope/~a-b_c.d", "/scope/~a-b_c.d"),
        ("/scope?a=%20&b=%C3%A9", "/scope?a=%20&b=%C3%A9"),
        ("/scope?a=<b>'c'", "/scope?a=<b>'c'"),
        ("http://a/scope?b", "/scope?b"),
    ],
)
def test_path_is_quoted_and_query_is_as_it_came(logged: Server, target: str, shown: str) -> None:
    line = line_after(logged, get(target))
    assert f'"GET {shown} HTTP/1.1" 200 OK' in line


@pytest.mark.parametrize(
    ("status", "shown"),
    [(200, "200 OK"), (404, "404 Not Found"), (503, "503 Service Unavailable"), (299, "299 ")],
)
def test_status_has_its_phrase(logged: Server, key: str, status: int, shown: str) -> None:
    target = script(key, ("send", start_message(status)), ("send", body_message()))
    assert line_after(logged, get(target)).endswith(f'HTTP/1.1" {shown}')


def test_method_and_version_are_those_of_the_request(logged: Server) -> None:
    assert '"POST /echo HTTP/1.1"' in line_after(logged, get("/echo", method="POST"))
    assert '"GET / HTTP/1.0"' in line_after(logged, get("/", "1.0"))


def test_exception_is_logged_as_500(logged: Server, key: str) -> None:
    line = line_after(logged, get(script(key, ("raise", "x"))))
    assert line.endswith('HTTP/1.1" 500 Internal Server Error')


def test_line_is_written_when_the_response_starts(logged: Server, key: str) -> None:
    since = logged.stdout.count()
    target = script(key, ("send", start_message()), ("gate", key), ("send", body_message()))
    with logged.connect() as wire:
        wire.send_request("GET", target)
        logged.stdout.wait_for(f"/script/{key}.* 200 OK", since=since)
        open_gate(logged, key)
        wire.response()
    # The next test is to find its own line.
    logged.stdout.wait_for(f"/open/{key} ", since=since)


def test_every_request_of_a_connection_has_its_line(logged: Server, key: str) -> None:
    since = logged.stdout.count()
    with logged.connect() as wire:
        for number in range(20):
            wire.send_request("GET", f"/delay/0/{key}-{number}")
        for _ in range(20):
            wire.response()
    logged.stdout.wait_for(f"{key}-19 ", since=since)
    lines = [line for line in logged.stdout.all(since) if key in line]
    assert [int(line.split(f"{key}-")[1].split()[0]) for line in lines] == list(range(20))


def test_record_has_the_five_arguments_that_filters_read(start: Start, key: str) -> None:
    logged = start("support.apps:app", environment=FILTERED)
    with logged.connect() as wire:
        wire.send_request("GET", f"/delay/0/{key}?a=b")
        wire.response()
        port = wire.socket.getsockname()[1]
    records: list[Any] = literal(logged, "/access-records")
    [(name, arguments, message)] = [one for one in records if key in one[1][2]]
    assert name.endswith(".access")
    assert arguments == (f"127.0.0.1:{port}", "GET", f"/delay/0/{key}?a=b", "1.1", 200)
    assert [type(one) for one in arguments] == [str, str, str, str, int]
    assert message == f'127.0.0.1:{port} - "GET /delay/0/{key}?a=b HTTP/1.1" 200'


def test_filter_that_comes_later_sees_what_comes_after_it(start: Start, key: str) -> None:
    server = start("support.apps:app")
    server.get(f"/delay/0/{key}-before")
    assert literal(server, "/filter-access") is True
    # From now on, or from the server's next look at its logger on.
    until = time.monotonic() + 2
    after: list[str] = []
    while not after:
        assert time.monotonic() < until, "the filter sees nothing"
        server.get(f"/delay/0/{key}-after")
        paths = [arguments[2] for _, arguments, _ in literal(server, "/access-records")]
        after = [path for path in paths if key in path]
    assert set(after) == {f"/delay/0/{key}-after"}
    server.stdout.wait_for(f"/delay/0/{key}-before ")
    server.stdout.wait_for(f"/delay/0/{key}-after ")


def test_line_tells_what_the_application_made_of_the_scope(logged: Server) -> None:
    line = line_after(logged, get("/rewrite-scope"))
    assert line == 'INFO:     9.8.7.6:5 - "GET /rewritten%20%C3%A9?by=app HTTP/1.1" 200 OK'


@pytest.mark.strict
def test_line_of_an_emptied_scope_is_not_lost(logged: Server) -> None:
    assert "200 OK" in line_after(logged, get("/spoil-scope/before"))


@pytest.mark.strict
def test_unknown_method_is_told(logged: Server) -> None:
    assert '"BREW /scope HTTP/1.1" 200 OK' in line_after(logged, get("/scope", method="BREW"))


def test_forwarded_client_is_the_one_that_is_logged(logged: Server) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n"
    assert "1.2.3.4:0 - " in line_after(logged, data)


@pytest.mark.strict
@pytest.mark.parametrize(
    "hop", [b"\x1b[31mred", b"a\xff\xfeb", b"\xe2\x80\xae", b'a" - "GET /', b"a\x85b", b"a\tb"]
)
def test_forwarded_client_cannot_forge_a_line(logged: Server, hop: bytes) -> None:
    since = logged.stdout.count()
    with logged.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + hop + b"\r\n\r\n")
        status = wire.response().status
    if status == 200:
        line = logged.stdout.wait_for(" - ", since=since)
        assert PRINTABLE.fullmatch(line), line
    else:
        assert status == 400


def test_root_path_is_part_of_the_path(start: Start) -> None:
    server = start("support.apps:app", "--root-path", "/api")
    assert '"GET /api/scope HTTP/1.1"' in line_after(server, get("/scope"))


def test_client_on_a_unix_socket_has_no_address(start: Start, tmp_path: Path) -> None:
    server = start("support.apps:app", listen=["--uds", str(tmp_path / "socket")])
    assert line_after(server, get("/")) == 'INFO:      - "GET / HTTP/1.1" 200 OK'


def test_refusal_for_too_many_connections_is_logged(start: Start) -> None:
    server = start("support.apps:app", "--limit-concurrency", "1")
    assert '" 503 Service Unavailable' in line_after(server, get("/"))


def test_switched_off_it_says_nothing(start: Start) -> None:
    server = start("support.apps:app", "--no-access-log")
    server.get("/scope")
    server.barrier()
    assert server.stdout.all() == []


def test_level_warning_silences_it_and_the_rest(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    listen = ["--host", address[0], "--port", str(address[1])]
    server = start("support.apps:app", "--log-level", "warning", listen=listen, quiet_at=address)
    server.get("/scope")
    server.barrier()
    assert server.stdout.all() + server.stderr.all() == []


def test_colours_are_for_those_who_ask(start: Start) -> None:
    server = start("support.apps:app", "--use-colors")
    line = line_after(server, get("/"))
    assert "\x1b[1mGET / HTTP/1.1\x1b[0m" in line
    assert "\x1b[32m200 OK\x1b[0m" in line


# --- Nothing unescaped -------------------------------------------------------------------------


@pytest.mark.parametrize("byte", [*range(0x21), 0x22, 0x5C, *range(0x7F, 0x100, 16), 0xFF])
def test_encoded_byte_of_a_path_stays_encoded(logged: Server, byte: int) -> None:
    line = line_after(logged, get(f"/scope/a%{byte:02x}b"))
    assert PRINTABLE.fullmatch(line), line
    assert re.search(r'"GET /scope/a(%[0-9A-F]{2})+b HTTP/1.1" 200 OK$', line), line


@pytest.mark.parametrize(
    "path", ["%1b[31m", "%0d%0aINFO:%20forged", "%0a", "%22%20200%20OK", "%e2%80%ae", "%c2%85"]
)
def test_path_cannot_forge_a_line(logged: Server, path: str) -> None:
    since = logged.stdout.count()
    line = line_after(logged, get(f"/scope/{path}"))
    assert PRINTABLE.fullmatch(line), line
    assert line.count('"') == 2
    assert len([one for one in logged.stdout.all(since) if " - " in one]) == 1


@pytest.mark.strict
@pytest.mark.parametrize("query", ['a"b', '" 500 x "', "a'b\\"])
def test_query_cannot_end_the_quotes(logged: Server, query: str) -> None:
    line = line_after(logged, get(f"/scope?{query.replace(' ', '%20')}"))
    assert PRINTABLE.fullmatch(line), line
    assert line.count('"') == 2


REFUSED = [
    b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\x1b[31m: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
    b"\x1b[31mGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\rINFO: forged\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: %s %d %n\x07\r\n\r\n",
    b"GET / HTTP/\x1b\r\n\r\n",
    b"\x00\x01\x02\x80\xff\r\n\r\n",
]


@pytest.mark.strict
@pytest.mark.parametrize("data", REFUSED, ids=repr)
def test_refusal_is_a_warning_with_reason_and_address(logged: Server, data: bytes) -> None:
    since = logged.stderr.count()
    with logged.connect() as wire:
        port = wire.socket.getsockname()[1]
        wire.send(data)
        assert wire.response().status in (400, 505)
        wire.assert_closed()
    line = logged.stderr.wait_for("Invalid HTTP request received", since=since)
    assert line.startswith("WARNING:  ")
    assert f"127.0.0.1:{port}" in line
    reason = line.split("Invalid HTTP request received")[1].replace(f"127.0.0.1:{port}", "")
    assert re.search("[a-z]{3}", reason), "no reason"
    assert PRINTABLE.fullmatch(line), line


@pytest.mark.parametrize("data", REFUSED, ids=repr)
def test_refusal_puts_no_raw_byte_into_any_log(logged: Server, data: bytes) -> None:
    out, err = logged.stdout.count(), logged.stderr.count()
    with logged.connect() as wire:
        wire.send(data)
        wire.response()
    logged.stderr.wait_for("WARNING", since=err)
    for line in logged.stdout.all(out) + logged.stderr.all(err):
        assert PRINTABLE.fullmatch(line), line


def test_lines_of_a_burst_come_whole_and_in_order(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        for number in range(200):
            wire.send_request("GET", f"/scope/{number}")
            wire.response()
    server.stdout.wait_for("/scope/199 ")
    lines = [line for line in server.stdout.all() if "/scope/" in line]
    shown = [re.fullmatch(r'INFO:     \S+ - "GET (\S+) HTTP/1.1" 200 OK', line) for line in lines]
    assert [match and match[1] for match in shown] == [f"/scope/{n}" for n in range(200)]


@pytest.mark.strict
def test_lines_before_an_error_are_written_before_it(start: Start, tmp_path: Path) -> None:
    config = copy.deepcopy(pytest.importorskip("pronghorn.logging").LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    file = tmp_path / "logging.json"
    file.write_text(json.dumps(config))
    server = start("support.apps:app", "--log-config", str(file))
    with server.connect() as wire:
        wire.send_request("GET", "/scope/before")
        wire.response()
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        wire.response()
    server.stderr.wait_for("Invalid HTTP request received.")
    lines = server.stderr.all()
    order = [
        next(number for number, line in enumerate(lines) if mark in line)
        for mark in ("/scope/before", "Invalid HTTP request received.")
    ]
    assert order == sorted(order)


def test_last_lines_are_written_before_the_server_ends(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as wire:
        wire.send_request("GET", "/scope/last")
        wire.response()
    server.signal(signal.SIGTERM)
    server.wait()
    server.stdout.wait_for("/scope/last ")
