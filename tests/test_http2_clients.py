"""HTTP/2 as clients that people use speak it: curl, httpx, Node, Go, h2load and nghttp."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.server import Server, serve
from support.tls import Certificates

MIB = 1 << 20
BODY = bytes(range(256)) * 8192


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["clear", "tls"])
def address(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[str, Server]]:
    """Where HTTP/2 is served, in clear text or over TLS."""
    is_tls = request.param == "tls"
    options = certificates.issue("localhost", "127.0.0.1").options if is_tls else ()
    with serve("support.apps:app", "--no-access-log", *options) as server:
        yield f"{'https' if is_tls else 'http'}://localhost:{server.port}", server


def run(*command: str, stdin: bytes = b"") -> bytes:
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=50, check=False)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout


def curl(url: str, certificates: Certificates, *options: str, stdin: bytes = b"") -> bytes:
    version = (
        ["--http2", "--cacert", str(certificates.authority_file)]
        if url.startswith("https")
        else ["--http2-prior-knowledge"]
    )
    shown = ["--silent", "--show-error", "--write-out", "\n%{http_version} %{http_code}"]
    return run("curl", *version, *shown, *options, url, stdin=stdin)


@needs("curl")
def test_curl(address: tuple[str, Server], certificates: Certificates) -> None:
    url, _ = address
    assert curl(f"{url}/", certificates) == b"hello\n2 200"
    digest = hashlib.sha256(BODY).hexdigest().encode()
    up = curl(f"{url}/digest", certificates, "--data-binary", "@-", stdin=BODY)
    assert digest in up
    assert up.endswith(b"\n2 200")
    assert len(curl(f"{url}/large/{3 * MIB}/65536", certificates)) == 3 * MIB + len("\n2 200")
    early = curl(f"{url}/ignore-body", certificates, "--data-binary", "@-", stdin=BODY)
    assert early.endswith(b"\n2 413")


def test_httpx(address: tuple[str, Server], certificates: Certificates) -> None:
    url, _ = address

    async def talk() -> None:
        async with httpx.AsyncClient(
            http1=False, http2=True, verify=certificates.client(), timeout=30
        ) as client:
            answers = await asyncio.gather(*(client.get(f"{url}/") for _ in range(50)))
            assert {answer.http_version for answer in answers} == {"HTTP/2"}
            assert {answer.text for answer in answers} == {"hello"}
            up = await client.post(f"{url}/digest", content=BODY)
            assert hashlib.sha256(BODY).hexdigest() in up.text
            down = await client.get(f"{url}/large/{MIB}/10000")
            assert len(down.content) == MIB

    asyncio.run(talk())


NODE = """
const http2 = require('node:http2'), fs = require('node:fs');
const [url, authority] = process.argv.slice(1);
const client = http2.connect(url, authority ? {ca: fs.readFileSync(authority)} : {});
client.on('error', error => { console.error(error); process.exit(1); });
let left = 20;
for (let i = 0; i < 20; i++) {
  const request = client.request({':path': '/echo', ':method': 'POST'});
  let length = 0, status;
  request.on('response', headers => { status = headers[':status']; });
  request.on('data', data => { length += data.length; });
  request.on('end', () => {
    if (status !== 200 || length !== 100000) { console.error(status, length); process.exit(1); }
    if (--left === 0) { console.log('fine'); client.close(); }
  });
  request.end(Buffer.alloc(100000, 'x'));
}
"""


@needs("node")
def test_node(address: tuple[str, Server], certificates: Certificates) -> None:
    url, _ = address
    authority = [str(certificates.authority_file)] if url.startswith("https") else []
    assert run("node", "-e", NODE, url, *authority) == b"fine\n"


GO = """
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	pool := x509.NewCertPool()
	pem, _ := os.ReadFile(os.Args[2])
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{
		Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			body := strings.NewReader(strings.Repeat("x", 100000))
			response, err := client.Post(os.Args[1]+"/echo", "text/plain", body)
			if err != nil {
				panic(err)
			}
			data, err := io.ReadAll(response.Body)
			if err != nil || response.ProtoMajor != 2 || len(data) != 100000 {
				panic(fmt.Sprint(err, response.Proto, len(data)))
			}
		}()
	}
	all.Wait()
	fmt.Println("fine")
}
"""


@needs("go")
def test_go(address: tuple[str, Server], certificates: Certificates, tmp_path: Path) -> None:
    url, _ = address
    (tmp_path / "client.go").write_text(GO)
    environment = {**os.environ, "GOCACHE": os.environ.get("GOCACHE", "/tmp/pronghorn-go-cache")}
    result = subprocess.run(
        ["go", "run", str(tmp_path / "client.go"), url, str(certificates.authority_file)],
        capture_output=True,
        timeout=110,
        check=False,
        env=environment,
    )
    assert result.stdout == b"fine\n", result.stderr.decode()


@needs("h2load")
def test_h2load(address: tuple[str, Server]) -> None:
    url, _ = address
    report = run("h2load", "-n", "5000", "-c", "4", "-m", "50", f"{url}/").decode()
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in report
