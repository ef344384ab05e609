"""Whom to believe about the client: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded`.

`TrustedProxies` is called with a scope and rewrites its `client` and `scheme` in place, when the
peer is one of `--forwarded-allow-ips`. The engine calls it for requests that carry a field which
only proxies send (`trust_proxy`), so no middleware stands in the way of the others;
`ProxyHeadersMiddleware` does the same for applications that add it themselves.
The rule: a field counts only if the peer that sent it is trusted, and in a list of hops the
rightmost untrusted one is the client, since everything to the left of it may be invented.
"""

import re
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
from typing import Any, Literal, TypeAlias

from pronghorn.types import Address, ASGI3Application, ASGIReceiveCallable, ASGISendCallable

DEFAULT_TRUSTED = "127.0.0.1,::1"

_FORWARDED_PAIR = re.compile(
    r"""[ \t]*
    (?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=
       ([!#$%&'*+.^_`|~0-9A-Za-z-]+|"((?:[^"\\]|\\.)*)"))?
    [ \t]*([;,]?)""",
    re.VERBOSE,
)
"""A parameter, and what follows it."""

ForwardedHeader: TypeAlias = Literal["auto", "x-forwarded", "forwarded"]

_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_HOST_NAME_CHARACTERS_MAX = 253
_ADDRESSES_REMEMBERED_MAX = 4096


class TrustedProxies:
    """Decides which peers are trusted and rewrites the scopes that come from them.

    `trusted` is a comma separated text or a list of addresses, networks and literals; `*` trusts
    every peer. `header` says which fields count; with `auto`, `Forwarded` does only in requests
    that have none of the others: a proxy that sets those may let a client's `Forwarded` through.
    `strip_untrusted` removes all such fields from requests of peers that are not trusted.
    """

    def __init__(
        self,
        trusted: Iterable[str] | str = DEFAULT_TRUSTED,
        *,
        header: ForwardedHeader = "auto",
        strip_untrusted: bool = False,
    ) -> None:
        self._header = header
        self._strip_untrusted = strip_untrusted
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
            if self._strip_untrusted:
                scope["headers"] = [each for each in scope["headers"] if not _is_of_proxy(each[0])]
            return
        scheme: bytes | None = None
        hops: list[bytes] = []
        forwarded: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                scheme = value
            elif name == b"x-forwarded-for":
                hops.append(value)
            elif name == b"forwarded":
                forwarded.append(value)
        if self._header == "forwarded" or (self._header == "auto" and not hops and scheme is None):
            self._apply_forwarded(scope, b", ".join(forwarded).decode("latin-1"))
            return
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

    def _apply_forwarded(self, scope: Any, text: str) -> None:
        """RFC 7239. What cannot be read is not believed, not even in part."""
        elements = _forwarded_elements(text)
        if not elements:
            return
        # Each proxy adds an element about its own peer; as for the hops, the rightmost one that is
        # no trusted proxy is the client.
        nodes = [_host_and_port(element.get("for", "")) for element in elements]
        chosen = 0
        if not self.always_trust:
            untrusted = (at for at in reversed(range(len(nodes))) if nodes[at][0] not in self)
            chosen = next(untrusted, 0)
        if nodes[chosen][0]:
            scope["client"] = nodes[chosen]
        _rewrite_scheme(scope, elements[chosen].get("proto", "").lower())

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


def _is_of_proxy(name: bytes) -> bool:
    return name in (b"forwarded", b"x-real-ip") or name.startswith(b"x-forwarded-")


def _forwarded_elements(text: str) -> list[dict[str, str]] | None:
    """The elements of `Forwarded` with their parameters; None for what RFC 7239 does not allow."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while match := _FORWARDED_PAIR.match(text, at):
        name, value, quoted, separator = match.groups()
        if name:
            if name.lower() in elements[-1]:
                return None
            value = value if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            elements[-1][name.lower()] = value
        at = match.end()
        if not separator:
            return [element for element in elements if element] if at == len(text) else None
        if separator == ",":
            elements.append({})
    return None


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
