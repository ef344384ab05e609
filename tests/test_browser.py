"""A browser as the client: WebSocket, streams and events, over HTTP/1.1 and HTTP/2 with TLS."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import Start
from support.browser import Browser, Page, executable
from support.remote import records, wait_for_record, wait_for_records
from support.server import Server

pytestmark = pytest.mark.strict

# Opens a WebSocket; `next()` gives what comes, one at a time, and the end as a list.
WEBSOCKET = """
function open(target, protocols) {
  const socket = new WebSocket(new URL(target, location).href.replace("http", "ws"), protocols);
  socket.binaryType = "arraybuffer";
  const come = [], waiting = [];
  const add = (value) => waiting.length ? waiting.shift()(value) : come.push(value);
  socket.onmessage = ({data}) => add(data);
  socket.onclose = ({code, reason, wasClean}) => add([code, reason, wasClean]);
  socket.next = () => new Promise((done) => come.length ? done(come.shift()) : waiting.push(done));
  return new Promise((done) => {
    socket.onopen = () => done(socket);
    socket.onerror = () => done(socket);
  });
}
"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = executable()
    if path is None:
        pytest.skip("no Chromium is installed")
    browser = Browser(path, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.end()


@pytest.fixture
def page(browser: Browser, every_transport: Server) -> Iterator[Page]:
    """A page of the server, in clear text and over TLS."""
    page = browser.open(f"{every_transport.url}/page")
    yield page
    page.close()


def http_version(server: Server) -> str:
    """What a browser speaks with it."""
    return "2" if server.client_context else "1.1"


def test_page_comes_over_the_newest_version(page: Page, every_transport: Server) -> None:
    protocol = page.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol")
    assert protocol == ("h2" if every_transport.client_context else "http/1.1")
    assert page.run("return document.title") == "Pronghorn"


def test_websocket_takes_back_what_it_sent(page: Page) -> None:
    received = page.run(
        WEBSOCKET
        + """
        const socket = await open("/echo");
        const texts = ["", "grüße, 世界 🐎", "long ".repeat(50000)];
        const found = [socket.extensions.startsWith("permessage-deflate")];
        for (const text of texts) {
          socket.send(text);
          found.push(await socket.next() === text);
        }
        for (const size of [0, 1, 126, 70000, 1000000]) {
          const bytes = Uint8Array.from({length: size}, (_, at) => at * 7 >> 3);
          socket.send(bytes);
          const back = new Uint8Array(await socket.next());
          found.push(back.length === size && back.every((byte, at) => byte === bytes[at]));
        }
        socket.send(new Blob(["a", "b"]));
        found.push(new TextDecoder().decode(await socket.next()));
        socket.close();
        found.push(await socket.next());
        return found;
        """
    )
    assert received == [*[True] * 9, "ab", [1005, "", True]]


def test_websocket_shares_the_connection_of_the_page(page: Page, every_transport: Server) -> None:
    shown = page.run(WEBSOCKET + "return await (await open('/scope/a?b=c')).next()")
    scope = ast.literal_eval(shown)
    is_secure = every_transport.client_context is not None
    # RFC 8441, if the page came over HTTP/2.
    assert scope["http_version"] == http_version(every_transport)
    assert scope["scheme"] == ("wss" if is_secure else "ws")
    assert (scope["path"], scope["query_string"]) == ("/scope/a", b"b=c")
    assert dict(scope["headers"])[b"origin"] == every_transport.url.encode()


def test_websocket_has_the_subprotocol_that_was_chosen(page: Page) -> None:
    script = "const socket = await open('/accept', ['one', 'two']); return socket.protocol"
    assert page.run(WEBSOCKET + script) == "two"


def test_websocket_is_told_why_it_was_closed(page: Page, key: str) -> None:
    script = f"return await (await open('/close/{key}/4001/enough')).next()"
    assert page.run(WEBSOCKET + script) == [4001, "enough", True]


def test_application_is_told_why_the_page_closed(
    page: Page, every_transport: Server, key: str
) -> None:
    script = f"(await open('/record/{key}')).close(3001, 'bye für heute')"
    page.run(WEBSOCKET + script)
    closed = {"type": "websocket.disconnect", "code": 3001, "reason": "bye für heute"}
    wait_for_record(every_transport, key, closed)


def test_websocket_that_is_denied_does_not_open(page: Page, key: str) -> None:
    script = f"return await (await open('/deny/{key}')).next()"
    assert page.run(WEBSOCKET + script) == [1006, "", False]


def test_page_that_closes_takes_its_websockets_with_it(
    browser: Browser, every_transport: Server, key: str
) -> None:
    page = browser.open(f"{every_transport.url}/page")
    page.run(WEBSOCKET + f"globalThis.kept = await open('/record/{key}')")
    page.close()
    (gone,) = wait_for_records(every_transport, key)
    # In a stream of HTTP/2, Chromium takes back its close frame together with the stream.
    assert gone["code"] == (1006 if every_transport.client_context else 1001)


def test_many_websockets_of_a_page(page: Page) -> None:
    script = """
    const sockets = await Promise.all(Array.from({length: 8}, () => open("/echo")));
    sockets.forEach((socket, at) => { for (let n = 0; n < 50; n++) socket.send(`${at} ${n}`); });
    for (const [at, socket] of sockets.entries())
      for (let n = 0; n < 50; n++)
        if (await socket.next() !== `${at} ${n}`) return `${at} ${n}`;
    sockets.forEach((socket) => socket.close());
    return "all";
    """
    assert page.run(WEBSOCKET + script) == "all"


def test_upload_comes_whole(page: Page) -> None:
    script = """
    const body = Uint8Array.from({length: 3000000}, (_, at) => at * 7 >> 3);
    return await (await fetch("/digest", {method: "POST", body})).text();
    """
    body = bytes((at * 7 >> 3) & 0xFF for at in range(3_000_000))
    assert ast.literal_eval(page.run(script)) == (len(body), sha256(body).hexdigest())


def test_upload_is_streamed(browser: Browser, shared_tls_server: Server, key: str) -> None:
    # Browsers do this over HTTP/2 alone. The second piece is made once the first has arrived.
    page = browser.open(f"{shared_tls_server.url}/page")
    script = """
    const come = async () => (await fetch(`/records/${key}`)).text();
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode("first"));
        while (!(await come()).includes("first")) await new Promise((go) => setTimeout(go, 5));
        controller.enqueue(new TextEncoder().encode("second"));
        controller.close();
      }
    });
    const answer = await fetch(`/messages/${key}`, {method: "POST", body, duplex: "half"});
    return answer.status;
    """
    assert page.run(f"const key = {json.dumps(key)};" + script) == 200
    bodies = [message["body"] for message in records(shared_tls_server, key)]
    assert b"".join(bodies) == b"firstsecond"
    page.close()


def test_download_is_streamed(page: Page, key: str) -> None:
    script = """
    const reader = (await fetch(`/two-pieces/${key}`)).body.getReader();
    const read = async () => new TextDecoder().decode((await reader.read()).value);
    const found = [await read()];
    await fetch(`/open/${key}`);
    found.push(await read(), (await reader.read()).done);
    return found;
    """
    assert page.run(f"const key = {json.dumps(key)};" + script) == ["one", "two", True]


def test_download_comes_whole(page: Page) -> None:
    script = "return (await (await fetch('/large/5000000/65536')).arrayBuffer()).byteLength"
    assert page.run(script) == 5_000_000


def test_events_go_on_where_they_ended(page: Page) -> None:
    script = """
    const events = new EventSource("/events"), found = [];
    await new Promise((done) => {
      events.onmessage = ({data, lastEventId}) => {
        found.push([data, lastEventId]);
        if (found.length === 5) done();
      };
    });
    events.close();
    return found;
    """
    assert page.run(script) == [[f"event {number}", str(number)] for number in range(1, 6)]


def test_page_is_refreshed_when_the_application_changes(
    browser: Browser, start: Start, tmp_path: Path
) -> None:
    application = tmp_path / "refreshed.py"
    source = "from support.asgi import respond\n\nasync def app(scope, receive, send):\n    "
    answer = "await respond(send, b'%s', headers=[(b'content-type', b'text/html')])\n"

    def edit(text: str) -> None:
        temporary = tmp_path / "refreshed.new"
        temporary.write_text(source + answer % text)
        temporary.replace(application)

    edit("one")
    options = ("--reload", "--reload-dir", str(tmp_path), "--reload-browser", "--lifespan", "off")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    server = start("refreshed:app", *options, environment=environment)
    page = browser.open(f"{server.url}/")
    text = "return document.body.innerText"
    assert page.run(text) == "one"
    # The script in the page knows of the process now.
    page.wait_for_server_event()
    edit("two")
    page.wait_for_load()
    assert page.run(text) == "two"
    page.close()
