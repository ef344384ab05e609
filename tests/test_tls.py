"""TLS on the wire: handshakes and records however they come, and the ends of connections."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from conftest import Start
from support.server import Server
from support.tls import Certificates, TLSSocket
from support.wire import Wire, connect, request

pytestmark = pytest.mark.strict

BIG = 3 * 1024 * 1024


@pytest.fixture
def server(shared_tls_server: Server) -> Server:
    return shared_tls_server


@contextlib.contextmanager
def raw(server: Server, context: ssl.SSLContext | None = None) -> Iterator[TLSSocket]:
    """A connection before its handshake."""
    used = context or server.client_context
    assert used is not None
    with contextlib.closing(TLSSocket(connect(server.address), used)) as tls:
        yield tls


def read_to_end(tls: TLSSocket) -> bytes:
    received = b""
    while data := tls.recv(1 << 17):
        received += data
    return received


def answer(tls: TLSSocket, target: str = "/", *fields: str, body: bytes = b"") -> bytes:
    """What a request that ends the connection is answered."""
    method = "POST" if body else "GET"
    tls.sendall(request(method, target, "Connection: close", *fields, body=body))
    return read_to_end(tls)


def test_request_is_answered(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.send_request("GET", "/echo")
            assert wire.response().status == 200


def test_clients_of_all_kinds_are_served(server: Server, certificates: Certificates) -> None:
    ca_file = str(certificates.authority_file)
    url = f"https://localhost:{server.port}/"
    curl = ["curl", "--silent", "--show-error", "--fail", "--cacert", ca_file, url]
    assert subprocess.run(curl, capture_output=True, check=True).stdout == b"hello"
    with httpx.Client(verify=certificates.client()) as client:
        assert [client.get(url).text for _ in range(3)] == ["hello"] * 3
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_handshake_is_taken_byte_by_byte(server: Server) -> None:
    with raw(server) as tls:
        sent = 0
        while True:
            try:
                tls.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in tls.outgoing.read():
                    tls.raw.sendall(bytes([byte]))
                    sent += 1
                    if sent % 16 == 0:
                        server.barrier()
                tls._receive()
        for byte in tls.outgoing.read() + tls.records(request("GET", "/")):
            tls.raw.sendall(bytes([byte]))
        assert tls.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_handshake_and_request_are_taken_cut_anywhere(server: Server) -> None:
    hello = 0
    cut = 1
    while True:
        with raw(server) as tls:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.session.do_handshake()
            greeting = tls.outgoing.read()
            hello = len(greeting)
            tls.raw.sendall(greeting[:cut])
            if cut % 8 == 0:
                server.barrier()
            tls.raw.sendall(greeting[cut:])
            tls._receive()
            tls.handshake()
            # The client's last words of the handshake and its request, in two parts.
            last = tls.records(request("GET", "/", "Connection: close"))
            tls.raw.sendall(last[: cut % len(last)])
            server.barrier()
            tls.raw.sendall(last[cut % len(last) :])
            assert read_to_end(tls).endswith(b"hello")
            assert tls.ended_cleanly
        cut += 23
        if cut >= hello:
            return


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("asks", [False, True])
def test_what_comes_with_the_last_handshake_record_counts(
    server: Server, asks: bool, ends: bool
) -> None:
    with raw(server) as tls:
        finished = finish(tls)
        if asks:
            finished += tls.records(request("GET", "/", *([] if ends else ["Connection: close"])))
        if ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.session.unwrap()
        elif not asks:
            # Garbage that is a record.
            finished += b"\x17\x03\x03\x00\x20" + bytes(32)
        tls.raw.sendall(finished + tls.outgoing.read())
        if not asks and not ends:
            with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
                read_to_end(tls)
            return
        assert read_to_end(tls).endswith(b"hello" if asks else b"")
        assert tls.ended_cleanly


def finish(tls: TLSSocket) -> bytes:
    """Shakes hands, but for the last record, which it returns."""
    while True:
        try:
            tls.session.do_handshake()
        except ssl.SSLWantReadError:
            tls.flush()
            tls._receive()
        else:
            return tls.outgoing.read()


def test_many_records_in_one_write_are_read(server: Server) -> None:
    body = os.urandom(30_000)
    with server.connect() as wire:
        assert isinstance(wire.socket, TLSSocket)
        head = request("POST", "/digest", f"Content-Length: {len(body)}")
        records = b"".join(
            wire.socket.records(piece)
            for piece in [head, *(body[start : start + 100] for start in range(0, 30_000, 100))]
        )
        wire.socket.raw.sendall(records)
        assert hashlib.sha256(body).hexdigest().encode() in wire.response().body


def test_empty_records_are_ignored(server: Server) -> None:
    with server.connect() as wire:
        assert isinstance(wire.socket, TLSSocket)
        for piece in (request("GET", "/")[:5], request("GET", "/")[5:]):
            wire.socket.session.write(b"")
            wire.socket.sendall(piece)
        assert wire.response().body == b"hello"


@pytest.mark.parametrize("piece", [100, 8192, 65_536, BIG])
def test_large_answers_are_whole(server: Server, piece: int) -> None:
    expected = (bytes(range(256)) * (piece // 256 + 1))[:piece] * (BIG // piece + 1)
    with server.connect() as wire:
        for total in (BIG, 20_000):
            wire.send_request("GET", f"/large/{total}/{piece}")
            assert wire.response().body == expected[:total]


def test_large_uploads_are_whole(server: Server) -> None:
    body = os.urandom(BIG)
    with server.connect() as wire:
        wire.send_request("POST", "/digest", body=body)
        digest = hashlib.sha256(body).hexdigest()
        assert ast.literal_eval(wire.response().body.decode()) == (BIG, digest)


def test_slow_reader_gets_everything(server: Server) -> None:
    wire = Wire(server.address, server.client_context, receive_buffer_bytes=4096)
    with wire:
        wire.send_request("GET", f"/large/{BIG}/{BIG}")
        # The server has had to stop by now, and serves others meanwhile.
        server.barrier()
        assert len(wire.response().body) == BIG


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as wire:
        wire.send(b"".join(request("GET", f"/delay/0/{number}") for number in range(50)))
        assert [wire.response().body for _ in range(50)] == [b"%d" % n for n in range(50)]


def test_answer_ends_with_close_notify(server: Server) -> None:
    with raw(server) as tls:
        tls.handshake()
        assert answer(tls).endswith(b"hello")
        assert tls.ended_cleanly


def test_answer_comes_after_the_clients_close_notify(server: Server) -> None:
    with raw(server) as tls:
        tls.handshake()
        tls.sendall(request("GET", "/delay/50/later"))
        tls.shutdown(socket.SHUT_WR)
        assert read_to_end(tls).endswith(b"later")
        assert tls.ended_cleanly


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_client_that_asks_for_new_keys_gets_them_and_its_answer(server: Server) -> None:
    target = f"127.0.0.1:{server.port}"
    command = ["openssl", "s_client", "-connect", target, "-tls1_3", "-msg"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        # A line that begins with this letter asks for new keys on both sides.
        client.stdin.write(b"K\n")
        client.stdin.flush()
        assert any(line.startswith(b">>>") and b"KeyUpdate" in line for line in client.stdout)
        client.stdin.write(request("GET", "/", "Connection: close"))
        client.stdin.flush()
        said = client.stdout.read()
        assert re.search(rb"<<< TLS 1\.3, .*KeyUpdate", said)
        assert b"hello" in said


def test_close_notify_ends_an_idle_connection(server: Server) -> None:
    with raw(server) as tls:
        tls.handshake()
        tls.shutdown(socket.SHUT_WR)
        assert read_to_end(tls) == b""
        assert tls.ended_cleanly


def test_body_that_is_cut_off_is_no_whole_body(server: Server, key: str) -> None:
    head = request("POST", f"/messages/{key}", "Transfer-Encoding: chunked")
    with raw(server) as tls:
        tls.handshake()
        tls.sendall(head + b"5\r\nhello\r\n")
        server.barrier()
        # Without `close_notify`: anybody on the way could have done it.
        tls.raw.shutdown(socket.SHUT_WR)
        assert read_to_end(tls) == b""
        assert not tls.ended_cleanly
    told = ast.literal_eval(server.get(f"/records/{key}").decode())
    assert [message["type"] for message in told][-1] == "http.disconnect"


def test_cut_off_connection_ends_the_request(server: Server, key: str) -> None:
    with raw(server) as tls:
        tls.handshake()
        tls.sendall(request("GET", f"/wait/{key}"))
        tls.raw.shutdown(socket.SHUT_WR)
        assert read_to_end(tls) == b""
    server.get(f"/open/{key}")


def test_garbage_after_the_handshake_ends_the_connection(server: Server) -> None:
    with raw(server) as tls:
        tls.handshake()
        tls.raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac"):
            tls.recv(1)


def test_garbage_instead_of_a_handshake_is_told_so(server: Server) -> None:
    for garbage in (b"\x16\x03\x01\x00\x05hello", b"\x00" * 64, b"\x16\x03\x01\xff\xff", b"\xff"):
        with contextlib.closing(connect(server.address)) as plain:
            plain.sendall(garbage)
            plain.shutdown(socket.SHUT_WR)
            received = b""
            while data := plain.recv(100):
                received += data
            # An alert, or nothing; but no HTTP.
            assert received[:1] in (b"\x15", b"")


def test_client_that_does_not_trust_the_certificate_is_forgotten(server: Server) -> None:
    with raw(server, ssl.create_default_context()) as tls, pytest.raises(ssl.SSLError):
        tls.handshake()
    server.barrier()


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_plain_http_is_answered_in_plain_text(server: Server, text: bytes) -> None:
    with Wire(server.address) as wire:
        wire.send(text)
        response = wire.response()
        assert (response.status, response.closes) == (400, True)
        assert b"HTTPS" in response.body
        wire.assert_closed()


def test_scope_tells_of_tls(server: Server, key: str) -> None:
    with server.connect() as wire:
        for _ in range(2):
            wire.send_request("GET", f"/record-scope/{key}")
            wire.response()
    assert isinstance(server.client_context, ssl.SSLContext)
    first, second = ast.literal_eval(server.get(f"/records/{key}").decode())
    assert first["scheme"] == "https"
    tls = first["extensions"]["tls"]
    assert tls == second["extensions"]["tls"]
    assert (tls["tls_version"], tls["cipher_suite"]) in ((0x0304, 0x1302), (0x0304, 0x1301))
    assert re.fullmatch(
        r"-----BEGIN CERT[^-]+-----[^-]+-----END CERT[^-]+-----\n", tls["server_cert"]
    )
    names = ("client_cert_chain", "client_cert_name", "client_cert_error")
    assert [tls[name] for name in names] == [(), None, None]


@pytest.mark.parametrize("spoils", ["spoil-scope/after", "spoil-extensions"])
def test_what_tells_of_tls_is_not_shared_with_the_next_request(
    server: Server, spoils: str, key: str
) -> None:
    with server.connect() as wire:
        for target in (f"/record-scope/{key}", f"/{spoils}", f"/record-scope/{key}"):
            wire.send_request("GET", target)
            wire.response()
    told = ast.literal_eval(server.get(f"/records/{key}").decode())
    before, after = (scope["extensions"] for scope in told)
    assert before == after
    assert len(before) == 5


def test_session_is_resumed(server: Server) -> None:
    context = server.client_context
    assert context is not None
    with raw(server) as tls:
        tls.handshake()
        answer(tls)
        session = tls.session.session
    with contextlib.closing(TLSSocket(connect(server.address), context)) as again:
        again.session.session = session
        again.handshake()
        assert answer(again).endswith(b"hello")
        assert again.session.session_reused


def test_tls_1_2_is_spoken_as_well(server: Server, certificates: Certificates, key: str) -> None:
    context = certificates.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with raw(server, context) as tls:
        tls.handshake()
        assert answer(tls, f"/record-scope/{key}").endswith(b"recorded")
        assert tls.ended_cleanly
    (scope,) = ast.literal_eval(server.get(f"/records/{key}").decode())
    assert scope["extensions"]["tls"]["tls_version"] == 0x0303


def test_handshake_has_its_time(start: Start, certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="timeout")
    client = certificates.client()
    options = (*files.options, "--ssl-handshake-timeout", "0.5")
    server = start("support.apps:app", *options, client_context=client)
    with contextlib.closing(connect(server.address)) as silent, raw(server) as slow:
        with contextlib.suppress(ssl.SSLWantReadError):
            slow.session.do_handshake()
        for byte in slow.outgoing.read()[:-1]:
            slow.raw.sendall(bytes([byte]))
        assert silent.recv(1) == b""
        assert slow.raw.recv(1) == b""
    # The time is for the handshake alone.
    with server.connect() as wire:
        wire.send_request("GET", "/delay/700/answer")
        assert wire.response().body == b"answer"


def test_work_for_a_large_body_grows_with_its_size_only(server: Server) -> None:
    piece = 10 * 1024 * 1024

    def cost_s(size: int, times: int) -> float:
        before_s = server.cpu_s()
        for _ in range(times):
            with raw(server) as tls:
                tls.handshake()
                tls.sendall(request("GET", f"/large/{size}/{size}", "Connection: close"))
                received = 0
                while data := tls.recv(1 << 17):
                    received += len(data)
                assert received > size
        return server.cpu_s() - before_s

    assert cost_s(8 * piece, 1) < 3 * cost_s(piece, 8)
