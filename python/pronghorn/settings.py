"""The table of every option: the one place where an option is written down.

`Settings` is a dataclass whose fields are the options: Uvicorn's (`uvicorn_settings.py`), then
Pronghorn's own. The command line, the environment variables, the signatures of `Config` and `run()`
and the documentation are derived from it; see `options.py` for what a row may say. Every instance
holds values that `Option.accept` has passed.
"""

# ruff: noqa: RUF009 (`option` makes a field)

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pronghorn.access_format import format_complaint
from pronghorn.option_checks import (
    bind_complaint,
    exempt_complaint,
    memory_complaint,
    path_complaint,
)
from pronghorn.options import option, options_of
from pronghorn.proxy_headers import ForwardedHeader
from pronghorn.static_files import static_complaint
from pronghorn.uvicorn_settings import (
    APPLICATION,
    HEADERS,
    LIMITS,
    LISTENING,
    LOGGING,
    PROCESSES,
    PROTOCOLS,
    TLS,
    UvicornSettings,
)

AccelerateName: TypeAlias = Literal["auto", "on", "off"]

_UINT31: dict[str, Any] = {"minimum": 1, "maximum": 2**31 - 1}


@dataclass(eq=False, repr=False)
class Settings(UvicornSettings):
    """The options of one server, checked."""

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
    io_uring: bool = option(
        True,
        "Send what several connections are to get with one system call, through io_uring(7), where "
        "the kernel knows how (Linux 6.1) and allows it. --no-io-uring has it not even tried.",
        group=LISTENING,
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
        2**20, "Bytes that wait of an HTTP/2 request's body.", group=PROTOCOLS, **_UINT31
    )
    http2_initial_connection_window_size: int = option(
        2**21,
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
