"""Certificates: chosen by name, read again, asked of clients, and complained about."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import trustme
from conftest import Start
from pronghorn.config import Config
from pronghorn.errors import TLSError
from pronghorn.tls import TLS, load_context
from support.processes import wait_for_started, wait_until_gone, worker_pids
from support.server import TESTS, Server
from support.tls import Certificates, Files, TLSSocket
from support.wire import Wire, connect, request

pytestmark = pytest.mark.strict

APP = "support.apps:app"


def presented(server: Server, certificates: Certificates, name: str = "localhost") -> str:
    """The certificate that a new connection gets, as PEM."""
    with contextlib.closing(TLSSocket(connect(server.address), certificates.client(), name)) as tls:
        tls.handshake()
        der = tls.session.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der)


def refused(*options: str, expects: int = 3) -> str:
    """What a server says that does not start."""
    command = [sys.executable, "-m", "pronghorn", APP, "--app-dir", str(TESTS), "--port", "0"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    assert done.returncode == expects, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "Error"))]
    assert len(errors) == 1, done.stderr
    return errors[0]


def encrypted(files: Files, password: str) -> Path:
    path = files.key.with_suffix(".encrypted.key")
    command = ["openssl", "pkcs8", "-topk8", "-in", str(files.key), "-out", str(path)]
    subprocess.run([*command, "-passout", f"pass:{password}"], check=True)
    return path


def test_certificate_is_chosen_by_name(start: Start, certificates: Certificates) -> None:
    first = certificates.issue("localhost", file="first")
    second = certificates.issue("*.example.com", "example.net", file="second")
    server = start(APP, *first.options, *second.options, client_context=certificates.client())
    for name, files in [
        ("localhost", first),
        ("a.example.com", second),
        ("A.Example.Com", second),
        ("example.net", second),
    ]:
        assert presented(server, certificates, name) == files.pem, name
    for name in ("a.b.example.com", "example.com", "elsewhere.org"):
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            presented(server, certificates, name)


def test_scope_shows_the_certificate_that_was_chosen(
    start: Start, certificates: Certificates, key: str
) -> None:
    first = certificates.issue("localhost", file="first")
    second = certificates.issue("example.com", file="second")
    server = start(APP, *first.options, *second.options, client_context=certificates.client())
    for name in ("localhost", "example.com"):
        tls = TLSSocket(connect(server.address), certificates.client(), name)
        with contextlib.closing(tls):
            tls.handshake()
            tls.sendall(request("GET", f"/record-scope/{key}"))
            assert tls.recv(1000).startswith(b"HTTP/1.1 200")
    scopes = ast.literal_eval(server.get(f"/records/{key}").decode())
    shown = [scope["extensions"]["tls"]["server_cert"] for scope in scopes]
    assert shown == [first.pem, second.pem]


def test_certificates_of_two_kinds_serve_one_name(start: Start, certificates: Certificates) -> None:
    ecdsa = certificates.issue("localhost", file="ecdsa")
    rsa = certificates.issue("localhost", file="rsa", key_type=trustme.KeyType.RSA)
    server = start(APP, *rsa.options, *ecdsa.options, client_context=certificates.client())
    for suite, files in (
        ("ECDHE-RSA-AES128-GCM-SHA256", rsa),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", ecdsa),
    ):
        context = certificates.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suite)
        with contextlib.closing(TLSSocket(connect(server.address), context)) as tls:
            tls.handshake()
            der = tls.session.getpeercert(binary_form=True)
            assert der is not None
            assert ssl.DER_cert_to_PEM_cert(der) == files.pem


@pytest.mark.parametrize("how", ["change", "signal"])
def test_certificate_is_read_again(start: Start, certificates: Certificates, how: str) -> None:
    old = certificates.issue("localhost", file=f"again-{how}")
    client = certificates.client()
    server = start(APP, *old.options, client_context=client)
    before = old.pem
    with server.connect() as wire:
        wire.send_request("GET", "/")
        assert wire.response().body == b"hello"
        new = certificates.issue("localhost", file=f"again-{how}-new")
        # As an editor or an ACME client does it: the one, then the other.
        os.replace(new.certificate, old.certificate)
        assert presented(server, certificates) == before
        os.replace(new.key, old.key)
        if how == "signal":
            server.signal(signal.SIGHUP)
        server.stderr.wait_for("Read the TLS certificate again")
        assert presented(server, certificates) == old.pem != before
        # Who was there before stays.
        wire.send_request("GET", "/")
        assert wire.response().body == b"hello"


def test_certificate_that_changes_while_the_application_starts_is_read_again(
    start: Start, certificates: Certificates, tmp_path: Path
) -> None:
    files = certificates.issue("localhost", file="start")
    new = certificates.issue("localhost", file="start-new")
    (tmp_path / "renewing_app.py").write_text(
        dedent(f"""
        import os
        from contextlib import asynccontextmanager
        from fastapi import FastAPI

        @asynccontextmanager
        async def lifespan(app):
            os.replace({str(new.certificate)!r}, {str(files.certificate)!r})
            os.replace({str(new.key)!r}, {str(files.key)!r})
            yield

        app = FastAPI(lifespan=lifespan)
        """)
    )
    server = start(
        "renewing_app:app", *files.options,
        environment={"PYTHONPATH": str(tmp_path)}, client_context=certificates.client(),
    )  # fmt: skip
    server.stderr.wait_for("Read the TLS certificate again")
    assert presented(server, certificates) == files.pem


def test_preloaded_workers_have_the_certificate_of_their_start(
    start: Start, certificates: Certificates
) -> None:
    files = certificates.issue("localhost", file="preloaded")
    options = ("--workers", "2", "--preload", *files.options)
    server = start(APP, *options, client_context=certificates.client())
    wait_for_started(server, 2)
    before = worker_pids(server)
    since = server.stderr.count()
    certificates.issue("localhost", file="preloaded")
    server.signal(signal.SIGHUP)
    wait_for_started(server, 2, since)
    wait_until_gone(before)
    for _ in range(8):
        assert presented(server, certificates) == files.pem


def test_bad_certificate_does_not_replace_a_good_one(
    start: Start, certificates: Certificates
) -> None:
    files = certificates.issue("localhost", file="stays")
    server = start(APP, *files.options, client_context=certificates.client())
    before = files.pem
    other = certificates.issue("localhost", file="stays-other")
    shutil.copy(other.certificate, files.certificate)
    server.signal(signal.SIGHUP)
    line = server.stderr.wait_for("certificate in use stays")
    assert str(files.key) in line
    assert presented(server, certificates) == before
    shutil.copy(other.key, files.key)
    server.stderr.wait_for("Read the TLS certificate again")
    assert presented(server, certificates) == other.pem


def test_client_certificate_is_shown_to_the_application(
    start: Start, certificates: Certificates, key: str
) -> None:
    files = certificates.issue("localhost", file="mutual")
    client = certificates.issue("client.example", file="client", common_name="A, B+C")
    options = ("--ssl-ca-certs", str(certificates.authority_file), "--ssl-cert-reqs", "2")
    context = certificates.client(client)
    server = start(APP, *files.options, *options, client_context=context)
    server.get(f"/record-scope/{key}")
    (scope,) = ast.literal_eval(server.get(f"/records/{key}").decode())
    tls = scope["extensions"]["tls"]
    assert tls["client_cert_chain"][0] == client.pem
    names = tls["client_cert_name"].split(",O=")
    assert names[0].split(",OU=")[0] == "CN=A\\, B\\+C"
    assert tls["client_cert_error"] is None
    # Without a certificate there is no connection; in TLS 1.3 the client learns of it by reading.
    other = TLSSocket(connect(server.address), certificates.client())
    with contextlib.closing(other):
        other.handshake()
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
            other.recv(1)


def test_optional_client_certificate_may_be_missing(
    start: Start, certificates: Certificates, key: str
) -> None:
    files = certificates.issue("localhost", file="optional")
    options = ("--ssl-ca-certs", str(certificates.authority_file), "--ssl-cert-reqs", "1")
    server = start(APP, *files.options, *options, client_context=certificates.client())
    server.get(f"/record-scope/{key}")
    (scope,) = ast.literal_eval(server.get(f"/records/{key}").decode())
    assert scope["extensions"]["tls"]["client_cert_name"] is None


def test_encrypted_key_is_read_with_its_password(start: Start, certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="encrypted")
    key = encrypted(files, "hunter2")
    options = ("--ssl-certfile", str(files.certificate), "--ssl-keyfile", str(key))
    password = ("--ssl-keyfile-password", "hunter2")
    server = start(APP, *options, *password, client_context=certificates.client())
    assert server.get() == b"hello"
    # Never a prompt, which nobody could answer.
    assert f"`{key}` is encrypted; set `ssl_keyfile_password`" in refused(*options)
    line = refused(*options, "--ssl-keyfile-password", "wrong")
    assert f"`{key}` cannot be decrypted" in line
    assert "wrong" not in line


def test_files_that_cannot_be_used_are_named(tmp_path: Path, certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="good")
    other = certificates.issue("localhost", file="bad")
    missing, garbage, folder = tmp_path / "missing.pem", tmp_path / "garbage.pem", tmp_path
    garbage.write_text("-----BEGIN NOTHING-----\n")

    def told(certificate: Any, key: Any, **options: Any) -> str:
        config = Config(APP, ssl_certfile=certificate, ssl_keyfile=key, **options)
        with pytest.raises(TLSError) as raised:
            load_context(config)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    good = (files.certificate, files.key)
    assert f"`{missing}` cannot be read: no such file" in told(missing, files.key)
    assert f"`{missing}` cannot be read: no such file" in told(files.certificate, missing)
    assert f"`{folder}` cannot be read: is a directory" in told(folder, files.key)
    assert f"`{garbage}` is no certificate in PEM form" in told(garbage, files.key)
    assert f"`{garbage}` holds no private key" in told(files.certificate, garbage)
    mismatch = f"`{other.key}` is not that of the certificate `{files.certificate}`"
    assert mismatch in told(files.certificate, other.key)
    assert f"`{missing}` cannot be read" in told(*good, ssl_ca_certs=missing)
    assert f"`{garbage}` cannot be used" in told(*good, ssl_ca_certs=garbage)
    assert "names no usable cipher, `NONSENSE`" in told(*good, ssl_ciphers="NONSENSE")
    pair = [str(files.certificate), str(other.certificate)]
    assert "`ssl_certfile` names 2 files and `ssl_keyfile` 1" in told(pair, files.key)
    assert "`ssl_version` cannot be `99`" in told(*good, ssl_version=99)
    assert "`ssl_version` cannot be `16`" in told(*good, ssl_version=ssl.PROTOCOL_TLS_CLIENT)
    assert "needs `ssl_certfile`" in told(None, files.key)
    # The whole way, once.
    options = ("--ssl-certfile", str(files.certificate), "--ssl-keyfile", str(other.key))
    assert mismatch in refused(*options)


@pytest.mark.parametrize("processes", [("--workers", "2"), ("--reload",)])
def test_files_that_cannot_be_used_are_told_before_processes_are_started(
    processes: tuple[str, ...], certificates: Certificates
) -> None:
    files = certificates.issue("localhost", file="good")
    other = certificates.issue("localhost", file="bad")
    options = ("--ssl-certfile", str(files.certificate), "--ssl-keyfile", str(other.key))
    line = refused(*options, *processes)
    assert f"`{other.key}` is not that of the certificate" in line


@pytest.mark.parametrize("processes", [(), ("--workers", "2"), ("--reload",)])
def test_clients_are_not_sent_on_to_a_server_without_tls(processes: tuple[str, ...]) -> None:
    line = refused("--ssl-redirect-port", "65535", *processes)
    assert "`ssl_redirect_port` needs TLS" in line


def test_context_factory_makes_the_context(certificates: Certificates) -> None:
    files = certificates.issue("localhost", file="factory")
    given: list[Any] = []

    def factory(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        given.append(config)
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    config = Config(
        APP, ssl_certfile=files.certificate, ssl_keyfile=files.key, ssl_context_factory=factory
    )
    assert config.is_ssl
    config.load()
    assert given == [config]
    assert config.ssl is not None
    assert config.ssl.minimum_version is ssl.TLSVersion.TLSv1_3
    without_files = Config(APP, ssl_context_factory=lambda config, default: default())
    with pytest.raises(TLSError, match="needs `ssl_certfile`"):
        load_context(without_files)
    no_context = Config(APP, ssl_context_factory=lambda config, default: "context")  # type: ignore[arg-type, return-value]
    with pytest.raises(TLSError, match=r"must return an `ssl\.SSLContext`, got `str`"):
        load_context(no_context)


def test_context_that_the_program_has_changed_is_left_alone(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    files = certificates.issue("localhost", file="changed")
    config = Config(APP, ssl_certfile=files.certificate, ssl_keyfile=files.key, log_config=None)
    config.load_ssl()
    tls = TLS(config)
    tls.reload()
    fresh = config.ssl
    assert fresh is not None
    fresh.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.reload()
    assert config.ssl is fresh
    assert "the program has changed the SSL context" in caplog.text


@pytest.mark.parametrize("processes", [(), ("--workers", "2"), ("--reload",)])
def test_plain_http_is_sent_on_to_https(
    start: Start, certificates: Certificates, processes: tuple[str, ...]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = certificates.issue("localhost", file="redirect")
    options = (*processes, "--ssl-redirect-port", str(port))
    server = start(APP, *files.options, *options, client_context=certificates.client())
    plain = ("127.0.0.1", port)

    def location(target: str, *fields: str, method: str = "GET") -> bytes | None:
        with Wire(plain) as wire:
            wire.send(request(method, target, *fields, host="example.com:8080"))
            response = wire.response(method)
            assert response.status == 308
            return response.header(b"location")

    base = b"https://example.com:%d" % server.port
    assert location("/a%20b/c?d=e&f=%2F") == base + b"/a%20b/c?d=e&f=%2F"
    assert location("/", method="POST") == base + b"/"
    assert location("/", method="HEAD") == base + b"/"
    assert location("//other.example/x") == base + b"//other.example/x"
    for host in ("exa mple.com", "user@example.com", "example.com:abc", "a/b", "", "[::1"):
        with Wire(plain) as wire:
            wire.send(request("GET", "/", host=host))
            response = wire.response()
            assert (response.status, response.header(b"location")) == (400, None), host
    with Wire(plain) as wire:
        wire.send(request("GET", "/x", host="[::1]:80"))
        assert wire.response().header(b"location") == b"https://[::1]:%d/x" % server.port
    assert server.get() == b"hello"


def test_shutdown_lets_a_handshake_come_to_its_answer(
    start: Start, certificates: Certificates
) -> None:
    files = certificates.issue("localhost", file="shutdown")
    server = start(APP, *files.options, client_context=certificates.client())
    with contextlib.closing(TLSSocket(connect(server.address), certificates.client())) as tls:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.session.do_handshake()
        greeting = tls.outgoing.read()
        tls.raw.sendall(greeting[:100])
        server.barrier()
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("Shutting down")
        tls.raw.sendall(greeting[100:])
        tls.handshake()
        tls.sendall(request("GET", "/"))
        received = b""
        while data := tls.recv(1000):
            received += data
        assert b"connection: close" in received
        assert received.endswith(b"hello")
        assert tls.ended_cleanly
    assert server.wait() == -signal.SIGTERM


def test_shutdown_does_not_wait_for_handshakes_that_do_not_go_on(
    start: Start, certificates: Certificates
) -> None:
    files = certificates.issue("localhost", file="stuck")
    server = start(APP, *files.options, client_context=certificates.client())
    with (
        contextlib.closing(connect(server.address)) as silent,
        contextlib.closing(TLSSocket(connect(server.address), certificates.client())) as begun,
    ):
        with contextlib.suppress(ssl.SSLWantReadError):
            begun.session.do_handshake()
        begun.raw.sendall(begun.outgoing.read()[:100])
        server.barrier()
        since = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        assert time.monotonic() - since < 5
        assert silent.recv(1) == b""
