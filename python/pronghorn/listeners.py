"""Opens the sockets that the server listens on: TCP, Unix sockets and inherited descriptors.

`open_listeners` takes addresses and returns a `Listener` for each, which looks like an
`asyncio.Server` to those who read `server.servers[0].sockets[0].getsockname()`.
Called by `Server.startup` and `Config.bind_sockets`, which turn an `OSError` into one log line and
exit code 3. The rule: an error leaves no socket open and no file behind.
"""

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeAlias

from pronghorn.addresses import (
    DescriptorAddress,
    ListenAddress,
    RedirectAddress,
    TCPAddress,
    UnixAddress,
)
from pronghorn.logging import style

UNIX_SOCKET_MODE = 0o666
"""Any local user may connect; the directory decides who can reach the socket."""
DEFERRED_ACCEPTS_PER_TICK = 200
"""2,000 a second: no browser or pool of connections comes near it."""


class Listener:
    """The sockets bound for one address, and the Unix socket's file if there is one."""

    def __init__(
        self, sockets: Iterable[socket.socket], address: ListenAddress | None = None
    ) -> None:
        self.address = address
        self._sockets = tuple(sockets)
        self._file = _FileIdentity(address.path) if isinstance(address, UnixAddress) else None

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The open sockets; none after `close`."""
        return self._sockets

    def is_serving(self) -> bool:
        """Whether it is open."""
        return bool(self._sockets)

    def close(self) -> None:
        """Close the sockets and remove the Unix socket's file, if it is still the same."""
        sockets, self._sockets = self._sockets, ()
        for listening in sockets:
            listening.close()
        if self._file:
            self._file.remove()
            self._file = None

    async def wait_closed(self) -> None:
        """Return at once: the engine closes connections."""


class _FileIdentity:
    """A file that is removed only while it is the one that was created here.

    Another server may have replaced it in the meantime.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity = self._look()

    def remove(self) -> None:
        if self._identity and self._identity == self._look():
            with suppress(OSError):
                os.unlink(self.path)

    def _look(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return None
        return status.st_dev, status.st_ino


def open_listeners(addresses: Iterable[ListenAddress]) -> list[Listener]:
    """Bind all of the addresses or none."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners.append(open_listener(address))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def open_listener(address: ListenAddress) -> Listener:
    """Bind one address."""
    match address:
        case DescriptorAddress(number):
            return Listener([adopt_descriptor(number)], address)
        case UnixAddress(path):
            return Listener([bind_unix(path)], address)
        case TCPAddress(host, port):
            return Listener(bind_tcp(host, port), address)


def bind_tcp(host: str | None, port: int) -> list[socket.socket]:
    """A socket for every address of `host`; all of them for None or an empty host."""
    # As bytes, because Python imports its IDNA tables for text.
    name = host.encode("ascii") if host and host.isascii() else host or None
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(error.errno, f"{error.strerror}, for the host `{host}`") from None
    sockets: list[socket.socket] = []
    unusable: OSError | None = None
    try:
        for family, _, protocol, _, address in dict.fromkeys(found):
            # The second address of a name shares the port that was picked for the first.
            chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                sockets.append(_bind(family, protocol, (address[0], chosen, *address[2:])))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                # The machine has no IPv6, say: good enough if another address works.
                unusable = error
    except BaseException:
        _close_all(sockets)
        raise
    if unusable and not sockets:
        raise unusable
    return sockets


def _bind(family: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        if sys.platform != "win32":
            # On Windows the option would let two servers share the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As asyncio does: the same whether or not the system prefers dual stack.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _failure(error, f"error while attempting to bind on address {address!r}") from None
    except BaseException:
        bound.close()
        raise
    return bound


def bind_unix(path: str) -> socket.socket:
    """A Unix socket at `path`, open to every user; takes the place of one that no one serves.

    A socket that is replaced passes its mode on.
    """
    try:
        mode = _clear_stale_socket(path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(path)
            if not path.startswith("\0"):
                os.chmod(path, mode)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise _failure(error, f"cannot bind the Unix socket `{path}`") from None
    return bound


def _clear_stale_socket(path: str) -> int:
    """Make room for a socket at `path` and return the mode that it shall have."""
    if path.startswith("\0"):
        return UNIX_SOCKET_MODE
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return UNIX_SOCKET_MODE
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "the path is another file")
    if _is_served(path):
        raise OSError(errno.EADDRINUSE, "address already in use")
    with suppress(FileNotFoundError):
        os.unlink(path)
    return stat.S_IMODE(mode)


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            pass  # Its backlog is full, so someone listens.
    return True


def adopt_descriptor(descriptor: int) -> socket.socket:
    """The stream socket behind an inherited descriptor, of whatever family it is."""
    try:
        copy = os.dup(descriptor)
        try:
            adopted = socket.socket(fileno=copy)
        except BaseException:
            os.close(copy)
            raise
        if adopted.type != socket.SOCK_STREAM:
            adopted.close()
            raise OSError(errno.EPROTOTYPE, "it is no stream socket")
    except OSError as error:
        raise _failure(error, f"cannot use the file descriptor `{descriptor}`") from None
    return adopted


class DeferredAccept:
    """Has the kernel keep new connections until their first bytes have come, while many come.

    Each then wakes the server once and not twice, and never has to be watched before it is read
    (tcp(7), TCP_DEFER_ACCEPT). Not at other times: a connection that stays silent is handed over
    a second late, and one that is still kept when the server stops is not told.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._sockets = [
            each
            for listener in listeners
            for each in listener.sockets
            if hasattr(socket, "TCP_DEFER_ACCEPT") and each.family != socket.AF_UNIX
        ]
        self._accepted = 0
        self._is_on = False

    def observe(self, accepted: int) -> None:
        """Take note of the connections accepted so far; called ten times a second."""
        is_on = accepted - self._accepted >= DEFERRED_ACCEPTS_PER_TICK
        self._accepted = accepted
        if is_on != self._is_on:
            self._is_on = is_on
            for each in self._sockets:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(is_on))


Line: TypeAlias = tuple[str, str, list[Any]]
"""A message, the same with colours, and the arguments of both."""


def running_on(address: ListenAddress, bound: socket.socket, *, is_ssl: bool) -> Line:
    """That the server is up at an address, of whose sockets `bound` is the first."""
    arguments: list[Any]
    match address:
        case DescriptorAddress():
            place, arguments = "socket %s", [bound.getsockname()]
            coloured = place
        case UnixAddress(path):
            place, arguments = "unix socket %s", [path]
            coloured = place
        case TCPAddress(host, port):
            host = host or "0.0.0.0"
            place = "%s://[%s]:%d" if ":" in host else "%s://%s:%d"
            coloured = style(place, bold=True)
            scheme = "https" if is_ssl and not isinstance(address, RedirectAddress) else "http"
            arguments = [scheme, host, port or bound.getsockname()[1]]
    template = "Pronghorn running on {} (Press CTRL+C to quit)"
    return template.format(place), template.format(coloured), arguments


def _failure(error: OSError, attempt: str) -> OSError:
    reason = error.strerror or str(error)
    return OSError(error.errno or errno.EINVAL, f"{attempt}: {reason[:1].lower()}{reason[1:]}")


def _close_all(sockets: Iterable[socket.socket]) -> None:
    for bound in sockets:
        bound.close()
