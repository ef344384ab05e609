"""The client's side of TLS: certificates made for the tests, and a socket that hides nothing.

`TLSSocket` has the methods of a socket that `Wire` uses. It speaks TLS through memory buffers, so
that a test can send half a record, end one direction only, and tell a clean end (`close_notify`)
from one that merely happens.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "localhost"


class Certificates:
    """An authority and what it has signed, as files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.authority_file = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(self.authority_file)

    def issue(
        self,
        *names: str,
        file: str = "server",
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
        common_name: str | None = None,
    ) -> Files:
        """A certificate for `names`, with its key in a file of its own."""
        issued = self.authority.issue_cert(*names, key_type=key_type, common_name=common_name)
        files = Files(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        files.certificate.write_bytes(chain)
        files.key.write_bytes(issued.private_key_pem.bytes())
        return files

    def client(self, files: Files | None = None) -> ssl.SSLContext:
        """A client that trusts the authority, and has a certificate of its own if it is given."""
        context = ssl.create_default_context(cafile=str(self.authority_file))
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        return context


@dataclass(frozen=True)
class Files:
    """A certificate chain and its key."""

    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """What the server is started with."""
        return ("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key))

    @property
    def pem(self) -> str:
        """The first certificate of the chain."""
        end = "-----END CERTIFICATE-----\n"
        return self.certificate.read_text().partition(end)[0] + end


class TLSSocket:
    """A connected socket that speaks TLS."""

    def __init__(
        self, raw: socket.socket, context: ssl.SSLContext, name: str | None = HOST
    ) -> None:
        self.raw = raw
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._unsent = b""
        # The end came with `close_notify`.
        self.ended_cleanly = False

    def handshake(self) -> None:
        """Comes to an agreement with the server."""
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            else:
                self.flush()
                return

    def flush(self) -> None:
        """Sends what the session wants to be sent."""
        if self.outgoing.pending:
            self.raw.sendall(self.outgoing.read())

    def records(self, data: bytes) -> bytes:
        """The records that say `data`, not sent."""
        for start in range(0, len(data), 1 << 14):
            self.session.write(data[start : start + (1 << 14)])
        return self.outgoing.read()

    def sendall(self, data: bytes) -> None:
        self.raw.sendall(self.records(data))

    def send(self, data: bytes) -> int:
        """Sends what the kernel takes; nothing counts before all of it has gone."""
        self._unsent = self._unsent or self.records(data)
        self._unsent = self._unsent[self.raw.send(self._unsent) :]
        return 0 if self._unsent else len(data)

    def recv(self, count: int) -> bytes:
        """At least a byte, or none at the end."""
        while True:
            try:
                data = self.session.read(count)
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            except ssl.SSLZeroReturnError:
                data = b""
                break
            except ssl.SSLEOFError:
                return b""
            else:
                break
        self.ended_cleanly = not data
        return data

    def _receive(self) -> None:
        data = self.raw.recv(1 << 17)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def shutdown(self, how: int) -> None:
        """Says that nothing more comes (`close_notify`), and leaves the connection open."""
        assert how == socket.SHUT_WR
        with contextlib.suppress(ssl.SSLWantReadError):
            self.session.unwrap()
        self.flush()

    def setblocking(self, flag: bool) -> None:
        self.raw.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        self.raw.settimeout(seconds)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        self.raw.setsockopt(level, name, value)

    def fileno(self) -> int:
        return self.raw.fileno()

    def close(self) -> None:
        self.raw.close()
