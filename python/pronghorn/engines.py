"""Makes the native engines of a server: what they are told of its configuration.

`Server` makes one with the application in `serving_engine`, and drives it; where plain HTTP is sent
on to https, a `helping_engine` answers. What engines write to the log comes through here. The rule:
nothing here keeps an engine or opens a socket.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pronghorn._engine import Engine
from pronghorn.access_log import AccessLog, open_access_log, printable
from pronghorn.config import Config
from pronghorn.interfaces import calls_on
from pronghorn.proxy_headers import DEFAULT_TRUSTED, TrustedProxies
from pronghorn.static_files import ServedFiles
from pronghorn.types import ASGI3Application

logger = logging.getLogger("pronghorn.error")


def serving_engine(
    config: Config, loop: asyncio.AbstractEventLoop, app: ASGI3Application, state: dict[str, Any]
) -> Engine:
    """The engine that runs the application, and answers requests for files by itself."""
    static_files = ServedFiles(config.static) if config.static else None
    return _engine(
        config, loop, app, state=state, root_path=config.root_path, static_files=static_files
    )


def helping_engine(
    config: Config, loop: asyncio.AbstractEventLoop, app: ASGI3Application
) -> Engine:
    """An engine with the same limits and log for an application of the server's own."""
    return _engine(config, loop, app, state={}, root_path="", static_files=None)


def _engine(
    config: Config,
    loop: asyncio.AbstractEventLoop,
    app: ASGI3Application,
    *,
    state: dict[str, Any],
    root_path: str,
    static_files: ServedFiles | None,
) -> Engine:
    return Engine(
        app,
        loop,
        state=state,
        root_path=root_path,
        default_headers=config.encoded_headers,
        date_header=config.date_header,
        limits=config,
        websocket=config if config.ws_protocol_class else None,
        log=_log_line,
        log_exception=_log_exception,
        access_log=_access_log(config),
        trust_proxy=_trusted_proxies(config),
        on_loop=calls_on(loop),
        static_files=static_files,
        is_proxy=_is_proxy(config),
    )


def _access_log(config: Config) -> AccessLog | None:
    if not config.access_log:
        return None
    return open_access_log(config.access_log_format, is_json=config.log_json)


def _trusted_proxies(config: Config) -> TrustedProxies | None:
    if not (config.proxy_headers or config.strip_untrusted_forwarded):
        return None
    return TrustedProxies(
        _allowed(config) if config.proxy_headers else [],
        header=config.forwarded_header,
        strip_untrusted=config.strip_untrusted_forwarded,
    )


def _is_proxy(config: Config) -> Callable[[str], bool] | None:
    if not config.proxy_protocol:
        return None
    return TrustedProxies(_allowed(config)).__contains__


def _allowed(config: Config) -> list[str] | str:
    # An empty list trusts nobody; only None leaves the choice to the server.
    allowed = config.forwarded_allow_ips
    return DEFAULT_TRUSTED if allowed is None else allowed


def _log_line(level: int, message: str) -> None:
    logger.log(level, "%s", printable(message))


def _log_exception(message: str, exception: BaseException) -> None:
    logger.error(message, exc_info=exception)
