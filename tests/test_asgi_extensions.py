"""The extensions of ASGI: files by path and by descriptor, trailers; early hints of Starlette."""

from __future__ import annotations

import os
import random
import signal
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from support.endpoints_files import zero_copy
from support.endpoints_script import body_message, script, start_message
from support.remote import literal, records, wait_for_record
from support.server import Server, serve
from support.wire import ClosedError, TruncatedError, Wire, request

pytestmark = pytest.mark.strict

CONTENT = bytes(range(256)) * 40
MEGABYTE = 1 << 20


@pytest.fixture
def server(every_version: Server) -> Server:
    return every_version


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than any buffer on the way holds."""
    path = tmp_path / "large"
    with path.open("wb") as out:
        for number in range(24):
            out.write(number.to_bytes(4) * (MEGABYTE // 4))
    return path


def pathsend(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def sending(key: str, *messages: dict[str, Any]) -> str:
    return script(key, *[("send", message) for message in messages])


def last(server: Server, key: str) -> Any:
    return wait_for_record(server, key, records(server, key)[-1])[-1]


# --- The scope ---------------------------------------------------------------------------------


def test_extensions_are_advertised_to_each_request_anew(server: Server) -> None:
    expected = {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.trailers": {},
        "http.response.early_hint": {},
    }
    assert literal(server, "/spoil-extensions") == expected
    assert literal(server, "/spoil-extensions") == expected


# --- pathsend ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 1000, len(CONTENT)])
@pytest.mark.parametrize("declared", [True, False])
def test_file_is_sent_by_its_path(
    server: Server, key: str, file: Path, length: int, declared: bool
) -> None:
    file.write_bytes(CONTENT[:length])
    headers = [(b"content-length", str(length).encode())] if declared else []
    with server.connect() as wire:
        wire.send_request("GET", sending(key, start_message(200, *headers), pathsend(file)))
        response = wire.response()
        assert response.body == CONTENT[:length]
        assert response.header(b"content-length") == str(length).encode()
        wire.assert_open()
    assert records(server, key)[-1] == ("finished",)


def test_large_file_arrives_whole(server: Server, key: str, large: Path) -> None:
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    with server.connect() as wire:
        for _ in range(3):
            wire.send_request("GET", sending(key, start_message(), pathsend(large)))
            assert wire.response().body == large.read_bytes()
        wire.assert_open()
    server.barrier()
    assert len(os.listdir(f"/proc/{server.pid}/fd")) <= before + 1


def test_file_in_http_10_ends_the_connection(shared_server: Server, key: str, file: Path) -> None:
    with shared_server.connect() as wire:
        target = sending(key, start_message(), pathsend(file))
        wire.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        response = wire.response()
        assert response.body == CONTENT
        assert response.closes
        wire.assert_given_up()


def test_head_of_a_file_has_its_length_and_no_body(server: Server, key: str, file: Path) -> None:
    length = (b"content-length", str(len(CONTENT)).encode())
    with server.connect() as wire:
        wire.send_request("HEAD", sending(key, start_message(200, length), pathsend(file)))
        response = wire.response("HEAD")
        assert response.header(b"content-length") == length[1]
        wire.assert_open()


def test_pipelined_files_come_in_order(
    shared_server: Server, key: str, file: Path, large: Path
) -> None:
    with shared_server.connect() as wire:
        targets = [
            sending(key, start_message(), pathsend(file)),
            "/",
            sending(key, start_message(), pathsend(large)),
            sending(key, start_message(), pathsend(file)),
            "/",
        ]
        wire.send(b"".join(request("GET", target) for target in targets))
        bodies = [wire.response().body for _ in targets]
    assert bodies == [CONTENT, b"hello", large.read_bytes(), CONTENT, b"hello"]


def test_client_that_pipelines_and_does_not_read_gets_no_more_than_it_takes(
    shared_server: Server, key: str, large: Path
) -> None:
    target = sending(key, start_message(), pathsend(large))
    before = shared_server.descriptor_count()
    with Wire(shared_server.address, receive_buffer_bytes=4096) as wire:
        wire.send(request("GET", target) * 100)
        wait_for_record(shared_server, key, ("finished",))
        shared_server.barrier()
        assert records(shared_server, key).count(("finished",)) == 1
        assert shared_server.descriptor_count() <= before + 4
        wire.head()
        wire.read(24 * MEGABYTE)
        wire.head()


@pytest.mark.parametrize("path", ["a file", "./a", "../etc/passwd", ""])
def test_path_must_be_absolute(server: Server, key: str, path: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(path)))
        wire.assert_given_up()
    assert last(server, key) == (
        "raised",
        "RuntimeError",
        f"`http.response.pathsend` needs an absolute path, not `{path}`.",
    )


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("missing", "FileNotFoundError"),
        ("", "IsADirectoryError"),
        ("pipe", "OSError"),
        ("secret", "PermissionError"),
        ("a\0b", "ValueError"),
    ],
)
def test_file_that_cannot_be_sent_raises_in_the_application(
    server: Server, key: str, tmp_path: Path, path: str, error: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "secret").touch(mode=0)
    if path == "secret" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    with server.connect() as wire:
        target = sending(key, start_message(), pathsend(f"{tmp_path}/{path}"))
        wire.send_request("GET", target)
        wire.assert_given_up()
    raised = last(server, key)
    assert raised[:2] == ("raised", error)
    assert path == "a\0b" or str(tmp_path) in raised[2]


def test_application_may_answer_when_there_is_no_such_file(server: Server, key: str) -> None:
    steps = [
        ("send", start_message()),
        ("try", pathsend("/no/such/file")),
        ("send", body_message(b"sorry")),
    ]
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        assert wire.response().body == b"sorry"


@pytest.mark.parametrize(("declared", "text"), [(5, "longer"), (20_000, "shorter")])
def test_file_of_another_length_than_declared_is_an_error(
    server: Server, key: str, file: Path, declared: int, text: str
) -> None:
    length = (b"content-length", str(declared).encode())
    with server.connect() as wire:
        wire.send_request("GET", sending(key, start_message(200, length), pathsend(file)))
        with pytest.raises((ClosedError, TruncatedError)):
            wire.response()
    raised = ("raised", "RuntimeError", f"Response content {text} than Content-Length")
    assert last(server, key) == raised


def test_file_that_shrinks_cuts_the_response(shared_server: Server, key: str, large: Path) -> None:
    with Wire(shared_server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(large)))
        wire.head()
        wire.read(1000)
        os.truncate(large, 2 * MEGABYTE)
        with pytest.raises(TruncatedError):
            wire.read(24 * MEGABYTE)
    shared_server.barrier()


def test_file_that_is_removed_is_still_sent(shared_server: Server, key: str, large: Path) -> None:
    content = large.read_bytes()
    with Wire(shared_server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(large)))
        wire.head()
        large.unlink()
        assert wire.read(len(content)) == content
        wire.assert_open()


def test_client_that_leaves_in_the_middle_frees_the_file(
    shared_server: Server, key: str, large: Path
) -> None:
    with shared_server.connect() as wire:
        wire.assert_open()
    before = shared_server.descriptor_count()
    for _ in range(5):
        with Wire(shared_server.address, receive_buffer_bytes=4096) as wire:
            wire.send_request("GET", sending(key, start_message(), pathsend(large)))
            wire.head()
            wire.read(10_000)
            wire.reset()
    shared_server.barrier()
    assert shared_server.descriptor_count() <= before + 1


def test_large_file_leaves_others_their_turn(shared_server: Server, key: str, large: Path) -> None:
    with Wire(shared_server.address, receive_buffer_bytes=8 << 20) as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(large)))
        wire.head()
        for _ in range(24):
            wire.read(MEGABYTE // 2)
            assert shared_server.get("/") == b"hello"


def holds_open(server: Server, path: Path) -> bool:
    descriptors = Path(f"/proc/{server.pid}/fd")
    return any(os.path.realpath(each) == str(path) for each in descriptors.iterdir())


def test_write_timeout_holds_for_files(start: Start, key: str, large: Path) -> None:
    server = start("support.apps:app", "--timeout-write", "0.5")
    with Wire(server.address, receive_buffer_bytes=4096) as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(large)))
        wire.head()
        began = time.monotonic()
        assert holds_open(server, large)
        while holds_open(server, large):
            assert time.monotonic() - began < 5
            time.sleep(0.02)
        with pytest.raises(TruncatedError):
            wire.read(24 * MEGABYTE)
        assert wire.was_reset


def test_graceful_shutdown_finishes_a_file(start: Start, key: str, large: Path) -> None:
    server = start("support.apps:app")
    with Wire(server.address, receive_buffer_bytes=65536) as wire:
        wire.send_request("GET", sending(key, start_message(), pathsend(large)))
        wire.head()
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("Shutting down")
        assert len(wire.read(24 * MEGABYTE)) == 24 * MEGABYTE
        assert server.wait() == -signal.SIGTERM


@pytest.fixture(scope="module")
def starlette_files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("files") / "file.txt"
    path.write_bytes(CONTENT)
    with serve("support.file_app:app", environment={"TEST_FILE": str(path)}) as server:
        yield server


@pytest.mark.parametrize("target", ["/file", "/middleware/file", "/static/file.txt"])
def test_starlette_sends_files_by_path_unmodified(starlette_files: Server, target: str) -> None:
    with starlette_files.connect() as wire:
        wire.send_request("GET", target)
        response = wire.response()
        assert response.body == CONTENT
        assert response.header(b"content-type") == b"text/plain; charset=utf-8"
        assert literal(starlette_files, "/messages")[-1] == "http.response.pathsend"
        wire.send_request("GET", target, "Range: bytes=5-9")
        response = wire.response()
        assert (response.status, response.body) == (206, CONTENT[5:10])
        wire.send_request("HEAD", target)
        assert wire.response("HEAD").header(b"content-length") == str(len(CONTENT)).encode()
        wire.send_request("GET", "/messages")
        assert wire.response().status == 200


# --- zerocopysend ------------------------------------------------------------------------------

LENGTH = {"headers": [(b"content-length", str(len(CONTENT)).encode())]}


def zero_copied(server: Server, target: str) -> bytes:
    with server.connect() as wire:
        wire.send_request("GET", target)
        body = wire.response().body
        wire.assert_open()
    return body


@pytest.mark.parametrize("by", ["object", "number"])
def test_file_is_sent_by_its_descriptor(server: Server, key: str, file: Path, by: str) -> None:
    assert zero_copied(server, zero_copy(key, file, {}, by=by, **LENGTH)) == CONTENT
    assert records(server, key) == [len(CONTENT)]


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, 5, CONTENT[:5]),
        (250, 20, CONTENT[250:270]),
        (10_000, None, CONTENT[10_000:]),
        (10_000, 10**18, CONTENT[10_000:]),
        (len(CONTENT), None, b""),
        (10**18, 5, b""),
        (3, 0, b""),
    ],
)
def test_offset_and_count_choose_a_part_and_leave_the_position(
    server: Server, key: str, file: Path, offset: int, count: int | None, expected: bytes
) -> None:
    step = {"offset": offset} if count is None else {"offset": offset, "count": count}
    assert zero_copied(server, zero_copy(key, file, step)) == expected
    assert records(server, key) == [0]


@pytest.mark.parametrize("by", ["object", "number", "buffered"])
def test_without_an_offset_the_position_counts_and_moves(
    server: Server, key: str, file: Path, by: str
) -> None:
    steps = [{"count": 10, "more_body": True}, {"count": 5, "more_body": True}, {}]
    first = 1 if by == "buffered" else 0
    assert zero_copied(server, zero_copy(key, file, *steps, by=by)) == CONTENT[first:]
    assert records(server, key) == [first + 10, first + 15, len(CONTENT)]


def test_parts_of_files_mix_with_pieces(server: Server, key: str, file: Path) -> None:
    steps = [
        b"<",
        {"offset": 10, "count": 5, "more_body": True},
        b"|",
        b"|",
        {"offset": 0, "count": 3, "more_body": True},
        {"offset": 7, "count": 3},
    ]
    expected = b"<" + CONTENT[10:15] + b"||" + CONTENT[:3] + CONTENT[7:10]
    assert zero_copied(server, zero_copy(key, file, *steps)) == expected
    length = {"headers": [(b"content-length", str(len(expected)).encode())]}
    assert zero_copied(server, zero_copy(key, file, *steps, **length)) == expected


@pytest.mark.parametrize("seed", range(6))
def test_pieces_and_parts_of_all_sizes_stay_in_order(
    every_transport: Server, key: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    content = chance.randbytes(MEGABYTE)
    path = tmp_path / "random"
    path.write_bytes(content)
    # Around what is copied, a frame, a record of TLS, and what of these is encrypted at once.
    sizes = [1, 9, 4095, 4097, 16_383, 16_384, 16_385, 40_000, 131_072, 131_073, 300_000]
    steps: list[bytes | int | dict[str, object]] = []
    expected = b""
    for size in chance.choices(sizes, k=30):
        if chance.random() < 0.5:
            steps.append(size)
            expected += b"x" * size
        else:
            offset = chance.randrange(MEGABYTE - size)
            steps.append({"offset": offset, "count": size, "more_body": True})
            expected += content[offset : offset + size]
    answer = zero_copied(every_transport, zero_copy(key, path, *steps, {"count": 0}))
    assert answer == expected


def test_file_stays_behind_any_number_of_pieces(server: Server, file: Path) -> None:
    # What is in front of it goes to the kernel in calls of so many pieces at the most. Whether such
    # a call ends in front of the file depends on what the kernel has taken before.
    for size in range(2_000_000, 4_000_000, 50_000):
        with Wire(server.address, server.client_context) as wire:
            wire.send_request("GET", f"/file-behind/{size}?{urllib.parse.quote(str(file))}")
            assert wire.response().body == b"x" * (size + 31 * 5000) + CONTENT


def test_descriptor_may_be_closed_at_once(server: Server, key: str, large: Path) -> None:
    assert zero_copied(server, zero_copy(key, large, {})) == large.read_bytes()
    steps = [{"offset": 0, "more_body": True}, {"offset": MEGABYTE}]
    expected = large.read_bytes()
    assert zero_copied(server, zero_copy(key, large, *steps)) == expected + expected[MEGABYTE:]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"file": 10**6}, "OSError"),
        ({"file": -1}, "ValueError"),
        ({"file": "name"}, "TypeError"),
        ({"offset": -1}, "OverflowError"),
        ({"count": -1}, "OverflowError"),
        ({"offset": "1"}, "TypeError"),
        ({"file": None}, "TypeError"),
    ],
)
def test_wrong_entries_raise_in_the_application(
    server: Server, key: str, file: Path, entries: dict[str, Any], error: str
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", zero_copy(key, file, entries))
        wire.assert_given_up()
    assert records(server, key)[0][0] == error


def test_descriptor_of_something_else_than_a_file_is_refused(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", zero_copy(key, "/dev/zero", {}))
        wire.assert_given_up()
    text = "`http.response.zerocopysend` needs the descriptor of a regular file."
    assert records(server, key) == [("RuntimeError", text)]


# --- Trailers ----------------------------------------------------------------------------------


def trailers(*headers: tuple[bytes, bytes], more: bool = False) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "http.response.trailers", "headers": list(headers)}
    return {**message, "more_trailers": True} if more else message


TRAILING = {**start_message(), "trailers": True}


@pytest.mark.parametrize("asks", [True, False])
def test_trailers_reach_clients_that_ask_for_them(
    shared_server: Server, key: str, asks: bool
) -> None:
    messages = [
        TRAILING,
        body_message(b"a", True),
        body_message(b"bc"),
        trailers((b"x-a", b"1"), more=True),
        trailers((b"x-b", b"2")),
    ]
    with shared_server.connect() as wire:
        wire.send_request("GET", sending(key, *messages), *(["TE: trailers"] if asks else []))
        assert wire.head().header(b"transfer-encoding") == b"chunked"
        fields = b"x-a: 1\r\nx-b: 2\r\n" if asks else b""
        expected = b"1\r\na\r\n2\r\nbc\r\n0\r\n" + fields + b"\r\n"
        assert wire.read(len(expected)) == expected
        wire.assert_open()
    assert records(shared_server, key)[-1] == ("finished",)


def test_trailers_may_follow_a_file(shared_server: Server, key: str, file: Path) -> None:
    with shared_server.connect() as wire:
        target = sending(key, TRAILING, pathsend(file), trailers((b"x-a", b"1")))
        wire.send_request("GET", target, "TE: trailers")
        wire.head()
        size = b"%x\r\n" % len(CONTENT)
        expected = size + CONTENT + b"\r\n0\r\nx-a: 1\r\n\r\n"
        assert wire.read(len(expected)) == expected
        wire.assert_open()


def test_announced_trailers_that_never_come_cut_the_response(
    shared_server: Server, key: str
) -> None:
    with shared_server.connect() as wire:
        wire.send_request("GET", sending(key, TRAILING, body_message(b"a")), "TE: trailers")
        wire.head()
        assert wire.read_all() == b"1\r\na\r\n"
    shared_server.stderr.wait_for("ASGI callable returned without completing response.")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ((b"content-length", b"1"), "HTTP header not allowed in trailers."),
        ((b"x-a", b"1\r\nx-b: 2"), "Invalid HTTP header value."),
        ((b"x a", b"1"), "Invalid HTTP header name."),
    ],
)
def test_wrong_trailers_raise_and_cut_the_response(
    server: Server, key: str, header: tuple[bytes, bytes], text: str
) -> None:
    target = sending(key, TRAILING, body_message(b"a"), trailers(header))
    with server.connect() as wire:
        wire.send_request("GET", target, "TE: trailers")
        with pytest.raises((ClosedError, TruncatedError)):
            wire.response()
    assert last(server, key) == ("raised", "RuntimeError", text)


def test_starlette_sends_early_hints(starlette_files: Server) -> None:
    with starlette_files.connect() as wire:
        wire.send_request("GET", "/hints")
        response = wire.response()
        assert (response.interim, response.body) == ((103,), b"hinted")
