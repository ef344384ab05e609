"""Where to listen, as values that cannot be wrong: `--bind`, or host, port, uds and fd.

`addresses_of` reads the options and returns one address for each listener; `listeners.py` opens
them. `--bind` takes the place of the four older options when it is given. Nothing here opens
anything, so `pronghorn --check` and the table of options use it as well.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pronghorn import systemd

PORT_MAX = 65535


@dataclass(frozen=True)
class TCPAddress:
    """A host, all addresses of the machine when it is None or empty, and a port, 0 for any."""

    host: str | None
    port: int


@dataclass(frozen=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: str


@dataclass(frozen=True)
class DescriptorAddress:
    """An inherited descriptor."""

    number: int


@dataclass(frozen=True)
class RedirectAddress(TCPAddress):
    """Where plain HTTP is sent on to https."""


ListenAddress: TypeAlias = TCPAddress | UnixAddress | DescriptorAddress


class ListenOptions(Protocol):
    """The options that say where to listen."""

    host: str | None
    port: int
    uds: str | None
    fd: int | None
    bind: list[str] | str | None
    ssl_redirect_port: int | None

    @property
    def is_ssl(self) -> bool:
        """Whether clients speak TLS."""


def addresses_of(options: ListenOptions) -> list[ListenAddress]:
    """Every address to listen on, those that only send clients on to https last."""
    addresses = _addresses_of_service(options)
    if options.ssl_redirect_port:
        hosts = [each.host for each in addresses if isinstance(each, TCPAddress)]
        redirect_port = options.ssl_redirect_port
        addresses += [RedirectAddress(host, redirect_port) for host in dict.fromkeys(hosts)]
    return addresses


def _addresses_of_service(options: ListenOptions) -> list[ListenAddress]:
    """Every address of `--bind`; without it the descriptor, the Unix socket, or host and port.

    Sockets that systemd passes stand in for host and port.
    """
    if options.bind:
        texts = [options.bind] if isinstance(options.bind, str) else options.bind
        return [parse_address(text) for text in texts]
    if options.fd is not None:
        return [DescriptorAddress(options.fd)]
    if options.uds is not None:
        return [UnixAddress(options.uds)]
    if passed := systemd.listen_descriptors():
        return [DescriptorAddress(number) for number in passed]
    return [TCPAddress(options.host, options.port)]


def parse_address(text: str) -> ListenAddress:
    """`host:port`, `[v6]:port`, `:port`, `unix:path` or `fd://N`; anything else is a ValueError."""
    if text.startswith("unix:"):
        return UnixAddress(_required(text.removeprefix("unix:"), "a path after `unix:`"))
    if text.startswith("fd://"):
        return DescriptorAddress(_number(text.removeprefix("fd://"), "a number after `fd://`"))
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = _required(host[1:-1], "an address between the brackets")
    elif ":" in host or "[" in host or not colon:
        raise ValueError("needs the form `host:port`, `[v6]:port`, `unix:path` or `fd://N`")
    number = _number(port, "a port after the last colon")
    if number > PORT_MAX:
        raise ValueError(f"has a port above {PORT_MAX}")
    return TCPAddress(host or None, number)


def _required(text: str, what: str) -> str:
    if not text:
        raise ValueError(f"needs {what}")
    return text


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"needs {what}")
    return int(text)
