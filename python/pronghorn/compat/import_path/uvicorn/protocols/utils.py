"""Helpers that middleware and loggers use."""

import asyncio
from typing import Any

from pronghorn.access_log import client_address, path_with_query_string
from pronghorn.errors import ClientDisconnected
from pronghorn.types import Address, ServerAddress, WWWScope

get_path_with_query_string = path_with_query_string


def get_client_addr(scope: WWWScope) -> str:
    """The client's `host:port`, or nothing."""
    return client_address(scope.get("client"))


def get_remote_addr(transport: asyncio.BaseTransport) -> Address | None:
    """The peer's host and port; None for a Unix socket."""
    socket = transport.get_extra_info("socket")
    if socket is None:
        return _internet(transport.get_extra_info("peername"))
    try:
        return _internet(socket.getpeername())
    except OSError:
        return None


def get_local_addr(transport: asyncio.BaseTransport) -> ServerAddress | None:
    """The server's host and port, or the path of its Unix socket."""
    socket = transport.get_extra_info("socket")
    name = transport.get_extra_info("sockname") if socket is None else socket.getsockname()
    return (name, None) if isinstance(name, str) else _internet(name)


def is_ssl(transport: asyncio.BaseTransport) -> bool:
    """Whether it speaks TLS."""
    return bool(transport.get_extra_info("sslcontext"))


def _internet(name: Any) -> Address | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple | list) else None


__all__ = [
    "ClientDisconnected",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
]
