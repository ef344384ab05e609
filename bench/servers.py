"""The servers that are measured, and the command line each one gets.

Comes in: where the executables are and what the server is started for. Goes out: an argument list.
Called by `run.py` and `measure.py`.

The rule it keeps: every server runs with its own defaults, one worker process and uvloop where it
offers it. What departs from the defaults is the access log (off unless the case is about it) and
what a case cannot do without; both are said in README.md, for every server alike.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cases import WEBSOCKET_APP

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Executables:
    """Where the measured programs are."""

    peers: Path  # the folder with the scripts of the benchmark's own environment
    pronghorn: Path
    floor: Path
    websocket_floor: Path


@dataclass(frozen=True)
class TLSFiles:
    """A certificate that signs itself, and its key."""

    certificate: Path
    key: Path

    def options(self, certificate: str, key: str) -> list[str]:
        """The command line's, where the flags have these names."""
        return [certificate, str(self.certificate), key, str(self.key)]


@dataclass(frozen=True)
class Launch:
    """What a server is started for."""

    port: int
    app: str
    access_log: bool
    # What a case needs beyond the defaults of some server:
    timeout_keep_alive_s: int | None = None
    connections_max: int | None = None
    body_bytes_max: int | None = None
    static_folder: Path | None = None
    tls: TLSFiles | None = None


class Role(enum.Enum):
    """What a server's figures are for."""

    FLOOR = "floor"
    OWN = "own"
    PEER = "peer"


@dataclass(frozen=True)
class Server:
    """One row of every table."""

    name: str
    role: Role
    command: Callable[[Executables, Launch], list[str]]
    distribution: str | None = None  # the Python package whose version is reported
    has_access_log: bool = True
    has_http2: bool = False
    is_only_http2: bool = False  # it has another row for HTTP/1.1
    serves_files: bool = True
    runs_applications: bool = True
    has_tls: bool = True


def floor(executables: Executables, launch: Launch) -> list[str]:
    is_websocket = launch.app == WEBSOCKET_APP
    program = executables.websocket_floor if is_websocket else executables.floor
    return [str(program), str(launch.port)]


def nginx(executables: Executables, launch: Launch) -> list[str]:
    """It is configured by a file only, which is written beside the files that it serves."""
    folder = launch.static_folder or Path()
    configuration = folder.parent / "nginx.conf"
    if launch.static_folder is not None:
        configuration.write_text(NGINX.format(port=launch.port, host=HOST, folder=folder))
    return ["nginx", "-p", str(folder.parent), "-c", str(configuration), "-e", "stderr"]


# One worker, no log, no cache of open files: its defaults but for these.
NGINX = """\
daemon off; worker_processes 1; pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    server {{
        listen {host}:{port} backlog=2048;
        location = /hello {{ return 200 "Hello, world!"; }}
        location /static/ {{ alias {folder}/; }}
    }}
}}
"""


def pronghorn(executables: Executables, launch: Launch) -> list[str]:
    options = uvicorn_options(launch)
    if launch.static_folder is not None:
        options += ["--static", f"/static={launch.static_folder}"]
    return [str(executables.pronghorn), *options]


def pronghorn_asyncio(executables: Executables, launch: Launch) -> list[str]:
    return [*pronghorn(executables, launch), "--loop", "asyncio"]


def uvicorn(executables: Executables, launch: Launch) -> list[str]:
    return [str(executables.peers / "uvicorn"), *uvicorn_options(launch)]


def uvicorn_zttp(executables: Executables, launch: Launch) -> list[str]:
    return [*uvicorn(executables, launch), "--http", "zttp", "--http2"]


def uvicorn_options(launch: Launch) -> list[str]:
    options = [launch.app, "--host", HOST, "--port", str(launch.port)]
    if not launch.access_log:
        options.append("--no-access-log")
    if launch.timeout_keep_alive_s is not None:
        options += ["--timeout-keep-alive", str(launch.timeout_keep_alive_s)]
    if launch.tls is not None:
        options += launch.tls.options("--ssl-certfile", "--ssl-keyfile")
    return options


def granian(executables: Executables, launch: Launch) -> list[str]:
    options = ["--interface", "asgi", "--loop", "uvloop", "--host", HOST]
    options += ["--port", str(launch.port)]
    if launch.access_log:
        options.append("--access-log")
    if launch.connections_max is not None:
        options += ["--backpressure", str(launch.connections_max)]
    if launch.static_folder is not None:
        options += ["--static-path-route", "/static"]
        options += ["--static-path-mount", str(launch.static_folder)]
    if launch.tls is not None:
        options += launch.tls.options("--ssl-certificate", "--ssl-keyfile")
    return [str(executables.peers / "granian"), *options, launch.app]


def h2corn(executables: Executables, launch: Launch) -> list[str]:
    options = ["--loop", "uvloop", "--host", HOST, "--port", str(launch.port)]
    if not launch.access_log:
        options.append("--no-access-log")
    if launch.timeout_keep_alive_s is not None:
        options += ["--timeout-keep-alive", str(launch.timeout_keep_alive_s)]
    if launch.tls is not None:
        options += launch.tls.options("--certfile", "--keyfile")
    return [str(executables.peers / "h2corn"), *options, launch.app]


def gunicorn(executables: Executables, launch: Launch) -> list[str]:
    options = ["--worker-class", "asgi", "--asgi-loop", "uvloop"]
    options += ["--bind", f"{HOST}:{launch.port}"]
    if launch.access_log:
        options += ["--access-logfile", "-"]
    if launch.timeout_keep_alive_s is not None:
        options += ["--keep-alive", str(launch.timeout_keep_alive_s)]
    if launch.tls is not None:
        options += launch.tls.options("--certfile", "--keyfile")
    return [str(executables.peers / "gunicorn"), *options, launch.app]


def hypercorn(executables: Executables, launch: Launch) -> list[str]:
    options = ["--worker-class", "uvloop", "--bind", f"{HOST}:{launch.port}"]
    if launch.access_log:
        options += ["--access-logfile", "-"]
    if launch.timeout_keep_alive_s is not None:
        options += ["--keep-alive", str(launch.timeout_keep_alive_s)]
    if launch.tls is not None:
        options += launch.tls.options("--certfile", "--keyfile")
    return [str(executables.peers / "hypercorn"), *options, launch.app]


def fastpysgi(executables: Executables, launch: Launch) -> list[str]:
    options = ["--host", HOST, "--port", str(launch.port), launch.app]
    if launch.body_bytes_max is None:
        return [str(executables.peers / "fastpysgi"), *options]
    # Its command line has no option for the body limit (10 MB), only its Python interface has.
    code = (
        "import fastpysgi; "
        f"fastpysgi.server.max_content_length = {launch.body_bytes_max}; "
        "fastpysgi.run_from_cli()"
    )
    return [str(executables.peers / "python"), "-c", code, *options]


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("floor", Role.FLOOR, floor, has_access_log=False, serves_files=False, has_tls=False),
        Server(
            "nginx",
            Role.FLOOR,
            nginx,
            has_access_log=False,
            runs_applications=False,
            has_tls=False,
        ),
        Server("pronghorn", Role.OWN, pronghorn, has_http2=True),
        Server("pronghorn-asyncio", Role.OWN, pronghorn_asyncio, has_http2=True),
        Server("uvicorn", Role.PEER, uvicorn, "uvicorn"),
        Server(
            "uvicorn-zttp",
            Role.PEER,
            uvicorn_zttp,
            "zttp",
            has_http2=True,
            is_only_http2=True,
        ),
        Server("granian", Role.PEER, granian, "granian", has_http2=True),
        Server("h2corn", Role.PEER, h2corn, "h2corn", has_http2=True),
        Server("fastpysgi", Role.PEER, fastpysgi, "fastpysgi", has_access_log=False, has_tls=False),
        Server("gunicorn", Role.PEER, gunicorn, "gunicorn"),
        Server("hypercorn", Role.PEER, hypercorn, "hypercorn", has_http2=True),
    )
}

SMOKE_SERVERS = ("floor", "pronghorn", "uvicorn")


def needs_pronghorn(servers: Iterable[Server]) -> bool:
    """Whether Pronghorn has to be installed for `servers`."""
    return any(server.role is Role.OWN for server in servers)


def shown_command(server: Server) -> str:
    """The command line as a reader would type it, without this machine's folders."""
    folder = Path()
    executables = Executables(
        peers=folder,
        pronghorn=Path("pronghorn"),
        floor=Path("floor"),
        websocket_floor=Path("websocket_floor"),
    )
    launch = Launch(port=8000, app="apps:app", access_log=False)
    return " ".join(server.command(executables, launch))
