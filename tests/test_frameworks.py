"""Starlette, FastAPI and Django applications, unmodified, asked by httpx, curl and raw bytes."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Start
from support.server import WAIT_S_MAX, Server, serve
from support.wire import TruncatedError

CONTENT = bytes(range(256)) * 1200


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`file.bin`, `static/` with a file to serve, and files beside it that nobody may see."""
    files = tmp_path_factory.mktemp("files")
    (files / "file.bin").write_bytes(CONTENT)
    (files / "secret.txt").write_text("secret")
    (files / "static").mkdir()
    (files / "static" / "open.txt").write_text("open")
    (files / "static" / "link.txt").symlink_to(files / "secret.txt")
    (files / "static-secret").mkdir()
    (files / "static-secret" / "secret.txt").write_text("secret")
    return files


@pytest.fixture(scope="module", params=["app", "with_middleware"])
def starlette(request: pytest.FixtureRequest, files: Path) -> Iterator[Server]:
    environment = {"TEST_FILES": str(files)}
    app = f"support.starlette_app:{request.param}"
    with serve(app, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def fastapi(start_module: Start) -> Server:
    return start_module("support.fastapi_app:app")


@pytest.fixture(scope="module")
def django(start_module: Start) -> Server:
    return start_module("support.django_app:app")


@pytest.fixture(params=["http1", "http2"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    versions = {"http1": request.param == "http1", "http2": request.param == "http2"}
    with httpx.Client(timeout=10, trust_env=False, **versions) as client:
        yield client


def wait_until_done(server: Server, name: str) -> list[str]:
    """What `/done` tells once `name` is in it."""
    until = time.monotonic() + WAIT_S_MAX
    while True:
        found: list[str] = json.loads(server.get("/done"))
        if name in found:
            return found
        assert time.monotonic() < until, f"no {name} in {found}"
        time.sleep(0.005)


# --- Starlette ---------------------------------------------------------------------------------


class TestStarlette:
    def test_lifespan_state_and_url_reach_the_endpoint(
        self, starlette: Server, client: httpx.Client
    ) -> None:
        answer = client.get(f"{starlette.url}/?a=b").json()
        assert answer == {"number": 7, "url": f"{starlette.url}/?a=b"}

    def test_bodies_come_back(self, starlette: Server, client: httpx.Client) -> None:
        for body in (b"", b"hello", CONTENT):
            assert client.post(f"{starlette.url}/echo", content=body).content == body

    def test_json_comes_back(self, starlette: Server, client: httpx.Client) -> None:
        value = {"a": [1, 2, {"é": None}]}
        assert client.post(f"{starlette.url}/echo-json", json=value).json() == value

    def test_streamed_body_comes_back(self, starlette: Server, client: httpx.Client) -> None:
        pieces = [b"a" * 70_000, b"b", b"c" * 200_000]
        answer = client.post(f"{starlette.url}/echo-stream", content=iter(pieces))
        assert answer.content == b"".join(pieces)

    def test_uploads_are_read(self, starlette: Server, client: httpx.Client) -> None:
        answer = client.post(
            f"{starlette.url}/upload",
            data={"name": "value"},
            files={"file": ("file.bin", b"x" * 3_000_000)},
        )
        assert answer.json() == {"name": "value", "file": 3_000_000}

    @pytest.mark.parametrize("path", ["count", "count-in-thread"])
    def test_responses_stream(self, starlette: Server, client: httpx.Client, path: str) -> None:
        answer = client.get(f"{starlette.url}/{path}/1000")
        assert answer.text.split() == [str(number) for number in range(1000)]

    def test_events_arrive_while_the_stream_goes_on(
        self, starlette: Server, client: httpx.Client, key: str
    ) -> None:
        with client.stream("GET", f"{starlette.url}/ticks/{key}") as answer:
            lines = answer.iter_lines()
            assert [next(lines) for _ in range(6)] == ["data: tick", ""] * 3
        # In HTTP/2, httpx does not say that it has lost interest in a stream before it leaves.
        client.close()
        wait_until_done(starlette, key)

    def test_endless_stream_stops_when_the_client_leaves(self, starlette: Server, key: str) -> None:
        for number in range(5):
            wire = starlette.connect()
            wire.send_request("GET", f"/ticks/{key}-{number}")
            wire.head()
            wire.read_until(b"tick")
            wire.close() if number % 2 else wire.reset()
        for number in range(5):
            wait_until_done(starlette, f"{key}-{number}")

    def test_is_disconnected_tells_when_the_client_leaves(
        self, starlette: Server, key: str
    ) -> None:
        if starlette.app.endswith("with_middleware"):
            pytest.skip("BaseHTTPMiddleware hides it, under any server")
        with starlette.connect() as wire:
            wire.send_request("GET", f"/wait-for-disconnect/{key}")
            wait_until_done(starlette, f"{key} waits")
        wait_until_done(starlette, key)

    def test_body_that_is_cut_raises_client_disconnect(self, starlette: Server, key: str) -> None:
        with starlette.connect() as wire:
            wire.send_request("POST", f"/read-after-disconnect/{key}", "Content-Length: 10")
            wire.send(b"hello")
        wait_until_done(starlette, key)

    def test_background_tasks_run_after_the_response(
        self, starlette: Server, client: httpx.Client, key: str
    ) -> None:
        assert client.get(f"{starlette.url}/background/{key}").text == "answered"
        done = wait_until_done(starlette, f"{key} 2")
        assert done.index(f"{key} 1") < done.index(f"{key} 2")

    def test_background_tasks_run_when_the_client_has_left(
        self, starlette: Server, key: str
    ) -> None:
        wire = starlette.connect()
        wire.send_request("GET", f"/background/{key}")
        wire.response()
        wire.reset()
        wait_until_done(starlette, f"{key} 2")

    def test_threads_answer(self, starlette: Server, client: httpx.Client) -> None:
        assert client.get(f"{starlette.url}/threadpool").text == "from a thread"
        assert client.get(f"{starlette.url}/synchronous").text == "synchronous"

    def test_exception_is_a_500_and_logged(self, starlette: Server, client: httpx.Client) -> None:
        since = starlette.stderr.count()
        assert client.get(f"{starlette.url}/fail").status_code == 500
        starlette.stderr.wait_for("ValueError: on purpose", since=since)
        assert "Exception in ASGI application" in starlette.stderr.text(since)

    def test_http_exception_keeps_its_headers(
        self, starlette: Server, client: httpx.Client
    ) -> None:
        answer = client.get(f"{starlette.url}/forbid")
        assert (answer.status_code, answer.text) == (403, "no entry")
        assert answer.headers["x-why"] == "because"

    def test_redirect_is_followed(self, starlette: Server, client: httpx.Client) -> None:
        answer = client.get(f"{starlette.url}/redirect", follow_redirects=True)
        assert answer.json()["number"] == 7

    def test_cookies_are_kept_apart(self, starlette: Server, client: httpx.Client) -> None:
        client.get(f"{starlette.url}/cookies")
        assert client.get(f"{starlette.url}/cookies").json() == {"a": "1", "b": "2"}

    def test_file_is_served(self, starlette: Server, client: httpx.Client) -> None:
        answer = client.get(f"{starlette.url}/file")
        assert answer.content == CONTENT
        head = client.head(f"{starlette.url}/file")
        assert head.content == b""
        assert head.headers["content-length"] == str(len(CONTENT))

    def test_part_of_a_file_is_served(self, starlette: Server, client: httpx.Client) -> None:
        answer = client.get(f"{starlette.url}/file", headers={"range": "bytes=10-19"})
        assert (answer.status_code, answer.content) == (206, CONTENT[10:20])

    def test_ten_thousand_ranges_take_no_longer_than_the_deadline(self, starlette: Server) -> None:
        ranges = ",".join(f"{number % 10}-" for number in range(10_000))
        with starlette.connect() as wire:
            wire.send_request("GET", "/file", f"Range: bytes={ranges}")
            assert wire.response().status in (200, 206, 400, 416)

    def test_mounted_file_is_served_once_per_version(
        self, starlette: Server, client: httpx.Client
    ) -> None:
        answer = client.get(f"{starlette.url}/static/open.txt")
        assert answer.text == "open"
        again = client.get(
            f"{starlette.url}/static/open.txt", headers={"if-none-match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(f"{starlette.url}/static/open.txt").text == "open"

    @pytest.mark.parametrize(
        "path",
        [
            "../secret.txt",
            "../../secret.txt",
            "..%2fsecret.txt",
            "%2e%2e/secret.txt",
            "%2e%2e%2fsecret.txt",
            ".%2e/secret.txt",
            "..%5csecret.txt",
            "..\\secret.txt",
            "%252e%252e%252fsecret.txt",
            "..%c0%afsecret.txt",
            "..%ef%bc%8fsecret.txt",
            "../static-secret/secret.txt",
            "%2e%2e/static-secret/secret.txt",
            "open.txt/../../secret.txt",
            "open.txt%00.txt",
            "../secret.txt%00",
            "link.txt",
            "C:/secret.txt",
            "C:%5csecret.txt",
            "%5c%5chost%5cshare%5csecret.txt",
            "/etc/passwd",
            "//etc/passwd",
            "%2fetc%2fpasswd",
            "....//secret.txt",
            "..;/secret.txt",
            "~/secret.txt",
            "file:///etc/passwd",
        ],
    )
    def test_nothing_outside_the_mount_is_served(self, starlette: Server, path: str) -> None:
        with starlette.connect() as wire:
            wire.send_request("GET", f"/static/{path}")
            try:
                answer = wire.response()
            except TruncatedError as error:  # pragma: no cover
                raise AssertionError("half an answer") from error
        assert answer.status in (400, 404, 405, 500)
        assert b"secret" not in answer.body
        assert b"root:" not in answer.body


def test_compressed_responses_are_whole(files: Path) -> None:
    environment = {"TEST_FILES": str(files)}
    with serve("support.starlette_app:with_middleware", environment=environment) as server:
        answer = httpx.get(f"{server.url}/count/1000", trust_env=False)
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["x-middleware"] == "GET"
        assert len(answer.text.split()) == 1000


# --- FastAPI -----------------------------------------------------------------------------------


class TestFastAPI:
    def test_answers(self, fastapi: Server, client: httpx.Client) -> None:
        answer = client.get(f"{fastapi.url}/")
        assert (answer.status_code, answer.json()) == (200, {"hello": "world"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == "17"

    def test_answers_from_a_thread(self, fastapi: Server, client: httpx.Client) -> None:
        assert client.get(f"{fastapi.url}/synchronous").json() == {"hello": "thread"}

    def test_reads_path_query_and_headers(self, fastapi: Server, client: httpx.Client) -> None:
        answer = client.get(f"{fastapi.url}/items/5?q=%C3%A9%20b", headers={"user-agent": "me"})
        assert answer.json() == {"number": 5, "q": "é b", "user_agent": "me"}

    def test_validates(self, fastapi: Server, client: httpx.Client) -> None:
        item = {"name": "a", "price": 1.5, "tags": ["b"]}
        created = client.post(f"{fastapi.url}/items", json=item)
        assert (created.status_code, created.json()) == (201, item)
        refused = client.post(f"{fastapi.url}/items", json={"name": "a", "price": -1})
        assert refused.status_code == 422
        assert client.get(f"{fastapi.url}/items/five").status_code == 422

    def test_deletes_without_a_body(self, fastapi: Server, client: httpx.Client) -> None:
        answer = client.delete(f"{fastapi.url}/items/5")
        assert (answer.status_code, answer.content) == (204, b"")
        assert client.get(f"{fastapi.url}/").status_code == 200

    def test_has_its_lifespan_state(self, fastapi: Server, client: httpx.Client) -> None:
        assert client.get(f"{fastapi.url}/state").json() == 7

    def test_releases_its_dependencies(self, fastapi: Server, client: httpx.Client) -> None:
        assert client.get(f"{fastapi.url}/depends").json() == "resource"
        wait_until_done(fastapi, "released")

    def test_fails(self, fastapi: Server, client: httpx.Client) -> None:
        assert client.get(f"{fastapi.url}/forbid").json() == {"detail": "no entry"}
        since = fastapi.stderr.count()
        assert client.get(f"{fastapi.url}/fail").status_code == 500
        fastapi.stderr.wait_for("ValueError: on purpose", since=since)

    def test_runs_background_tasks(self, fastapi: Server, client: httpx.Client, key: str) -> None:
        assert client.get(f"{fastapi.url}/background/{key}").json() == "answered"
        wait_until_done(fastapi, key)

    def test_takes_uploads(self, fastapi: Server, client: httpx.Client) -> None:
        answer = client.post(f"{fastapi.url}/upload", files={"file": ("a.bin", CONTENT)})
        assert answer.json() == {"name": "a.bin", "size": len(CONTENT)}

    def test_streams(self, fastapi: Server, client: httpx.Client) -> None:
        assert len(client.get(f"{fastapi.url}/stream").text.split()) == 100

    def test_describes_itself(self, fastapi: Server, client: httpx.Client) -> None:
        assert "/items/{number}" in client.get(f"{fastapi.url}/openapi.json").json()["paths"]
        assert "swagger" in client.get(f"{fastapi.url}/docs").text

    def test_answers_two_hundred_requests_at_once(self, fastapi: Server) -> None:
        async def ask() -> list[Any]:
            limits = httpx.Limits(max_connections=50)
            async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
                urls = [f"{fastapi.url}/items/{number}" for number in range(200)]
                answers = await asyncio.gather(*(client.get(url) for url in urls))
            return [answer.json()["number"] for answer in answers]

        assert asyncio.run(ask()) == list(range(200))

    @pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
    def test_answers_curl(self, fastapi: Server) -> None:
        arguments = ["-H", "Content-Type: application/json", "-d", '{"name":"a","price":1}']
        done = subprocess.run(
            ["curl", "--silent", "--max-time", "10", f"{fastapi.url}/items", *arguments],
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout) == {"name": "a", "price": 1.0, "tags": []}


# --- Django ------------------------------------------------------------------------------------


class TestDjango:
    def test_lifespan_is_unsupported_and_no_error(self, django: Server) -> None:
        django.stderr.wait_for("INFO: +ASGI 'lifespan' protocol appears unsupported.")
        assert "Traceback" not in "\n".join(django.stderr.all()[:10])

    def test_answers(self, django: Server, client: httpx.Client) -> None:
        assert client.get(f"{django.url}/").text == "hello from Django"
        answer = client.get(f"{django.url}/async?a=b").json()
        assert answer == {"method": "GET", "query": {"a": "b"}}

    def test_reads_forms_and_files(self, django: Server, client: httpx.Client) -> None:
        answer = client.post(
            f"{django.url}/form", data={"a": "é"}, files={"file": ("file.bin", CONTENT)}
        )
        assert answer.json() == {"fields": {"a": "é"}, "files": {"file": len(CONTENT)}}

    def test_reads_bodies(self, django: Server, client: httpx.Client) -> None:
        for body in (b"", CONTENT, CONTENT * 10):
            assert client.post(f"{django.url}/body", content=body).content == body
        answer = client.post(f"{django.url}/body", content=iter([b"a", CONTENT]))
        assert answer.content == b"a" + CONTENT

    def test_knows_the_addresses(self, django: Server, client: httpx.Client) -> None:
        answer = client.get(f"{django.url}/address?a=b").json()
        assert answer == {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": django.host,
            "QUERY_STRING": "a=b",
            "path": "/address",
            "secure": False,
        }

    def test_is_mounted_under_a_root_path(self, start: Start, client: httpx.Client) -> None:
        server = start("support.django_app:app", "--root-path", "/api")
        assert client.get(f"{server.url}/address").json()["path"] == "/api/address"

    def test_streams(self, django: Server, client: httpx.Client) -> None:
        assert len(client.get(f"{django.url}/stream").text.split()) == 100

    def test_serves_files(self, django: Server, client: httpx.Client) -> None:
        assert "A Django project" in client.get(f"{django.url}/file").text

    def test_answers_head_and_404(self, django: Server, client: httpx.Client) -> None:
        head = client.head(f"{django.url}/")
        assert (head.status_code, head.content) == (200, b"")
        assert client.get(f"{django.url}/nowhere").status_code == 404

    def test_fails(self, django: Server, client: httpx.Client) -> None:
        assert client.get(f"{django.url}/fail").status_code == 500
        assert client.get(f"{django.url}/").status_code == 200

    def test_body_that_is_cut_harms_nobody(self, django: Server, client: httpx.Client) -> None:
        for _ in range(10):
            with django.connect() as wire:
                wire.send_request("POST", "/body", "Content-Length: 100")
                wire.send(b"part")
        assert client.get(f"{django.url}/").status_code == 200
