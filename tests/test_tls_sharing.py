"""The one buffer that the TLS sessions of a listener write to: whose bytes are whose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.tls import Certificates, TLSSocket
from test_server import WAIT_S_MAX, address_of, hello, in_loop, serving


class CallingBack:
    """A TLS server one of whose sessions sends while another calls back in its handshake."""

    # More than is left to the end of the turn.
    LARGE = b"x" * (1 << 20)

    def __init__(self, certificates: Certificates) -> None:
        # So large that OpenSSL gives the beginning of the flight away before its end is made.
        names = (f"{'n' * 60}{number}.example" for number in range(100))
        self.files = certificates.issue("localhost", *names, file="large")
        self.held, self.goes_on, self.has_sent = (asyncio.Event() for _ in range(3))
        self.on_send: Callable[[], None] = lambda: None
        # What the outer session had put into the shared buffer.
        self.waiting = 0
        self._buffers: list[ssl.MemoryBIO] = []

    def options(self) -> dict[str, Any]:
        return {"ssl_certfile": self.files.certificate, "ssl_context_factory": self.context}

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/held":
            await hello(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200})
        self.held.set()
        await self.goes_on.wait()
        self.has_sent.set()
        self.on_send()
        await send({"type": "http.response.body", "body": self.LARGE})

    def context(self, _config: Any, _default: Any) -> ssl.SSLContext:
        buffers = self._buffers

        class Context(ssl.SSLContext):
            def wrap_bio(
                self, incoming: Any, outgoing: ssl.MemoryBIO, *rest: Any, **kw: Any
            ) -> Any:
                buffers.append(outgoing)
                return super().wrap_bio(incoming, outgoing, *rest, **kw)

        made = Context(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.files.certificate, self.files.key)
        made._msg_callback = self.on_message  # type: ignore[attr-defined]
        return made

    def on_message(self, _: Any, direction: str, _v: Any, _k: Any, message: Any, _d: Any) -> None:
        if direction == "write" and message.name == "CERTIFICATE_VERIFY" and self.held.is_set():
            self.waiting = self._buffers[-1].pending
            self.goes_on.set()
            loop: Any = asyncio.get_running_loop()
            while not self.has_sent.is_set():
                loop._run_once()


def test_tls_session_is_used_while_another_is(certificates: Certificates) -> None:
    """What a session has for its client stays its own when its callback lets another send."""

    async def body() -> None:
        calling = CallingBack(certificates)
        async with serving(calling.app, **calling.options()) as server:
            url = f"https://localhost:{address_of(server)[1]}"
            async with httpx.AsyncClient(verify=certificates.client()) as client:
                first = asyncio.create_task(client.get(f"{url}/held"))
                await calling.held.wait()
                second = await asyncio.to_thread(
                    httpx.get, f"{url}/asked", verify=certificates.client()
                )
                assert second.text == "/asked"
                assert (await first).content == calling.LARGE
        assert calling.waiting > 0

    in_loop(body)


def test_what_a_tls_session_cannot_give_away_reaches_no_other(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails: list[MemoryError] = []
    reported: list[type[BaseException]] = []

    class Buffer:
        """Stands for the type, from which nothing can be derived."""

        write = ssl.MemoryBIO.write

        def __new__(cls) -> Any:
            return ssl.MemoryBIO()

        @staticmethod
        def read(buffer: ssl.MemoryBIO) -> bytes:
            if fails:
                raise fails.pop()
            return buffer.read()

    monkeypatch.setattr("_ssl.MemoryBIO", Buffer)
    monkeypatch.setattr("sys.unraisablehook", lambda raised: reported.append(raised.exc_type))

    def received(port: int) -> bytes:
        """Everything that comes after a client's first words."""
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), WAIT_S_MAX)) as raw:
            tls = TLSSocket(raw, certificates.client())
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.session.do_handshake()
            tls.flush()
            return b"".join(iter(lambda: raw.recv(1 << 17), b""))

    async def body() -> None:
        calling = CallingBack(certificates)
        calling.on_send = lambda: fails.append(MemoryError())
        async with serving(calling.app, **calling.options()) as server:
            port = address_of(server)[1]
            url = f"https://localhost:{port}"
            async with httpx.AsyncClient(verify=certificates.client()) as client:
                first = asyncio.create_task(client.get(f"{url}/held"))
                await calling.held.wait()
                assert await asyncio.to_thread(received, port) == b""
                with pytest.raises(httpx.TransportError):
                    await first
                assert (fails, reported) == ([], [MemoryError])
                assert (await client.get(f"{url}/later")).text == "/later"

    in_loop(body)
