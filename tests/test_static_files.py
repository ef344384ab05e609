"""`--static`: files that the engine serves by itself, and everything that it must not serve."""

from __future__ import annotations

import gzip
import os
import re
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest
from conftest import Start, speaking
from support.frames import handshake
from support.server import Server, serve
from support.wire import Response, TruncatedError, Wire, request

pytestmark = pytest.mark.strict

SMALL = bytes(range(256)) * 4
LARGE = b"".join(number.to_bytes(4) for number in range(500_000))
PAGE = b"<!doctype html><title>index</title>"
SCRIPT = b"console.log('hello')\n" * 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("top")
    (top / "secret.txt").write_bytes(b"secret")
    folder = top / "public"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".well-known").mkdir()
    files = {
        "small.bin": SMALL,
        "large.bin": LARGE,
        "empty.txt": b"",
        "a b.txt": b"space",
        "caf\u00e9.txt": b"accent",
        "100%.txt": b"percent",
        "index.html": PAGE,
        "sub/index.html": PAGE * 2,
        "sub/a.CSS": b"a {}",
        "noending": b"?",
        ".env": b"secret",
        ".git/config": b"secret",
        ".well-known/security.txt": b"public",
        "script.js": SCRIPT,
        "script.js.gz": gzip.compress(SCRIPT),
        "script.js.br": b"not really brotli, but nobody here looks",
        "only.txt": SCRIPT,
        "only.txt.gz": gzip.compress(SCRIPT),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "inside").symlink_to("sub")
    (folder / "inside.bin").symlink_to("small.bin")
    (folder / "outside.txt").symlink_to("../secret.txt")
    (folder / "absolute.txt").symlink_to(top / "secret.txt")
    (folder / "above").symlink_to("..")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def static_http1(folder: Path) -> Iterator[Server]:
    with serve("support.apps:app", "--static", f"/files={folder}") as server:
        yield server


@pytest.fixture(scope="module", params=["http1", "http2"])
def static(request: pytest.FixtureRequest, static_http1: Server) -> Iterator[Server]:
    with speaking(static_http1, request.param) as spoken:
        yield spoken


def test_files_are_served_behind_a_readiness_path(start: Start, folder: Path) -> None:
    options = ("--readiness-path", "/ready", "--static", f"/files={folder}")
    server = start("support.apps:app", *options)
    assert server.get("/files/small.bin") == SMALL


def ask(server: Server, target: str, *fields: str, method: str = "GET") -> Response:
    with server.connect() as wire:
        wire.send_request(method, target, *fields)
        return wire.response(method)


# --- What is served ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("small.bin", SMALL, b"application/octet-stream"),
        ("large.bin", LARGE, b"application/octet-stream"),
        ("empty.txt", b"", b"text/plain; charset=utf-8"),
        ("a%20b.txt", b"space", b"text/plain; charset=utf-8"),
        ("caf%C3%A9.txt", b"accent", b"text/plain; charset=utf-8"),
        ("100%25.txt", b"percent", b"text/plain; charset=utf-8"),
        ("", PAGE, b"text/html; charset=utf-8"),
        ("index.html", PAGE, b"text/html; charset=utf-8"),
        ("sub/", PAGE * 2, b"text/html; charset=utf-8"),
        ("sub/a.CSS", b"a {}", b"text/css; charset=utf-8"),
        ("script.js", SCRIPT, b"text/javascript; charset=utf-8"),
        ("noending", b"?", b"application/octet-stream"),
        (".well-known/security.txt", b"public", b"text/plain; charset=utf-8"),
        ("inside.bin", SMALL, b"application/octet-stream"),
        ("inside/a.CSS", b"a {}", b"text/css; charset=utf-8"),
        ("small.bin?query=1", SMALL, b"application/octet-stream"),
        ("%73mall.bin", SMALL, b"application/octet-stream"),
    ],
)
def test_file_is_served(static: Server, target: str, body: bytes, content_type: bytes) -> None:
    for _ in range(2):  # from the disk, then from the cache
        response = ask(static, f"/files/{target}")
        assert response.status == 200
        assert response.body == body
        assert response.header(b"content-type") == content_type
        assert response.header(b"content-length") == str(len(body)).encode()
        assert response.header(b"accept-ranges") == b"bytes"
        assert response.header(b"date")
        assert response.header(b"server") == b"pronghorn"
    head = ask(static, f"/files/{target}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    names = [name for name, _ in response.headers]
    assert [name for name, _ in head.headers] == names
    assert head.header(b"etag") == response.header(b"etag")


@pytest.mark.parametrize(("target", "status"), [("small.bin", 200), ("sub", 301), ("none", 404)])
def test_bytes_behind_an_upgrade_are_not_a_request(
    static_http1: Server, target: str, status: int
) -> None:
    with static_http1.connect() as wire:
        wire.send(handshake(f"/files/{target}") + request("GET", "/files/empty.txt"))
        response = wire.response()
        assert (response.status, response.closes) == (status, True)
        wire.assert_closed()


def test_application_gets_everything_else(static: Server) -> None:
    assert static.get("/") == b"hello"
    for target in ("/filesystem", "/file", "/Files/small.bin", "/x/files/small.bin", "/%66iles/"):
        assert ask(static, target).body == b"no such endpoint"


def test_connection_is_kept_and_pipelined(static_http1: Server) -> None:
    targets = ["/files/small.bin", "/", "/files/large.bin", "/files/none", "/files/empty.txt", "/"]
    with static_http1.connect() as wire:
        wire.send(b"".join(request("GET", target) for target in targets))
        bodies = [wire.response().body for _ in targets]
        wire.assert_open()
    assert bodies == [SMALL, b"hello", LARGE, b"Not Found", b"", b"hello"]


def test_http_10_is_served_and_closed(static_http1: Server) -> None:
    with static_http1.connect() as wire:
        wire.send(b"GET /files/small.bin HTTP/1.0\r\n\r\n")
        response = wire.response()
        assert (response.body, response.closes) == (SMALL, True)
        wire.assert_closed()


def test_application_never_sees_these_requests(static_http1: Server) -> None:
    since = static_http1.stdout.count()
    ask(static_http1, "/files/small.bin?a=%22", "X-Forwarded-For: 1.2.3.4")
    static_http1.stdout.wait_for(
        r'1\.2\.3\.4:0 - "GET /files/small\.bin\?a=%22 HTTP/1\.1" 200 OK', since=since
    )
    ask(static_http1, "/files/none")
    static_http1.stdout.wait_for(r'"GET /files/none HTTP/1\.1" 404 Not Found', since=since)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"])
def test_other_methods_are_405(static: Server, method: str) -> None:
    for target in ("/files/small.bin", "/files/none", "/files"):
        response = ask(static, target, method=method)
        assert response.status == 405
        assert response.header(b"allow") == b"GET, HEAD"


def test_body_of_a_refused_request_is_not_taken_for_another(static: Server) -> None:
    with static.connect() as wire:
        wire.send_request("POST", "/files/small.bin", body=b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert wire.response().status == 405
        wire.assert_open()


# --- What is not -------------------------------------------------------------------------------

NOTHING = [
    "none",
    "sub/none",
    "sub/empty",
    "sub/empty/",
    "small.bin/",
    "small.bin/index.html",
    "pipe",
    "loop",
    "%00",
    "small.bin%00",
    "small.bin%00.txt",
    "small.bin%0a",
    "a" * 5000,
    "%",
    "%zz",
    # Hidden.
    ".env",
    ".git/config",
    ".git/",
    "sub/.well-known/x",
    "%2eenv",
    # Out of the folder.
    "..",
    "../",
    "../secret.txt",
    "%2e%2e/secret.txt",
    "%2E%2E%2Fsecret.txt",
    "..%2fsecret.txt",
    ".%2e/secret.txt",
    "sub/../../secret.txt",
    "sub/%2e%2e/%2e%2e/secret.txt",
    "sub/../small.bin",
    "./small.bin",
    "..\\secret.txt",
    "..%5csecret.txt",
    "%5c..%5csecret.txt",
    "sub\\..\\..\\secret.txt",
    "%252e%252e/secret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "....//secret.txt",
    "/secret.txt",
    "//secret.txt",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "sub//a.CSS",
    "//localhost/small.bin",
    "C:/small.bin",
    "C:%5csmall.bin",
    "file:///etc/passwd",
    "small.bin::$DATA",
    "small.bin.",
    "SMALL~1.BIN",
    # Links that lead out.
    "outside.txt",
    "absolute.txt",
    "above/secret.txt",
    "above/public/small.bin",
]


@pytest.mark.parametrize("target", NOTHING)
def test_nothing_else_is_served(static: Server, target: str) -> None:
    response = ask(static, f"/files/{target}")
    assert (response.status, response.body) == (404, b"Not Found")
    assert b"secret" not in response.body


def test_absolute_form_is_served_like_others(static_http1: Server) -> None:
    assert ask(static_http1, f"{static_http1.url}/files/small.bin").body == SMALL
    assert ask(static_http1, f"{static_http1.url}/files/../secret.txt").status == 404


def test_directory_without_its_slash_is_redirected(static: Server) -> None:
    for target, location in [
        ("/files", b"/files/"),
        ("/files?a=b", b"/files/?a=b"),
        ("/files/sub", b"/files/sub/"),
        ("/files/inside?x", b"/files/inside/?x"),
        ("/files/%73ub", b"/files/%73ub/"),
    ]:
        response = ask(static, target)
        assert response.status == 301
        assert response.header(b"location") == location
        assert ask(static, location.decode()).status == 200


# --- Conditions --------------------------------------------------------------------------------


def test_client_is_told_that_it_has_the_file(static: Server) -> None:
    first = ask(static, "/files/small.bin")
    etag, modified = first.header(b"etag"), first.header(b"last-modified")
    assert etag is not None
    assert modified is not None
    assert re.fullmatch(rb'"[0-9a-f-]+"', etag)
    assert parsedate_to_datetime(modified.decode())
    for field in (f"If-None-Match: {etag.decode()}", f"If-Modified-Since: {modified.decode()}"):
        with static.connect() as wire:
            wire.send_request("GET", "/files/small.bin", field)
            response = wire.response()
            assert response.status == 304
            assert response.header(b"etag") == etag
            assert response.header(b"content-length") is None
            wire.assert_open()
    assert ask(static, "/files/small.bin", 'If-None-Match: "x"').status == 200
    assert ask(static, "/files/small.bin", 'If-Match: "x"').status == 412
    old = formatdate(0, usegmt=True)
    assert ask(static, "/files/small.bin", f"If-Unmodified-Since: {old}").status == 412


def test_parts_are_served(static: Server) -> None:
    for name, content in (("small.bin", SMALL), ("large.bin", LARGE)):
        size = len(content)
        for field, start, end in [
            ("0-0", 0, 1),
            ("5-9", 5, 10),
            ("-7", size - 7, size),
            (f"{size - 3}-", size - 3, size),
            ("10-99999999999", 10, size),
        ]:
            response = ask(static, f"/files/{name}", f"Range: bytes={field}")
            assert (response.status, response.body) == (206, content[start:end])
            expected = f"bytes {start}-{end - 1}/{size}".encode()
            assert response.header(b"content-range") == expected
        beyond = ask(static, f"/files/{name}", f"Range: bytes={len(content)}-")
        assert beyond.status == 416
        assert beyond.header(b"content-range") == f"bytes */{len(content)}".encode()
        head = ask(static, f"/files/{name}", "Range: bytes=0-0", method="HEAD")
        assert head.status == 200


def test_if_range_decides_between_part_and_whole(static: Server) -> None:
    etag = (ask(static, "/files/small.bin").header(b"etag") or b"").decode()
    for if_range, status in ((etag, 206), ('"x"', 200), (f"W/{etag}", 200)):
        fields = ("Range: bytes=0-4", f"If-Range: {if_range}")
        assert ask(static, "/files/small.bin", *fields).status == status


@pytest.mark.parametrize(("name", "content"), [("small.bin", SMALL), ("large.bin", LARGE)])
def test_several_parts_come_as_multipart(static: Server, name: str, content: bytes) -> None:
    response = ask(static, f"/files/{name}", "Range: bytes=100-199, 0-9, -5")
    assert response.status == 206
    content_type = response.header(b"content-type") or b""
    found = re.fullmatch(rb"multipart/byteranges; boundary=([0-9a-f]{32})", content_type)
    assert found
    expected = b""
    size = len(content)
    for start, end in ((100, 200), (0, 10), (size - 5, size)):
        expected += b"" if not expected else b"\r\n"
        expected += b"--%b\r\ncontent-type: application/octet-stream\r\n" % found[1]
        expected += b"content-range: bytes %d-%d/%d\r\n\r\n" % (start, end - 1, size)
        expected += content[start:end]
    assert response.body == expected + b"\r\n--%b--\r\n" % found[1]


def test_too_many_ranges_are_ignored_in_little_time(static: Server) -> None:
    many = ",".join(f"{number}-{number}" for number in range(10_000))
    began = time.monotonic()
    for field in (many[:60_000].rsplit(",", 1)[0], "0-,0-,0-", "0-" + ",0-" * 15_000):
        response = ask(static, "/files/small.bin", f"Range: bytes={field}")
        assert (response.status, response.body) == (200, SMALL)
    assert time.monotonic() - began < 5


# --- Encodings ---------------------------------------------------------------------------------


def test_precompressed_file_is_served_to_those_who_take_it(static: Server, folder: Path) -> None:
    brotli = (folder / "script.js.br").read_bytes()
    zipped = (folder / "script.js.gz").read_bytes()
    plain = ask(static, "/files/script.js")
    assert plain.body == SCRIPT
    assert plain.header(b"content-encoding") is None
    assert plain.header(b"vary") == b"accept-encoding"
    for field, coding, body in [
        ("gzip, deflate, br, zstd", b"br", brotli),
        ("gzip", b"gzip", zipped),
        ("br;q=0.5, gzip", b"gzip", zipped),
        ("identity", None, SCRIPT),
        ("gzip;q=0", None, SCRIPT),
    ]:
        response = ask(static, "/files/script.js", f"Accept-Encoding: {field}")
        assert response.header(b"content-encoding") == coding
        assert response.body == body
        assert response.header(b"content-type") == b"text/javascript; charset=utf-8"
        assert response.header(b"vary") == b"accept-encoding"
        assert (response.header(b"etag") == plain.header(b"etag")) == (coding is None)
    response = ask(static, "/files/only.txt", "Accept-Encoding: br, gzip")
    assert response.header(b"content-encoding") == b"gzip"
    assert gzip.decompress(response.body) == SCRIPT
    response = ask(static, "/files/small.bin", "Accept-Encoding: br, gzip")
    assert response.header(b"vary") is None
    not_modified = ask(
        static,
        "/files/script.js",
        f"If-None-Match: {(plain.header(b'etag') or b'').decode()}",
    )
    assert (not_modified.status, not_modified.header(b"vary")) == (304, b"accept-encoding")


# --- Changes -----------------------------------------------------------------------------------


def wait_for(server: Server, target: str, body: bytes | None) -> None:
    """Asks until the answer is this, `None` for a 404."""
    until = time.monotonic() + 5
    while True:
        response = ask(server, target)
        if response.status == (404 if body is None else 200) and response.body == (
            b"Not Found" if body is None else body
        ):
            return
        assert time.monotonic() < until, response
        time.sleep(0.05)


def test_changes_are_seen(start: Start, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("one")
    server = start("support.apps:app", "--static", f"/={current}")
    wait_for(server, "/a.txt", b"one")
    (tmp_path / "one" / "a.txt").write_text("changed")
    wait_for(server, "/a.txt", b"changed")
    before = ask(server, "/a.txt").header(b"etag")
    (tmp_path / "one" / "a.txt.gz").write_bytes(gzip.compress(b"changed"))
    wait_for(server, "/a.txt", b"changed")
    # A deployment moves a link.
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(current)
    wait_for(server, "/a.txt", b"two")
    assert ask(server, "/a.txt").header(b"etag") != before
    (tmp_path / "two" / "a.txt").unlink()
    wait_for(server, "/a.txt", None)
    (tmp_path / "two" / "a.txt").write_bytes(LARGE)
    wait_for(server, "/a.txt", LARGE)
    current.unlink()
    wait_for(server, "/a.txt", None)


def test_file_that_shrinks_cuts_the_response(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(LARGE * 8)
    server = start("support.apps:app", "--static", f"/files={tmp_path}")
    with Wire(server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", "/files/large")
        wire.head()
        os.truncate(file, 1_000_000)
        with pytest.raises(TruncatedError):
            wire.read(len(LARGE) * 8)


def test_many_files_do_not_use_up_descriptors(start: Start, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}").write_bytes(b"x" * 70_000)
    server = start("support.apps:app", "--static", f"/files={tmp_path}")
    with server.connect() as wire:
        for number in range(300):
            wire.send_request("GET", f"/files/{number}")
            assert len(wire.response().body) == 70_000
    assert server.descriptor_count() < 200


def test_clients_that_do_not_read_are_bounded(static_http1: Server) -> None:
    before = static_http1.descriptor_count()
    with Wire(static_http1.address, receive_buffer_bytes=4096) as wire:
        wire.send(request("GET", "/files/large.bin") * 500)
        static_http1.barrier()
        assert static_http1.descriptor_count() <= before + 4
        for _ in range(5):
            assert wire.response().body == LARGE


# --- Options -----------------------------------------------------------------------------------


def test_closest_route_wins_and_root_path_is_told(start: Start, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "index.html").write_text(name)
        (tmp_path / name / "x.txt").write_text(name)
    server = start(
        "support.apps:app",
        *("--static", f"/files={tmp_path}/a", "--static", f"/files/sub={tmp_path}/b"),
        *("--root-path", "/api"),
    )
    assert ask(server, "/files/x.txt").body == b"a"
    assert ask(server, "/files/sub/x.txt").body == b"b"
    assert ask(server, "/files/sub/sub").header(b"location") == b"/api/files/sub/sub/"
    assert ask(server, "/files/sub/").status == 404
    assert server.get("/") == b"hello"


def test_route_of_everything_leaves_nothing_to_the_application(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("page")
    server = start("support.apps:app", "--static", f"/={tmp_path}")
    assert ask(server, "/").body == b"page"
    assert ask(server, "/script/x").status == 404
    with server.connect() as wire:
        wire.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.response().body == b"no such endpoint"


def test_concurrency_limit_holds(start: Start, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    server = start("support.apps:app", "--static", f"/f={tmp_path}", "--limit-concurrency", "2")
    with socket.create_connection(server.address):
        until = time.monotonic() + 5
        while ask(server, "/f/a").status != 503:
            assert time.monotonic() < until
