"""Scans a server with sslyze, and one that is nothing but Python's `ssl` with its defaults.

`python tests/tls_scan.py SSLYZE` (`make tls-scan` installs it) prints what differs and fails if
anything does: no version, cipher suite, curve or weakness more than the module's own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.server import serve
from support.tls import Certificates, Files

# All of them but the certificate and what HTTP says.
CHECKS = [
    *("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3"),
    *("elliptic_curves", "early_data", "fallback", "reneg", "resum", "ems"),
    *("compression", "heartbleed", "openssl_ccs", "robot"),
]
SCAN_S_MAX = 300


def main() -> int:
    scanner = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        files = certificates.issue("localhost", "127.0.0.1")
        expected = asyncio.run(scan_reference(scanner, files, Path(folder)))
        client = certificates.client()
        with serve("support.apps:hello", *files.options, client_context=client) as server:
            found = scan(scanner, server.port, Path(folder))
            assert server.get() == b"hello", "it does not serve any more"
    for name in sorted(expected):
        is_same = found[name] == expected[name]
        print(f"{name:32} {'same' if is_same else 'DIFFERENT'}")
        if not is_same:
            print(f"  ssl:       {expected[name]}\n  pronghorn: {found[name]}")
    return int(found != expected)


async def scan_reference(scanner: str, files: Files, folder: Path) -> dict[str, Any]:
    """The findings about asyncio with a context as `ssl` makes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        return await asyncio.to_thread(scan, scanner, port, folder)


def scan(scanner: str, port: int, folder: Path) -> dict[str, Any]:
    """The findings by the name of the check, without times and descriptions."""
    output = folder / f"{port}.json"
    flags = [f"--{check}" for check in CHECKS]
    command = [scanner, "--quiet", f"--json_out={output}", *flags, f"localhost:{port}"]
    # Its exit code is its opinion of the configuration, which is not asked for.
    subprocess.run(command, check=False, timeout=SCAN_S_MAX, stdout=subprocess.DEVNULL)
    (result,) = json.loads(output.read_text())["server_scan_results"]
    assert result["scan_status"] == "COMPLETED", result
    done = {
        name: simplified(check)
        for name, check in result["scan_result"].items()
        if check["status"] != "NOT_SCHEDULED"
    }
    assert len(done) == len(CHECKS), sorted(done)
    return done


def simplified(check: dict[str, Any]) -> Any:
    """What was accepted and what is weak; that is, names and truths."""
    assert check["status"] == "COMPLETED", check
    return strip(check["result"])


def strip(value: Any) -> Any:
    if isinstance(value, dict):
        if "cipher_suite" in value:
            return value["cipher_suite"]["name"]
        # Whether OpenSSL keeps a session (not a ticket) depends on how its connection ended.
        return {
            name: strip(each) for name, each in value.items() if not name.startswith("session_id_")
        }
    if isinstance(value, list):
        return sorted((strip(each) for each in value), key=str)
    return value


if __name__ == "__main__":
    sys.exit(main())
