"""WebSocket with the clients and the frameworks that people use."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import picows
import pytest
import websocket as websocket_client
import websockets
import wsproto
from conftest import Start
from support.server import Server
from websockets.sync.client import connect
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

pytestmark = pytest.mark.strict

TEXT = "grüße, 世界 \U0001f40e " * 300
NODE_MODULES = Path(__file__).parent / ".node"


@pytest.fixture(scope="module")
def echo_url(shared_server: Server) -> str:
    return f"ws://{shared_server.host}/echo"


@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets(echo_url: str, compression: str | None) -> None:
    with connect(echo_url, compression=compression) as client:
        for message in (TEXT, b"\0\xff" * 1000, "", b""):
            client.send(message)
            assert client.recv() == message
        client.send(["in ", "three ", "pieces"])
        assert client.recv() == "in three pieces"
        assert client.ping().wait(5)
    assert client.close_code == 1000


def test_many_websockets_at_once(echo_url: str) -> None:
    async def talk(number: int) -> None:
        async with websockets.connect(echo_url) as client:
            for turn in range(20):
                await client.send(f"{number} {turn} {TEXT}")
                assert await client.recv() == f"{number} {turn} {TEXT}"

    async def talk_all() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*map(talk, range(50)))

    asyncio.run(talk_all())


def test_websocket_client(echo_url: str) -> None:
    client = websocket_client.create_connection(echo_url, timeout=5)
    client.send(TEXT)
    assert client.recv() == TEXT
    client.send_binary(b"\0\xff")
    assert client.recv() == b"\0\xff"
    client.ping("are you there")
    assert client.recv_data(control_frame=True) == (
        websocket_client.ABNF.OPCODE_PONG,
        b"are you there",
    )
    client.close()


def test_picows(echo_url: str) -> None:
    class Listener(picows.WSListener):  # type: ignore[misc]
        def __init__(self) -> None:
            self.received: list[str] = []

        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            transport.send(picows.WSMsgType.TEXT, TEXT.encode())

        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type == picows.WSMsgType.TEXT:
                self.received.append(frame.get_payload_as_utf8_text())
                transport.send_close(picows.WSCloseCode.OK)

    async def talk() -> list[str]:
        transport, listener = await picows.ws_connect(Listener, echo_url)
        async with asyncio.timeout(5):
            await transport.wait_disconnected()
        received: list[str] = listener.received
        return received

    assert asyncio.run(talk()) == [TEXT]


def test_wsproto(server: Server) -> None:
    protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    extension = wsproto.extensions.PerMessageDeflate()
    assert isinstance(server.address, tuple)
    with socket.create_connection(server.address, timeout=5) as connection:

        def events(outgoing: bytes) -> Iterator[wsproto.events.Event]:
            connection.sendall(outgoing)
            while True:
                protocol.receive_data(connection.recv(65536))
                yield from protocol.events()

        request = Request(host=server.host, target="/echo", extensions=[extension])
        assert isinstance(next(events(protocol.send(request))), AcceptConnection)
        received = ""
        for event in events(protocol.send(Message(data=TEXT))):
            assert isinstance(event, TextMessage)
            received += event.data
            if event.message_finished:
                break
        assert received == TEXT
        assert next(events(protocol.send(Ping(b"x")))) == Pong(b"x")
        closed = next(events(protocol.send(CloseConnection(code=1000))))
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1000


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where Node.js finds `ws`."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    if not (NODE_MODULES / "node_modules" / "ws").exists():
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", "ws@8"]
        NODE_MODULES.mkdir(exist_ok=True)
        subprocess.run([*install, "--prefix", str(NODE_MODULES)], check=True, timeout=50)
    return NODE_MODULES / "node_modules"


NODE_CLIENT = """
const WebSocket = require("ws");
const [url, repeats, deflate] = process.argv.slice(1);
const text = "grüße, 世界 ".repeat(Number(repeats)), received = [];
const client = new WebSocket(url, { perMessageDeflate: deflate === "true" });
function add(what) {
  received.push(what);
  if (received.length === 3) client.close(3000, "bye");
}
client.on("open", () => {
  client.send(text);
  client.send(Buffer.from([0, 255]));
  client.ping("p");
});
client.on("pong", (data) => add("pong " + data));
client.on("message", (data, binary) => add(binary ? [...data] : data.toString() === text));
client.on("close", (code, reason) => console.log(JSON.stringify([...received, code, "" + reason])));
client.on("error", (error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("deflate", ["true", "false"])
def test_ws_of_node(echo_url: str, node_modules: Path, deflate: str) -> None:
    command = ["node", "-e", NODE_CLIENT, echo_url, "1000", deflate]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        env={"NODE_PATH": str(node_modules), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert result.returncode == 0, result.stderr
    received = json.loads(result.stdout)
    assert sorted(map(str, received[:3])) == ["True", "[0, 255]", "pong p"]
    assert received[3:] == [3000, "bye"]


@pytest.mark.parametrize("app", ["fastapi_app", "starlette_app", "channels_app"])
def test_framework_echoes(start: Start, app: str) -> None:
    server = start(f"support.websocket_apps:{app}")
    with connect(f"ws://{server.host}/echo", subprotocols=["chat"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "chat"
        for text in ("a", TEXT, ""):
            client.send(text)
            assert client.recv() == text
    server.stderr.wait_for("connection closed")
    assert "Traceback" not in server.stderr.text()


def test_framework_denies_what_it_does_not_know(start: Start) -> None:
    server = start("support.websocket_apps:fastapi_app")
    with pytest.raises(websockets.InvalidStatus) as refused:
        connect(f"ws://{server.host}/unknown")
    assert refused.value.response.status_code == 403
