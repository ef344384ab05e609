"""Whom to believe about the client: `X-Forwarded-For` and `X-Forwarded-Proto`.

`TrustedProxies` is called with a scope and rewrites its `client` and `scheme` in place, when the
peer is one of `--forwarded-allow-ips`. The engine calls it for requests that carry one of the
two fields (`trust_proxy`), so no middleware stands in the way of the others;
`ProxyHeadersMiddleware` does the same for applications that add it themselves.
The rule: a field counts only if the peer that sent it is trusted, and in a list of hops the
rightmost untrusted one is the client, since everything to the left of it may be invented.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from pronghorn.types import Address, ASGI3Application, ASGIReceiveCallable, ASGISendCallable

DEFAULT_TRUSTED = "127.0.0.1,::1"

_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_HOST_NAME_CHARACTERS_MAX = 253
_ADDRESSES_REMEMBERED_MAX = 4096


class TrustedProxies:
    """Decides which peers are trusted and rewrites the scopes that come from them.

    `trusted` is a comma separated text or a list of addresses, networks and literals; `*` trusts
    every peer.
    """

    def __init__(self, trusted: Iterable[str] | str = DEFAULT_TRUSTED) -> None:
        entries = _split(trusted) if isinstance(trusted, str) else list(trusted)
        self.always_trust = entries == ["*"]
        self._literals: set[str] = set()
        self._addresses: set[IPv4Address | IPv6Address] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            self._add(entry)
        self._remembered = lru_cache(maxsize=_ADDRESSES_REMEMBERED_MAX)(self._is_listed)

    def __call__(self, scope: Any) -> None:
        """Rewrite `client` and `scheme` of a scope whose peer is trusted."""
        peer = scope.get("client")
        if (peer[0] if peer else None) not in self:
            return
        scheme: bytes | None = None
        hops: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                scheme = value
            elif name == b"x-forwarded-for":
                hops.append(value)
        if scheme is not None:
            _rewrite_scheme(scope, scheme.decode("latin-1").strip())
        if hops:
            client = self._client(_split(b", ".join(hops).decode("latin-1")))
            # An empty field says nothing.
            if client[0]:
                scope["client"] = client

    def __contains__(self, host: str | None) -> bool:
        """Whether the peer called `host` is trusted; None is a peer without an address."""
        if self.always_trust:
            return True
        if not host:
            return False
        if len(host) > _HOST_NAME_CHARACTERS_MAX:
            # Longer than any name; not worth a place in the cache.
            return self._is_listed(host)
        return self._remembered(host)

    def _client(self, hops: list[str]) -> Address:
        if not self.always_trust:
            for hop in reversed(hops):
                host, port = _host_and_port(hop)
                if host not in self:
                    return host, port
        # Every hop is a trusted proxy, so the first is the client.
        return _host_and_port(hops[0])

    def _add(self, entry: str) -> None:
        # Addresses are compared as such, because IPv6 has many spellings for one. What is neither
        # an address nor a network is a literal, such as the name of a Unix socket.
        try:
            if "/" in entry:
                self._networks.append(ip_network(entry))
            else:
                self._addresses.add(ip_address(entry))
        except ValueError:
            self._literals.add(entry)

    def _is_listed(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return host in self._literals
        return address in self._addresses or any(address in network for network in self._networks)


class ProxyHeadersMiddleware:
    """Applies `TrustedProxies` to every request and WebSocket that reaches `app`."""

    def __init__(self, app: ASGI3Application, trusted_hosts: list[str] | str = "127.0.0.1") -> None:
        self.app = app
        self.trusted_hosts = TrustedProxies(trusted_hosts)

    async def __call__(
        self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Rewrite the scope and pass it on."""
        if scope["type"] != "lifespan":
            self.trusted_hosts(scope)
        await self.app(scope, receive, send)


def _rewrite_scheme(scope: Any, scheme: str) -> None:
    if scheme in _SCHEMES:
        is_websocket = scope["type"] == "websocket"
        scope["scheme"] = scheme.replace("http", "ws") if is_websocket else scheme


def _split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _host_and_port(hop: str) -> Address:
    """`host`, `host:port` or `[host]:port`; the port is 0 unless it is a number.

    Anything else is returned whole, so that a malformed hop is not mistaken for a trusted one.
    """
    if hop.startswith("["):
        host, bracket, rest = hop[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return hop, 0
        return host, _port(rest[1:]) or 0
    if hop.count(":") == 1:
        host, _, digits = hop.partition(":")
        port = _port(digits)
        return (hop, 0) if port is None else (host, port)
    return hop, 0


def _port(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:
        return None
