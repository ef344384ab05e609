"""A process that serves, for programs that supervise their own."""

from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from socket import socket

from pronghorn.config import Config
from pronghorn.supervisors.process import SPAWN as spawn  # noqa: N811 (Uvicorn's name)


def get_subprocess(
    config: Config, target: Callable[..., None], sockets: list[socket]
) -> SpawnProcess:
    """A process, not started yet, that calls `target`, such as `Server(config).run`."""
    return spawn.Process(target=subprocess_started, args=(config, target, sockets))


def subprocess_started(
    config: Config,
    target: Callable[..., None],
    sockets: list[socket],
    stdin_fileno: int | None = None,
) -> None:
    """What the process does first; its standard input stays what `multiprocessing` makes it."""
    config.configure_logging()
    with suppress(KeyboardInterrupt):
        target(sockets=sockets)


__all__ = ["get_subprocess", "spawn", "subprocess_started"]
