"""Names of protocol implementations: Uvicorn has several, which all stand for the one engine here.

`--http` and `--ws` take a name, and as in Uvicorn an import string or a class; those of Uvicorn's
own implementations are known and turned into their names. Used by the table of options.
"""

from typing import Any, Literal, TypeAlias

HTTPName: TypeAlias = Literal["auto", "h11", "httptools", "zttp"]
WebSocketName: TypeAlias = Literal["auto", "none", "websockets", "websockets-sansio", "wsproto"]

HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "uvicorn.protocols.http.auto:AutoHTTPProtocol",
    "h11": "uvicorn.protocols.http.h11_impl:H11Protocol",
    "httptools": "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
    "zttp": "uvicorn.protocols.http.zttp_impl:ZttpProtocol",
}
WS_PROTOCOLS: dict[str, str | None] = {
    "auto": "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol",
    "none": None,
    "websockets": "uvicorn.protocols.websockets.websockets_impl:WebSocketProtocol",
    "websockets-sansio": (
        "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol"
    ),
    "wsproto": "uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
}

_KNOWN = {path: name for name, path in [*HTTP_PROTOCOLS.items(), *WS_PROTOCOLS.items()] if path}


def implementation_name(value: Any) -> Any:
    """The name for a class of Uvicorn's or its import string; anything else as it is."""
    if isinstance(value, type):
        value = f"{value.__module__}:{value.__qualname__}"
    return _KNOWN.get(value, value) if isinstance(value, str) else value


def websocket_name(value: Any) -> Any:
    """The same for WebSocket, where a class may be missing."""
    return "none" if value is None else implementation_name(value)
