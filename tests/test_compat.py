"""`pronghorn.compat`: programs written for Uvicorn, unchanged, on Pronghorn.

Uvicorn itself is installed beside it, so that a program that ran on the wrong server would show.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import APP, free_port, is_ours, running
from support.tls import Certificates

SCRIPT = """
import sys
import uvicorn

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": uvicorn.__file__.encode()})

if __name__ == "__main__":
    uvicorn.run("script:app", port=int(sys.argv[1]))
"""

OBJECTS = """
import asyncio, logging, sys
import uvicorn
from uvicorn.config import LOGGING_CONFIG

LOGGING_CONFIG["formatters"]["access"]["fmt"] = "MINE %(request_line)s"
LOGGING_CONFIG["loggers"]["uvicorn.error"]["level"] = "WARNING"

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"objects"})

class Server(uvicorn.Server):
    def install_signal_handlers(self):
        raise AssertionError("nobody calls it")

config = uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", http="h11")
server = Server(config=config)
asyncio.run(server.serve())
"""

SPAWNS = """
import multiprocessing, subprocess, sys
import uvicorn

def report():
    print("child", uvicorn.__file__, flush=True)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=report)
    child.start()
    child.join()
    subprocess.run([sys.executable, "-c", "import uvicorn; print('other', uvicorn.__file__)"])
"""


SUPERVISES = """
import signal, sys
import uvicorn
from uvicorn._subprocess import get_subprocess
from uvicorn.protocols.http.flow_control import service_unavailable

async def app(scope, receive, send):
    await service_unavailable(scope, receive, send)

if __name__ == "__main__":
    config = uvicorn.Config("supervises:app", port=int(sys.argv[1]), lifespan="off")
    socket = config.bind_socket()
    child = get_subprocess(config, uvicorn.Server(config).run, [socket])
    signal.signal(signal.SIGINT, lambda *_: child.terminate())
    child.start()
    child.join()
    print("child ended", child.exitcode, flush=True)
"""

TLS = """
import ssl, sys
from uvicorn.config import create_ssl_context

certificate, key, authority = sys.argv[1:]
options = (ssl.PROTOCOL_TLS_SERVER, ssl.CERT_OPTIONAL, authority, "ECDHE")
context = create_ssl_context(certificate, key, None, *options, alpn_protocols=["h2"])
client = ssl.create_default_context(cafile=authority)
client.set_alpn_protocols(["http/1.1", "h2"])
down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
asking = client.wrap_bio(down, up, server_hostname="localhost")
answering = context.wrap_bio(up, down, server_side=True)
waiting = [asking, answering]
while waiting:
    for each in list(waiting):
        try:
            each.do_handshake()
            waiting.remove(each)
        except ssl.SSLWantReadError:
            pass
print(asking.selected_alpn_protocol(), context.verify_mode.name, len(context.get_ca_certs()))
"""

PROGRAMS = {
    "script": SCRIPT,
    "objects": OBJECTS,
    "spawns": SPAWNS,
    "supervises": SUPERVISES,
    "tls": TLS,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(APP)
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def test_script_that_runs_uvicorn_runs_on_pronghorn(directory: Path) -> None:
    port = free_port()
    with running(directory, "-m", "pronghorn.compat", "script.py", str(port), port=port) as program:
        response = program.get()
        assert is_ours(response)
        assert b"/pronghorn/compat/" in response.body
        assert program.end() == 0
        assert (
            f"Pronghorn running on http://127.0.0.1:{port} (Press CTRL+C" in program.stderr.text()
        )


def test_script_that_uses_the_objects_runs_on_pronghorn(directory: Path) -> None:
    port = free_port()
    arguments = ("-m", "pronghorn.compat", "objects.py", str(port))
    with running(directory, *arguments, port=port) as program:
        assert is_ours(program.get("/x"))
        program.stdout.wait_for(r"^MINE GET /x HTTP/1\.1$")
        # The interrupt is raised again, as from Uvicorn.
        assert program.end() == -signal.SIGINT
        assert "INFO" not in program.stderr.text()


@pytest.mark.parametrize(
    "command",
    [
        ("fastapi", "run"),
        ("-m", "fastapi", "run"),
        ("fastapi", "run", "--workers", "2"),
        ("fastapi", "dev"),
    ],
    ids=["command", "module", "workers", "reload"],
)
def test_fastapi_command_runs_on_pronghorn(directory: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    arguments = ("-m", "pronghorn.compat", *command, "main.py", "--port", str(port))
    with running(directory, *arguments, port=port) as program:
        response = program.get()
        assert is_ours(response)
        assert response.body == b'{"message":"hello"}'
        program.end()
        assert "Pronghorn running on http://" in program.stderr.text()


@pytest.mark.parametrize("command", [("uvicorn",), ("-m", "uvicorn")], ids=["command", "module"])
def test_command_of_uvicorn_runs_on_pronghorn(directory: Path, command: tuple[str, ...]) -> None:
    port = free_port()
    arguments = ("-m", "pronghorn.compat", *command, "main:app", "--port", str(port))
    with running(directory, *arguments, port=port) as program:
        assert is_ours(program.get())


def test_program_that_installs_it_itself_runs_on_pronghorn(directory: Path) -> None:
    port = free_port()
    text = f"import uvicorn, pronghorn.compat.uvicorn\n{SCRIPT}"
    (directory / "script.py").write_text(text)
    with running(directory, "script.py", str(port), port=port) as program:
        assert is_ours(program.get())


def test_child_processes_see_it_too(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pronghorn.compat", "spawns.py"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    said = done.stdout.splitlines()
    assert [line.split()[0] for line in said] == ["child", "other"]
    assert all("/pronghorn/compat/" in line for line in said)


def test_program_that_supervises_its_own_processes_runs_on_pronghorn(directory: Path) -> None:
    port = free_port()
    arguments = ("-m", "pronghorn.compat", "supervises.py", str(port))
    with running(directory, *arguments, port=port) as program:
        response = program.get()
        assert response.status == 503
        assert response.values(b"server") == [b"pronghorn"]
        assert response.body == b"Service Unavailable"
        assert program.end() == 0
        # The signal that ended the server is raised again.
        assert f"child ended {-signal.SIGTERM}" in program.stdout.text()


def test_context_is_made_of_the_options(directory: Path, certificates: Certificates) -> None:
    issued = certificates.issue("localhost", file="compat")
    files = (issued.certificate, issued.key, certificates.authority_file)
    done = subprocess.run(
        [sys.executable, "-m", "pronghorn.compat", "tls.py", *files],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("h2 CERT_OPTIONAL 1\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "Usage: python -m pronghorn.compat"),
        (("--nonsense",), "Usage: python -m pronghorn.compat"),
        (("no-such-program",), "Error: `no-such-program` is no file and no command;"),
        (("true",), "is no Python script; use `-m MODULE`."),
    ],
)
def test_what_cannot_be_run_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pronghorn.compat", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


IMPORTS = """
uvicorn Config Server main run __version__
uvicorn.main Config Server ServerState main run LOGGING_CONFIG LOG_LEVELS STARTUP_FAILURE logger
uvicorn.main Multiprocess ChangeReload LEVEL_CHOICES LIFESPAN_CHOICES INTERFACE_CHOICES
uvicorn.main print_version SSL_PROTOCOL_VERSION HTTPProtocolType LoopFactoryType InterfaceType
uvicorn.config Config LOGGING_CONFIG LOG_LEVELS TRACE_LOG_LEVEL STARTUP_FAILURE HTTP_PROTOCOLS
uvicorn.config WS_PROTOCOLS LIFESPAN LOOP_FACTORIES INTERFACES SSL_PROTOCOL_VERSION
uvicorn.config HTTPProtocolType WSProtocolType LifespanType InterfaceType LoopFactoryType
uvicorn.config create_ssl_context import_from_string logger
uvicorn.server Server ServerState HANDLED_SIGNALS Config logger
uvicorn.logging DefaultFormatter AccessFormatter ColourizedFormatter TRACE_LOG_LEVEL
uvicorn.importer import_from_string ImportFromStringError
uvicorn.lifespan.on LifespanOn
uvicorn.lifespan.off LifespanOff
uvicorn.loops.auto auto_loop_factory
uvicorn.loops.asyncio asyncio_loop_factory
uvicorn.loops.uvloop uvloop_loop_factory
uvicorn.middleware.proxy_headers ProxyHeadersMiddleware
uvicorn.middleware.wsgi WSGIMiddleware
uvicorn.middleware.asgi2 ASGI2Middleware
uvicorn.middleware.message_logger MessageLoggerMiddleware
uvicorn.protocols.utils ClientDisconnected get_remote_addr get_local_addr is_ssl
uvicorn.protocols.utils get_client_addr get_path_with_query_string
uvicorn.protocols.http.flow_control CLOSE_HEADER HIGH_WATER_LIMIT service_unavailable
uvicorn.protocols.http.auto AutoHTTPProtocol
uvicorn.protocols.http.h11_impl H11Protocol
uvicorn.protocols.http.httptools_impl HttpToolsProtocol
uvicorn.protocols.websockets.auto AutoWebSocketsProtocol
uvicorn.protocols.websockets.websockets_impl WebSocketProtocol
uvicorn.protocols.websockets.websockets_sansio_impl WebSocketsSansIOProtocol
uvicorn._ansi style
uvicorn._compat asyncio_run iscoroutinefunction
uvicorn._subprocess get_subprocess subprocess_started spawn
uvicorn._types ASGIApplication ASGI3Application Scope HTTPScope WWWScope ASGIReceiveCallable
uvicorn._types ASGI2Application ASGI2Protocol ASGISendCallable ASGIReceiveEvent ASGISendEvent
uvicorn._types HTTPRequestEvent HTTPResponseStartEvent HTTPResponseBodyEvent HTTPDisconnectEvent
uvicorn._types HTTPResponseDebugEvent HTTPServerPushEvent HTTPResponseTrailersEvent
uvicorn._types WebSocketScope WebSocketEvent WebSocketAcceptEvent WebSocketCloseEvent
uvicorn._types WebSocketResponseStartEvent WebSocketResponseBodyEvent WebSocketDisconnectEvent
uvicorn._types LifespanScope LifespanStartupCompleteEvent LifespanStartupFailedEvent
uvicorn._types LifespanShutdownCompleteEvent LifespanShutdownFailedEvent LifespanStartupEvent
uvicorn._types Environ StartResponse ExcInfo WSGIApp
uvicorn.workers UvicornWorker UvicornH11Worker
uvicorn.supervisors ChangeReload Multiprocess
uvicorn.supervisors.multiprocess Multiprocess Process SIGNALS
uvicorn.supervisors.basereload BaseReload
uvicorn.supervisors.statreload StatReload
uvicorn.supervisors.watchfilesreload FileFilter WatchFilesReload
"""


@pytest.mark.parametrize("install", ["", "import pronghorn.compat.uvicorn"], ids=["real", "ours"])
def test_import_paths_are_those_of_uvicorn(install: str) -> None:
    """The list is checked against Uvicorn itself, so that it holds what is really there."""
    lines = [line.split() for line in IMPORTS.split("\n") if line]
    program = "\n".join(
        [
            "import warnings; warnings.simplefilter('ignore')",
            install,
            *(f"from {module} import {', '.join(names)}" for module, *names in lines),
            "import uvicorn; print('/pronghorn/compat/' in uvicorn.__file__)",
            "print(get_client_addr({'client': ('::1', 5)}), callable(uvicorn.main))",
            "config = Config('main:app', http=H11Protocol, ws='none')",
            "print(config.http if isinstance(config.http, str) else 'h11')",
            "print(auto_loop_factory(use_subprocess=True)().close())",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    is_ours, address, http, loop = done.stdout.splitlines()
    assert is_ours == str(bool(install))
    assert address == "::1:5 True"
    assert (http, loop) == ("h11", "None")


HELPERS = """
import asyncio, socket
from pathlib import Path
from uvicorn import Config
from uvicorn.middleware.wsgi import WSGIMiddleware
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.supervisors.basereload import BaseReload
from uvicorn.supervisors.watchfilesreload import FileFilter

class Transport(asyncio.Transport):
    def __init__(self, client):
        super().__init__({"socket": client})

with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        print(get_remote_addr(Transport(client)) == server.getsockname())
        print(get_local_addr(Transport(client)) == client.getsockname())
    print(get_remote_addr(Transport(server)))

class Mine(WSGIMiddleware):
    pass

print(isinstance(Mine(print), WSGIMiddleware))

Path("vendor").mkdir()
excludes = ["vendor", "c*.py"]
config = Config("main:app", reload=True, reload_excludes=excludes, log_level="error")
changed = [Path("app.py"), Path("vendor/app.py"), Path("cached.py")]
print([FileFilter(config)(each) for each in changed])

class Watching(BaseReload):
    def should_restart(self):
        self.should_exit.set()
        self.pause()
        print("goes on after the end")

print(list(Watching(config, None, [])))
"""


@pytest.mark.parametrize("install", ["", "import pronghorn.compat.uvicorn"], ids=["real", "ours"])
def test_helpers_do_what_uvicorns_do(install: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{install}\n{HELPERS}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    expected = ["True", "True", "None", "True", "[True, False, False]", "[]"]
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")
