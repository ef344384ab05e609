"""`Config` and the tables around it."""

import os
import ssl
from typing import get_args

from pronghorn.config import Config, logger
from pronghorn.errors import STARTUP_FAILURE
from pronghorn.importer import import_from_string
from pronghorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL
from pronghorn.loops import LoopName
from pronghorn.protocol_names import HTTP_PROTOCOLS, WS_PROTOCOLS, HTTPName, WebSocketName
from pronghorn.uvicorn_settings import InterfaceName, LifespanName

SSL_PROTOCOL_VERSION = 17
"""`ssl.PROTOCOL_TLS_SERVER`."""

INTERFACES = list(get_args(InterfaceName))
LIFESPAN = {
    "auto": "uvicorn.lifespan.on:LifespanOn",
    "on": "uvicorn.lifespan.on:LifespanOn",
    "off": "uvicorn.lifespan.off:LifespanOff",
}
LOOP_FACTORIES = {
    "none": None,
    "auto": "uvicorn.loops.auto:auto_loop_factory",
    "asyncio": "uvicorn.loops.asyncio:asyncio_loop_factory",
    "uvloop": "uvicorn.loops.uvloop:uvloop_loop_factory",
    "zuvloop": "uvicorn.loops.zuvloop:zuvloop_loop_factory",
}

HTTPProtocolType = HTTPName
WSProtocolType = WebSocketName
LifespanType = LifespanName
InterfaceType = InterfaceName
LoopFactoryType = LoopName

_Path = str | os.PathLike[str]


def create_ssl_context(
    certfile: _Path,
    keyfile: _Path | None,
    password: str | None,
    ssl_version: int,
    cert_reqs: int,
    ca_certs: _Path | None,
    ciphers: str | None,
    alpn_protocols: list[str] | None = None,
) -> ssl.SSLContext:
    """A context as the options describe it, for programs that change it; not the server's own."""
    context = ssl.SSLContext(ssl_version)
    context.load_cert_chain(certfile, keyfile, password or None)
    context.verify_mode = ssl.VerifyMode(cert_reqs)
    if ca_certs:
        context.load_verify_locations(ca_certs)
    if ciphers:
        context.set_ciphers(ciphers)
    if alpn_protocols:
        context.set_alpn_protocols(alpn_protocols)
    return context


class UvicornDeprecationWarning(UserWarning):
    """Never issued here."""


__all__ = [
    "HTTP_PROTOCOLS",
    "INTERFACES",
    "LIFESPAN",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "LOOP_FACTORIES",
    "SSL_PROTOCOL_VERSION",
    "STARTUP_FAILURE",
    "TRACE_LOG_LEVEL",
    "WS_PROTOCOLS",
    "Config",
    "HTTPProtocolType",
    "InterfaceType",
    "LifespanType",
    "LoopFactoryType",
    "UvicornDeprecationWarning",
    "WSProtocolType",
    "create_ssl_context",
    "import_from_string",
    "logger",
]
