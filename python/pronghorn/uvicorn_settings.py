"""The first part of the table of options: those that Uvicorn has.

They are in the order in which Uvicorn's `Config` takes them, so that positional use works.
`settings.py` adds Pronghorn's own, and says what the table is for.
"""

# ruff: noqa: RUF009 (`option` makes a field)

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from pronghorn.logging import LOG_LEVELS, LOGGING_CONFIG
from pronghorn.option_checks import (
    header_complaint,
    log_level_complaint,
    root_path_complaint,
)
from pronghorn.options import option
from pronghorn.protocol_names import (
    HTTP_PROTOCOLS,
    WS_PROTOCOLS,
    HTTPName,
    WebSocketName,
    implementation_name,
    websocket_name,
)
from pronghorn.types import Application

if TYPE_CHECKING:
    import ssl
    from configparser import RawConfigParser

LifespanName: TypeAlias = Literal["auto", "on", "off"]
InterfaceName: TypeAlias = Literal["auto", "asgi3", "asgi2", "wsgi"]
FilePath: TypeAlias = str | os.PathLike[str]
LogConfig: TypeAlias = "dict[str, Any] | FilePath | RawConfigParser | IO[Any]"

APPLICATION = "Application"
LISTENING = "Listening"
PROTOCOLS = "Protocols"
LOGGING = "Logging"
HEADERS = "Headers and proxies"
LIMITS = "Limits and timeouts"
PROCESSES = "Processes and reloading"
TLS = "TLS"

WORKERS_MAX = 256


def _means(meaning: Any, *spellings: Any) -> Callable[[Any], Any]:
    """What Uvicorn takes for `meaning` without saying so."""
    return lambda value: meaning if value in spellings else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value


@dataclass(eq=False, repr=False)
class UvicornSettings:
    """The options of one server that it shares with Uvicorn."""

    app: Application | Callable[..., Any] | str
    host: str | None = option("127.0.0.1", "Bind socket to this host.", group=LISTENING)
    port: int = option(
        8000,
        "Bind socket to this port. If 0, an available port will be picked.",
        group=LISTENING,
        minimum=0,
        maximum=65535,
        convert=_means(0, None),
    )
    uds: str | None = option(None, "Bind to a UNIX domain socket.", group=LISTENING)
    fd: int | None = option(
        None, "Bind to socket from this file descriptor.", group=LISTENING, minimum=0
    )
    # Programs pass even loops, for `serve`, which runs in the one that is there.
    loop: "str | Callable[[], Any] | None" = option(
        "auto",
        "Event loop implementation, or a function that returns a new loop.",
        group=APPLICATION,
        kind="text",
        metavar="[auto|asyncio|uvloop|zuvloop|none|MODULE:FACTORY]",
    )
    http: HTTPName | type[Any] | str = option(
        "auto",
        "HTTP protocol implementation. Every name stands for the one engine.",
        group=PROTOCOLS,
        kind="choice",
        choices=tuple(HTTP_PROTOCOLS),
        convert=implementation_name,
    )
    http2: bool = option(
        True, "Enable/Disable HTTP/2, over TLS and for clients that begin with it.", group=PROTOCOLS
    )
    ws: WebSocketName | type[Any] | str = option(
        "auto",
        "WebSocket protocol implementation. Every name but none stands for the one engine.",
        group=PROTOCOLS,
        kind="choice",
        choices=tuple(WS_PROTOCOLS),
        convert=websocket_name,
    )
    ws_max_size: int = option(
        16 * 1024 * 1024, "WebSocket max size message in bytes.", group=PROTOCOLS, minimum=0
    )
    ws_max_queue: int = option(
        32, "The maximum length of the WebSocket message queue.", group=PROTOCOLS, minimum=1
    )
    ws_ping_interval: float | None = option(
        20.0, "WebSocket ping interval in seconds.", group=PROTOCOLS, minimum=0
    )
    ws_ping_timeout: float | None = option(
        20.0, "WebSocket ping timeout in seconds.", group=PROTOCOLS, minimum=0
    )
    ws_per_message_deflate: bool = option(
        True, "WebSocket per-message-deflate compression.", group=PROTOCOLS, kind="boolean"
    )
    lifespan: LifespanName = option("auto", "Lifespan implementation.", group=APPLICATION)
    env_file: FilePath | None = option(
        None,
        "Environment configuration file, read before the application is imported.",
        group=APPLICATION,
        kind="path",
    )
    log_config: "LogConfig | None" = option(
        about="Logging configuration file. Supported formats: .ini, .json, .yaml.",
        group=LOGGING,
        kind="path",
        factory=lambda: LOGGING_CONFIG,
    )
    log_level: str | int | None = option(
        None,
        "Log level. [default: info]",
        group=LOGGING,
        kind="text",
        choices=tuple(LOG_LEVELS),
        check=log_level_complaint,
    )
    access_log: bool = option(
        True, "Enable/Disable access log.", group=LOGGING, convert=_means(True, None)
    )
    use_colors: bool | None = option(None, "Enable/Disable colorized logging.", group=LOGGING)
    interface: InterfaceName = option(
        "auto",
        "Select ASGI3, ASGI2, or WSGI as the application interface.",
        group=APPLICATION,
    )
    reload: bool = option(
        False,
        "Enable auto-reload.",
        group=PROCESSES,
        kind="flag",
    )
    reload_dirs: Sequence[str | os.PathLike[str]] | str | None = option(
        None,
        "Set reload directories explicitly, instead of using the current working directory.",
        group=PROCESSES,
        kind="paths",
        flag="--reload-dir",
    )
    reload_delay: float = option(
        0.25,
        "Delay between previous and next check if application needs to be. Defaults to 0.25s.",
        group=PROCESSES,
        minimum=0,
    )
    reload_includes: list[str] | str | None = option(
        None,
        "Set glob patterns to include while watching for files. Includes '*.py' by default; "
        "these defaults can be overridden with `--reload-exclude`. "
        "This option has no effect unless watchfiles is installed.",
        group=PROCESSES,
        kind="texts",
        flag="--reload-include",
    )
    reload_excludes: list[str] | str | None = option(
        None,
        "Set glob patterns to exclude while watching for files. Includes "
        "'.*, .py[cod], .sw.*, ~*' by default; these defaults can be overridden "
        "with `--reload-include`. This option has no effect unless watchfiles is installed.",
        group=PROCESSES,
        kind="texts",
        flag="--reload-exclude",
    )
    workers: int | None = option(
        None,
        "Number of worker processes. Defaults to the $WEB_CONCURRENCY environment variable if "
        "available, or 1. Not valid with --reload.",
        group=PROCESSES,
        minimum=1,
        maximum=WORKERS_MAX,
        convert=_means(1, 0, "0"),
    )
    proxy_headers: bool = option(
        True,
        "Enable/Disable X-Forwarded-Proto, X-Forwarded-For to populate url scheme and remote "
        "address info.",
        group=HEADERS,
    )
    server_header: bool = option(True, "Enable/Disable default Server header.", group=HEADERS)
    date_header: bool = option(True, "Enable/Disable default Date header.", group=HEADERS)
    forwarded_allow_ips: list[str] | str | None = option(
        None,
        "Comma separated list of IP Addresses, IP Networks, or literals (e.g. UNIX Socket path) "
        "to trust with proxy headers. Defaults to the $FORWARDED_ALLOW_IPS environment variable "
        "if available, or '127.0.0.1,::1'. The literal '*' means trust everything.",
        group=HEADERS,
        convert=_listed,
    )
    root_path: str = option(
        "",
        "Set the ASGI 'root_path' for applications submounted below a given URL path.",
        group=APPLICATION,
        check=root_path_complaint,
    )
    limit_concurrency: int | None = option(
        None,
        "Maximum number of concurrent connections or tasks to allow, before issuing HTTP 503 "
        "responses.",
        group=LIMITS,
        minimum=1,
    )
    limit_max_requests: int | None = option(
        None,
        "Maximum number of requests to service before terminating the process.",
        group=LIMITS,
        minimum=1,
    )
    limit_max_requests_jitter: int = option(
        0,
        "Maximum jitter to add to limit_max_requests. Staggers worker restarts to avoid all "
        "workers restarting simultaneously.",
        group=LIMITS,
        minimum=0,
    )
    backlog: int = option(
        2048, "Maximum number of connections to hold in backlog.", group=LISTENING, minimum=0
    )
    timeout_keep_alive: float = option(
        5,
        "Close Keep-Alive connections if no new data is received within this timeout (in seconds).",
        group=LIMITS,
        minimum=0,
    )
    timeout_notify: float = option(
        30, "Seconds between calls of callback_notify.", group=LIMITS, flag=None, minimum=0
    )
    timeout_graceful_shutdown: float | None = option(
        None,
        "Maximum number of seconds to wait for graceful shutdown.",
        group=LIMITS,
        minimum=0,
    )
    timeout_worker_healthcheck: float = option(
        5,
        "Maximum number of seconds to wait for a worker to show a sign of life.",
        group=PROCESSES,
        minimum=0.1,
    )
    callback_notify: Callable[..., Awaitable[None]] | None = option(
        None, "Called and awaited every timeout_notify seconds.", group=PROCESSES
    )
    ssl_keyfile: list[FilePath] | FilePath | None = option(
        None,
        "SSL key file; can be given several times, once for each certificate.",
        group=TLS,
        kind="files",
    )
    ssl_certfile: list[FilePath] | FilePath | None = option(
        None,
        "SSL certificate file; can be given several times, and clients get the certificate of the "
        "host name that they ask for (SNI).",
        group=TLS,
        kind="files",
    )
    ssl_keyfile_password: str | None = option(None, "SSL keyfile password.", group=TLS)
    ssl_version: int = option(
        17,  # ssl.PROTOCOL_TLS_SERVER; the module is not imported for a number
        "SSL version to use (see stdlib ssl module's).",
        group=TLS,
    )
    ssl_cert_reqs: int = option(
        0,  # ssl.CERT_NONE
        "Whether client certificate is required (see stdlib ssl module's).",
        group=TLS,
    )
    ssl_ca_certs: FilePath | None = option(None, "CA certificates file.", group=TLS, kind="text")
    ssl_ciphers: str | None = option(
        None,
        "Ciphers to use (see stdlib ssl module's). Defaults to OpenSSL's safe defaults.",
        group=TLS,
    )
    ssl_context_factory: "Callable[[Any, Callable[[], ssl.SSLContext]], ssl.SSLContext] | None" = (
        option(
            None,
            "Called with the Config and the function that makes the default context.",
            group=TLS,
            kind="object",
        )
    )
    headers: list[tuple[str, str]] | None = option(
        None,
        "Specify custom default HTTP response headers as a Name:Value pair.",
        group=HEADERS,
        kind="texts",
        flag="--header",
        check=header_complaint,
    )
    factory: bool = option(
        False,
        "Treat APP as an application factory, i.e. a () -> <ASGI app> callable.",
        group=APPLICATION,
        kind="flag",
    )
    h11_max_incomplete_event_size: int | None = option(
        None,
        "Uvicorn's name for --limit-request-header-bytes, which it overrides when given.",
        group=LIMITS,
        minimum=1,
    )
    reset_contextvars: bool = option(
        False,
        "Run each ASGI request in a fresh contextvars.Context. Hides context set in the lifespan.",
        group=APPLICATION,
    )
    app_dir: str | None = option(
        None,
        "Look for APP in the specified directory, by adding this to the PYTHONPATH. Defaults to "
        "the current working directory.",
        group=APPLICATION,
    )
