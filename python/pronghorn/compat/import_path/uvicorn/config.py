"""`Config` and the tables around it."""

from typing import get_args

from pronghorn.config import Config
from pronghorn.errors import STARTUP_FAILURE
from pronghorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL
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
    "UvicornDeprecationWarning",
    "WSProtocolType",
]
