"""The table of every option: the one place where an option is written down.

`Settings` is a dataclass whose fields are the options, in the order in which Uvicorn's `Config`
takes them (positional use works), Pronghorn's own last. The command line, the environment
variables, the signatures of `Config` and `run()` and the documentation are derived from it; see
`options.py` for what a row may say. Every instance holds values that `Option.accept` has passed.
"""

# ruff: noqa: RUF009 (`option` makes a field)

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from pronghorn.access_format import format_complaint
from pronghorn.logging import LOG_LEVELS, LOGGING_CONFIG
from pronghorn.option_checks import (
    bind_complaint,
    exempt_complaint,
    header_complaint,
    log_level_complaint,
    memory_complaint,
    path_complaint,
    root_path_complaint,
)
from pronghorn.options import option, options_of
from pronghorn.protocol_names import (
    HTTP_PROTOCOLS,
    WS_PROTOCOLS,
    HTTPName,
    WebSocketName,
    implementation_name,
)
from pronghorn.proxy_headers import ForwardedHeader
from pronghorn.static_files import static_complaint
from pronghorn.types import Application

if TYPE_CHECKING:
    import ssl
    from configparser import RawConfigParser

LifespanName: TypeAlias = Literal["auto", "on", "off"]
AccelerateName: TypeAlias = Literal["auto", "on", "off"]
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

_UINT31: dict[str, Any] = {"minimum": 1, "maximum": 2**31 - 1}
WORKERS_MAX = 256


@dataclass(eq=False, repr=False)
class Settings:
    """The options of one server, checked."""

    app: Application | Callable[..., Any] | str
    host: str | None = option("127.0.0.1", "Bind socket to this host.", group=LISTENING)
    port: int = option(
        8000,
        "Bind socket to this port. If 0, an available port will be picked.",
        group=LISTENING,
        minimum=0,
        maximum=65535,
    )
    uds: str | None = option(None, "Bind to a UNIX domain socket.", group=LISTENING)
    fd: int | None = option(
        None, "Bind to socket from this file descriptor.", group=LISTENING, minimum=0
    )
    loop: str = option(
        "auto",
        "Event loop implementation, or a function that returns a new loop.",
        group=APPLICATION,
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
        convert=implementation_name,
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
    access_log: bool = option(True, "Enable/Disable access log.", group=LOGGING)
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
    limit_request_headers: int = option(
        100, "Maximum number of header fields in a request.", group=LIMITS, minimum=1
    )
    limit_request_header_bytes: int = option(
        65536,
        "Maximum size of a request's header fields together, in bytes.",
        group=LIMITS,
        minimum=1,
    )
    timeout_request_header: float = option(
        10, "Seconds that a client has to send a request's head.", group=LIMITS, minimum=0.001
    )
    timeout_request_body: float = option(
        30, "Seconds that a client may pause within a request's body.", group=LIMITS, minimum=0.001
    )
    timeout_write: float = option(
        60, "Seconds that a client may take nothing of a response.", group=LIMITS, minimum=0.001
    )
    bind: list[str] | str | None = option(
        None,
        "Bind to this address, in place of --host, --port, --uds and --fd: host:port, [v6]:port, "
        ":port (every address of the machine, IPv4 and IPv6), unix:path or fd://N. Can be given "
        "several times.",
        group=LISTENING,
        kind="texts",
        check=bind_complaint,
    )
    limit_request_line: int = option(
        65536, "Maximum size of a request's line in bytes.", group=LIMITS, minimum=16
    )
    limit_request_body: int | None = option(
        None, "Maximum size of a request's body in bytes. [default: none]", group=LIMITS, minimum=0
    )
    min_request_body_rate: float = option(
        32,
        "Bytes per second that a client must send of a request's body, on average over each "
        "--timeout-request-body.",
        group=LIMITS,
        minimum=0,
    )
    min_response_rate: float = option(
        240,
        "Bytes per second that a client must take of a response that waits for it, on average over "
        "each --timeout-write.",
        group=LIMITS,
        minimum=0,
    )
    timeout_shutdown_notice: float = option(
        5,
        "How many seconds before the end of --timeout-graceful-shutdown, at most half of it, an "
        "application that still waits in receive() is told http.disconnect.",
        group=LIMITS,
        minimum=0,
    )
    accelerate: AccelerateName = option(
        "auto",
        "Run FastAPI applications faster, with the same behaviour. auto leaves to FastAPI what it "
        "does not know in the installed version; on refuses to start where nothing is known.",
        group=APPLICATION,
    )
    access_log_format: str | None = option(
        None,
        "Format of the access log's lines, such as '%(client_addr)s %(method)s %(path)s %(status)s "
        "%(bytes)s %(duration)s %({user-agent}i)s %({content-type}o)s'. They are then written when "
        "a response ends. The page on logging lists the fields.",
        group=LOGGING,
        check=format_complaint,
    )
    log_json: bool = option(False, "Write both logs as JSON, one object a line.", group=LOGGING)
    limit_concurrency_exempt: list[str] | None = option(
        None,
        "Path that is served beyond --limit-concurrency, such as that of a health check. One "
        "that ends in * stands for all that begin like it. Can be given several times.",
        group=LIMITS,
        kind="texts",
        check=exempt_complaint,
    )
    ws_deflate_window_bits: int = option(
        12,
        "Size of the windows of per-message-deflate, as a power of two. A WebSocket keeps two.",
        group=PROTOCOLS,
        minimum=9,
        maximum=15,
    )
    ws_deflate_context_takeover: bool = option(
        True,
        "Let compressed WebSocket messages refer to those before them. Without it, a WebSocket "
        "keeps no window, and messages compress less.",
        group=PROTOCOLS,
    )
    ws_deflate_codecs: int = option(
        16,
        "Compressors, and as many decompressors, that wait for the next message. All WebSockets "
        "share them; one of its own for each busy WebSocket is fastest.",
        group=PROTOCOLS,
        minimum=0,
        maximum=4096,
    )
    proxy_protocol: bool = option(
        False,
        "Expect a PROXY protocol header (version 1 or 2) at the start of every connection from "
        "--forwarded-allow-ips, and take the client's address from it.",
        group=HEADERS,
        kind="flag",
    )
    static: list[str] | str | None = option(
        None,
        "Serve the files below a directory under a route, without the application: "
        "/static=./static. Can be given several times.",
        group=APPLICATION,
        kind="texts",
        metavar="ROUTE=DIR",
        check=static_complaint,
    )

    limit_max_memory: int | None = option(
        None,
        "Resident memory in MiB at which a worker is replaced, or a single process ends.",
        group=LIMITS,
        minimum=1,
        check=memory_complaint,
    )
    drain_delay: float = option(
        0,
        "Seconds to go on serving after SIGTERM, for load balancers to look elsewhere.",
        group=PROCESSES,
        minimum=0,
    )
    readiness_path: str | None = option(
        None,
        "Path that is answered with 503 as soon as the server is told to end, and by the "
        "application before.",
        group=PROCESSES,
        check=path_complaint,
    )
    preload: bool = option(
        False,
        "Import the application once, before the workers are forked off, where that is safe.",
        group=PROCESSES,
        kind="flag",
    )
    reload_browser: bool = option(
        False,
        "Have browsers refresh their pages after a reload, by a script in HTML responses.",
        group=PROCESSES,
        kind="flag",
    )
    forwarded_header: ForwardedHeader = option(
        "auto",
        "Header fields of proxies to believe: x-forwarded for X-Forwarded-For and -Proto, "
        "forwarded for Forwarded (RFC 7239). auto takes Forwarded from requests that have none of "
        "the others.",
        group=HEADERS,
    )
    strip_untrusted_forwarded: bool = option(
        False,
        "Remove Forwarded, X-Forwarded-* and X-Real-IP from requests of peers that "
        "--forwarded-allow-ips does not name.",
        group=HEADERS,
    )
    ssl_handshake_timeout: float = option(
        10, "Seconds that a client has for its TLS handshake.", group=TLS, minimum=0.001
    )
    ssl_redirect_port: int | None = option(
        None,
        "Listen to plain HTTP on this port as well, and send its clients on to https.",
        group=TLS,
        minimum=1,
        maximum=65535,
    )
    http2_max_concurrent_streams: int = option(
        100, "Most requests at once on an HTTP/2 connection.", group=PROTOCOLS, **_UINT31
    )
    http2_initial_stream_window_size: int = option(
        2**19, "Bytes that wait of an HTTP/2 request's body.", group=PROTOCOLS, **_UINT31
    )
    http2_initial_connection_window_size: int = option(
        2**20,
        "The same for all of a connection.",
        group=PROTOCOLS,
        minimum=65535,
        maximum=2**31 - 1,
    )
    http2_max_frame_size: int = option(
        2**14, "Largest HTTP/2 frame.", group=PROTOCOLS, minimum=2**14, maximum=2**24 - 1
    )
    http2_max_header_list_size: int = option(
        2**16, "Largest HTTP/2 head; each field counts 32 more.", group=PROTOCOLS, **_UINT31
    )

    def __post_init__(self) -> None:
        for name, row in OPTIONS.items():
            setattr(self, name, row.accept(getattr(self, name)))


OPTIONS = options_of(Settings)
"""Every option by name, in the order of the table; `app` is the argument and not among them."""
