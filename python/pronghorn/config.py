"""One server's configuration: the options, and what is made of them.

`Config` is the table of `settings.py` with behaviour: it configures logging as soon as it is
made, loads the application when the server asks, and binds sockets for those who do so before
they start processes. Used by `Server`, by `run()` and directly by programs. The rule: a value that
cannot be used raises `ConfigurationError` here, before anything is opened; what stops the server
from starting is logged in one line and exits with code 3.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pronghorn import log_setup, reload_paths
from pronghorn.addresses import ListenAddress, addresses_of
from pronghorn.errors import (
    STARTUP_FAILURE,
    ConfigurationError,
    ImportFromStringError,
    TLSError,
)
from pronghorn.importer import import_from_string, optional_module
from pronghorn.interfaces import adapt, detect_interface, is_factory, may_be_asgi3
from pronghorn.lifespan import LifespanOff, LifespanOn
from pronghorn.listeners import Listener, open_listeners, running_on
from pronghorn.logging import LOG_LEVELS, LOGGING_CONFIG, TRACE_LOG_LEVEL
from pronghorn.loops import LoopFactory, loop_factory
from pronghorn.proxy_headers import DEFAULT_TRUSTED
from pronghorn.settings import OPTIONS, Settings
from pronghorn.types import ASGI3Application

if TYPE_CHECKING:
    from ssl import SSLContext

    from pronghorn.tls import FileState

__all__ = ["LOGGING_CONFIG", "LOG_LEVELS", "STARTUP_FAILURE", "TRACE_LOG_LEVEL", "Config"]

logger = logging.getLogger("pronghorn.error")


class Config(Settings):
    """The options of one server, and the application once `load` has been called.

    Takes the application, or its import string, and every option of `settings.py` by name or in
    the table's order.
    """

    loaded = False
    reload_dirs_excludes: list[Path]
    ssl: "SSLContext | None" = None
    """What new connections speak TLS with, once it is loaded."""
    ssl_files: "list[FileState]"
    """How its files were just before they were read; what they become later is read again."""
    loaded_app: ASGI3Application
    _lifespan_class: type[LifespanOn] | type[LifespanOff] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.headers = self.headers or []
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        self.configure_logging()
        self._resolve_reload_paths()
        self._load_env_file()
        self._apply_environment()

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        """The ASGI version that the application speaks."""
        return "2.0" if self.interface == "asgi2" else "3.0"

    @property
    def is_ssl(self) -> bool:
        """Whether clients speak TLS."""
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def should_reload(self) -> bool:
        """Whether a supervisor restarts the server when a file changes."""
        return isinstance(self.app, str) and self.reload

    @property
    def use_subprocess(self) -> bool:
        """Whether the application runs in a child process."""
        return bool(self.reload or (self.workers or 1) > 1)

    @property
    def lifespan_class(self) -> type[LifespanOn] | type[LifespanOff]:
        """What speaks the lifespan protocol; a program may set another one."""
        if self._lifespan_class is not None:
            return self._lifespan_class
        return LifespanOff if self.lifespan == "off" else LifespanOn

    @lifespan_class.setter
    def lifespan_class(self, lifespan_class: type[LifespanOn] | type[LifespanOff]) -> None:
        self._lifespan_class = lifespan_class

    @property
    def http_protocol_class(self) -> type[Any]:
        """What speaks HTTP: the engine, whatever `http` says."""
        from pronghorn._engine import Engine

        return Engine

    @property
    def ws_protocol_class(self) -> type[Any] | None:
        """What speaks WebSocket: the engine, unless nothing does; WSGI has no words for it."""
        is_spoken = self.ws != "none" and self.interface != "wsgi"
        return self.http_protocol_class if is_spoken else None

    @property
    def request_header_bytes_max(self) -> int:
        """The limit for a request's head, under whichever name it was given."""
        return self.h11_max_incomplete_event_size or self.limit_request_header_bytes

    def configure_logging(self) -> None:
        """Apply the logging options; done once here and again in a worker process."""
        log_setup.configure(
            self.log_config,
            level=self.log_level,
            use_colors=self.use_colors,
            access_log=self.access_log,
            is_json=self.log_json,
        )

    def load(self) -> None:
        """Import the application and make it an ASGI 3 one; does nothing the second time."""
        if self.loaded:
            return
        self.encoded_headers = self._encode_headers()
        self.load_ssl()
        app = self._call_factory(self.load_app())
        if not callable(app):
            _refuse(f"Error loading ASGI app. `{app!r}` is not callable.")
        if self.interface == "auto":
            self.interface = detect_interface(app)
        self.loaded_app = adapt(app, self.interface)
        if logger.getEffectiveLevel() <= TRACE_LOG_LEVEL:
            from pronghorn.message_logger import MessageLoggerMiddleware

            self.loaded_app = MessageLoggerMiddleware(self.loaded_app)
        self._report_acceleration()
        self.loaded = True

    def load_ssl(self) -> None:
        """Read the certificates, as they are now."""
        if not self.is_ssl:
            if self.ssl_redirect_port and self.ssl is None:
                _refuse("`ssl_redirect_port` needs TLS to send clients to; set `ssl_certfile`.")
            return
        from pronghorn.tls import file_states, load_context  # Costly, and only for TLS.

        self.ssl_files = file_states(self)
        try:
            self.ssl = load_context(self)
        except TLSError as error:
            _refuse(str(error))

    def load_app(self) -> Any:
        """Import the application and return it as it is; exits if there is none."""
        if self.accelerate != "off":
            from pronghorn.fastapi import install

            install()
        try:
            return import_from_string(self.app)
        except ImportFromStringError as error:
            _refuse(f"Error loading ASGI app. {error}")

    def get_loop_factory(self) -> LoopFactory | None:
        """The function that makes the event loop, or None for asyncio's own choice."""
        try:
            return loop_factory(self.loop)
        except ImportFromStringError as error:
            _refuse(f"Error loading custom loop setup function. {error}")

    def setup_event_loop(self) -> NoReturn:
        """Raise: this was Uvicorn's before version 0.36."""
        raise AttributeError("`setup_event_loop` is gone; call `get_loop_factory` instead.")

    def bind_socket(self) -> socket.socket:
        """Bind one socket, to be passed to `Server.run(sockets=[...])`, and say so in the log.

        Of several addresses it is the first; `bind_sockets` binds them all.
        """
        bound, *others = _sockets(self._bind(addresses_of(self)[:1]))
        for other in others:
            other.close()
        return bound

    def bind_sockets(self) -> list[socket.socket]:
        """The same for every address of the configuration."""
        return _sockets(self._bind(addresses_of(self)))

    def _bind(self, addresses: list[ListenAddress]) -> list[Listener]:
        listeners = self.open_listeners(addresses)
        for each in _sockets(listeners):
            each.set_inheritable(True)
        return listeners

    def listen(self) -> list[Listener]:
        """Bind every address for other processes; until these accept, clients wait."""
        return self.open_listeners(addresses_of(self), is_listening=True)

    def open_listeners(
        self, addresses: list[ListenAddress], *, is_listening: bool = False
    ) -> list[Listener]:
        """Bind the addresses and say so in the log, or exit."""
        try:
            listeners = open_listeners(addresses)
            for each in _sockets(listeners) if is_listening else []:
                each.listen(self.backlog)
        except OSError as error:
            _refuse(str(error))
        self.log_running_on(listeners)
        return listeners

    def log_running_on(self, listeners: list[Listener]) -> None:
        """Say where the server can be reached, one line an address."""
        for listener in listeners:
            if listener.address is not None:
                message, color_message, arguments = running_on(
                    listener.address, listener.sockets[0], is_ssl=self.is_ssl
                )
                logger.info(message, *arguments, extra={"color_message": color_message})

    def _report_acceleration(self) -> None:
        if self.accelerate == "off":
            return
        from pronghorn.fastapi import start_up_line, state

        level, line = start_up_line()
        if self.accelerate == "on" and not state.features:
            _refuse(
                "`--accelerate on`: nothing can be accelerated, "
                + (line or "the application does not use FastAPI.")
            )
        if line:
            logger.log(level, line)

    def _encode_headers(self) -> list[tuple[bytes, bytes]]:
        encoded = [
            (name.lower().encode("ascii"), value.strip(" \t").encode("latin-1"))
            for name, value in self.headers or []
        ]
        if self.server_header and all(name != b"server" for name, _ in encoded):
            encoded.insert(0, (b"server", b"pronghorn"))
        return encoded

    def _call_factory(self, loaded: Any) -> Any:
        if not self.factory and not is_factory(loaded):
            return loaded
        try:
            app = loaded()
        except TypeError as error:
            if not self.factory and may_be_asgi3(loaded):
                return loaded  # It takes any arguments and is the application after all.
            in_factory = error.__traceback__ and error.__traceback__.tb_next
            _refuse(f"Error loading ASGI app factory: {error}", error if in_factory else None)
        if not self.factory:
            logger.warning(
                "ASGI app factory detected. Using it, but please consider setting the --factory "
                "flag explicitly."
            )
        return app

    def _resolve_reload_paths(self) -> None:
        given = (self.reload_dirs, self.reload_includes, self.reload_excludes)
        if not self.should_reload:
            if any(given):
                logger.warning(
                    "Current configuration will not reload as not all conditions are met, please "
                    "refer to documentation."
                )
            self.reload_dirs, self.reload_dirs_excludes = [], []
            self.reload_includes, self.reload_excludes = [], []
            return
        found = reload_paths.resolve(*given)
        self.reload_dirs, self.reload_dirs_excludes = found.dirs, found.dirs_excludes
        self.reload_includes, self.reload_excludes = found.includes, found.excludes
        if found.unusable:
            logger.warning(
                "Provided reload directories %s did not contain valid directories, watching "
                "current working directory.",
                found.unusable,
            )
        logger.info("Will watch for changes in these directories: %s", sorted(map(str, found.dirs)))

    def _load_env_file(self) -> None:
        if self.env_file is None:
            return
        dotenv = optional_module(
            "dotenv",
            option="env_file",
            remedy="needs the `python-dotenv` package; install `pronghorn[standard]`.",
        )
        logger.info("Loading environment from '%s'", self.env_file)
        dotenv.load_dotenv(dotenv_path=self.env_file)

    def _apply_environment(self) -> None:
        """Take what was not given from variables that hosting platforms set."""
        if self.workers is None:
            try:
                self.workers = OPTIONS["workers"].accept(os.environ.get("WEB_CONCURRENCY")) or 1
            except ConfigurationError as error:
                raise ConfigurationError("WEB_CONCURRENCY", error.complaint) from None
        if self.reload and self.workers > 1:
            logger.warning('"workers" flag is ignored when reloading is enabled.')
        if self.forwarded_allow_ips is None:
            self.forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", DEFAULT_TRUSTED)


def _sockets(listeners: list[Listener]) -> list[socket.socket]:
    return [each for listener in listeners for each in listener.sockets]


def _refuse(line: str, error: BaseException | None = None) -> NoReturn:
    logger.error(line, exc_info=error)
    sys.exit(STARTUP_FAILURE)
