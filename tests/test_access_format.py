"""`--access-log-format` and `--log-json`: what the lines tell, and that all of it is escaped."""

from __future__ import annotations

import json
import logging
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, speaking
from pronghorn.access_format import FIELDS, GUNICORN_FIELDS, format_complaint, line_pieces
from pronghorn.access_log import AccessLog
from pronghorn.logging import AccessFormatter, JSONFormatter
from support.endpoints_script import body_message, script, start_message
from support.remote import open_gate
from support.server import Server

FILTERED = {"TEST_FILTER_ACCESS": "1"}

FORMAT = (
    "%(client_addr)s|%(client_host)s|%(client_port)s|%(method)s|%(path)s|%(query)s|%(full_path)s|"
    "%(protocol)s|%(http_version)s|%(request_line)s|%(scheme)s|%(status)d|%(status_code)s|%(bytes)s"
    "|%(process)s|%({x-mine}i)s|%({content-type}o)s|%({x-none}i)s|%({x-none}o)s|100%%"
)


def line_after(server: Server, target: str, *fields: str, method: str = "GET") -> tuple[str, int]:
    """The access line of one request, and the client's port."""
    since = server.stdout.count()
    with server.connect() as wire:
        wire.send_request(method, target, *fields)
        wire.response(method=method)
        port: int = wire.socket.getsockname()[1]
        return server.stdout.wait_for(".", since=since), port


@pytest.fixture(scope="module", params=[{}, FILTERED], ids=["plain", "filtered"])
def formatted_http1(request: pytest.FixtureRequest, start_module: Start) -> Server:
    """Written natively, and through records: the lines are the same."""
    return start_module(
        "support.apps:app", "--access-log-format", FORMAT, environment=request.param
    )


@pytest.fixture(scope="module", params=["http1", "http2"])
def formatted(request: pytest.FixtureRequest, formatted_http1: Server) -> Iterator[Server]:
    with speaking(formatted_http1, request.param) as spoken:
        yield spoken


@pytest.fixture(scope="module", params=[{}, FILTERED], ids=["plain", "filtered"])
def as_json(request: pytest.FixtureRequest, start_module: Start) -> Server:
    return start_module("support.apps:app", "--log-json", environment=request.param)


def test_line_tells_every_field(formatted: Server, key: str) -> None:
    headers = [(b"content-type", b"text/x"), (b"content-length", b"7")]
    target = script(key, ("send", start_message(200, *headers)), ("send", body_message(b"1234567")))
    path = target.partition("?")[0]
    line, port = line_after(formatted, target, "X-Mine: a b")
    values = line.split("|")
    query = values[5]
    assert values == [
        f"127.0.0.1:{port}",
        "127.0.0.1",
        str(port),
        "GET",
        path,
        query,
        f"{path}?{query}" if query != "-" else path,
        f"HTTP/{formatted.http_version}",
        formatted.http_version,
        f"GET {values[6]} HTTP/{formatted.http_version}",
        "http",
        "200",
        "200 OK",
        "7",
        str(formatted.pid),
        "a b",
        "text/x",
        "-",
        "-",
        "100%",
    ]


def test_header_cannot_leave_its_place(formatted: Server) -> None:
    line, _ = line_after(formatted, "/", 'X-Mine: a" 200 "\\x\x9b\xe9\t')
    assert line.split("|")[15] == r"a\x22 200 \x22\x5cx\x9b\xe9"
    assert re.fullmatch(r"[\x20-\x7e]*", line)


@pytest.mark.parametrize(
    ("target", "method", "count"),
    [("/large/1000/100", "GET", "1000"), ("/large/1000/100", "HEAD", "0")],
)
def test_bytes_are_those_of_the_body(
    formatted: Server, target: str, method: str, count: str
) -> None:
    line, _ = line_after(formatted, target, method=method)
    assert line.split("|")[13] == count


def test_exception_is_logged_as_500(formatted: Server, key: str) -> None:
    line, _ = line_after(formatted, script(key, ("raise", "x")))
    assert line.split("|")[11:14] == ["500", "500 Internal Server Error", "21"]


def test_line_is_written_when_the_response_ends(formatted: Server, key: str) -> None:
    since = formatted.stdout.count()
    chunk = body_message(b"12", more_body=True)
    target = script(
        key, ("send", start_message()), ("send", chunk), ("gate", key), ("send", body_message(b"3"))
    )
    with formatted.connect() as wire:
        wire.send_request("GET", target)
        line_after(formatted, "/echo")
        assert not [line for line in formatted.stdout.all(since) if key in line]
        open_gate(formatted, key)
        wire.response()
    line = formatted.stdout.wait_for(f"/script/{key}", since=since)
    assert line.split("|")[13] == "3"


def test_response_that_is_cut_is_logged(formatted: Server, key: str) -> None:
    since = formatted.stdout.count()
    chunk = body_message(b"12", more_body=True)
    target = script(key, ("send", start_message()), ("send", chunk), ("gate", key))
    with formatted.connect() as wire:
        wire.send_request("GET", target)
        wire.read_until(b"12")
    # The application ends without having completed its response.
    open_gate(formatted, key)
    line = formatted.stdout.wait_for(f"/script/{key}", since=since)
    assert line.split("|")[11:14] == ["200", "200 OK", "2"]


def test_duration_is_that_of_the_response(start: Start, key: str) -> None:
    server = start(
        "support.apps:app", "--access-log-format", "%(duration)s %(duration_ms)s %(D)s %(path)s"
    )
    line, _ = line_after(server, f"/delay/150/{key}")
    seconds, milliseconds, microseconds, _ = line.split()
    assert re.fullmatch(r"0\.\d{6}", seconds)
    assert re.fullmatch(r"\d+\.\d{3}", milliseconds)
    assert 0.14 <= float(seconds) < 5
    assert int(microseconds) == round(float(milliseconds) * 1000) == round(float(seconds) * 1e6)


def test_gunicorn_letters_are_known(start: Start) -> None:
    format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    server = start("support.apps:app", "--access-log-format", format)
    line, _ = line_after(server, "/?a=b", "User-Agent: me/1.0")
    assert re.fullmatch(
        r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
        r'"GET /\?a=b HTTP/1\.1" 200 5 "-" "me/1\.0"',
        line,
    )


def test_refusal_for_concurrency_is_logged(start: Start) -> None:
    server = start(
        "support.apps:app",
        *("--limit-concurrency", "1", "--access-log-format", "%(status)s %(bytes)s"),
    )
    line, _ = line_after(server, "/")
    assert line == "503 19"


def test_record_carries_line_bytes_and_duration() -> None:
    caught: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = caught.append  # type: ignore[method-assign]
    logger = logging.Logger("pronghorn.access")
    logger.addHandler(handler)
    log = AccessLog(logger, "%(status)s", is_json=False)
    assert log.template == [("status", b"")]
    assert not log.is_plain()
    scope: Any = {"client": ("::1", 5), "method": "GET", "path": "/", "http_version": "1.1"}
    log.record_line(scope, 200, b"the line", 7, 0.25)
    [record] = caught
    assert record.args == ("::1:5", "GET", "/", "1.1", 200)
    told = record.__dict__
    assert (told["access_line"], told["response_bytes"], told["duration"]) == ("the line", 7, 0.25)
    for formatter in (AccessFormatter(use_colors=True), JSONFormatter()):
        assert formatter.format(record) == "the line"


def test_json_object_tells_the_usual_members(as_json: Server, key: str) -> None:
    line, port = line_after(as_json, f"/delay/0/{key}?a=b")
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert 0 <= told.pop("duration") < 5
    assert told == {
        "level": "INFO",
        "logger": "pronghorn.access",
        "client_addr": f"127.0.0.1:{port}",
        "method": "GET",
        "full_path": f"/delay/0/{key}?a=b",
        "http_version": "1.1",
        "status": 200,
        "bytes": told["bytes"],
    }


def test_json_of_the_other_log_is_one_object_a_line(as_json: Server, key: str) -> None:
    since = as_json.stderr.count()
    line_after(as_json, script(key, ("raise", 'x"\x1b[31m\n')))
    told = json.loads(as_json.stderr.wait_for("Exception in ASGI", since=since))
    assert (told["level"], told["logger"]) == ("ERROR", "pronghorn.error")
    assert told["message"] == "Exception in ASGI application\n"
    assert "Traceback" in told["exception"]
    for line in as_json.stderr.all():
        assert set(json.loads(line)) >= {"time", "level", "logger", "message"}


def test_json_follows_the_format(start: Start) -> None:
    server = start(
        "support.apps:app",
        *("--log-json", "--access-log-format", "%(method)s %({x-mine}i)s %({x-none}i)s %(s)s"),
    )
    line, _ = line_after(server, "/", 'X-Mine: a"\\\t\x9b')
    told = json.loads(line)
    assert list(told) == ["time", "level", "logger", "method", "x-mine", "x-none", "s"]
    assert (told["method"], told["x-mine"], told["x-none"], told["s"]) == (
        "GET",
        'a"\\\t\x9b',
        None,
        200,
    )


def test_json_wins_over_the_formatters_of_a_uvicorn_configuration(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "log.json"
    handler = {"class": "logging.StreamHandler", "formatter": "d", "stream": "ext://sys.stderr"}
    configuration: dict[str, Any] = {
        "version": 1,
        "formatters": {"d": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(message)s"}},
        "handlers": {"h": handler},
        "loggers": {"uvicorn": {"handlers": ["h"], "level": "INFO"}},
    }
    path.write_text(json.dumps(configuration))
    server = start("support.apps:app", "--log-json", "--log-config", str(path))
    server.signal(signal.SIGINT)
    server.wait()
    messages = [json.loads(line)["message"] for line in server.stderr.all()]
    assert messages[-1].startswith("Finished server process")


@pytest.mark.parametrize("name", [*FIELDS, *GUNICORN_FIELDS, "levelprefix", "{a}i", "{a-b}o"])
def test_field_is_known(name: str) -> None:
    assert format_complaint(f"%({name})s") is None


@pytest.mark.parametrize(
    ("format", "complaint"),
    [
        ("%(nonsense)s", "has an unknown field, `nonsense`; there are client_addr,"),
        ("%({a b}i)s", "has an unknown field, `{a b}i`"),
        ("%({a}x)s", "has an unknown field"),
        ("%(method)", "needs fields of the form `%(name)s`, or `%%`, at character 9"),
        ("%(method)x", "needs fields of the form"),
        ("5% of it", "needs fields of the form `%(name)s`, or `%%`, at character 2"),
        ("a\nb", "must be printable ASCII on one line"),
        ("caf\xe9", "must be printable ASCII on one line"),
    ],
)
def test_format_that_is_none_is_refused(format: str, complaint: str) -> None:
    assert (format_complaint(format) or "").startswith(complaint)


def test_text_stays_as_it_is() -> None:
    assert line_pieces('a %% "b"\t%(levelprefix)s.') == [
        ("literal", b"a "),
        ("literal", b"%"),
        ("literal", b' "b"\t'),
        ("literal", b"INFO:    "),
        ("literal", b"."),
    ]
