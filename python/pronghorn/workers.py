"""Gunicorn's worker: `gunicorn -k pronghorn.workers.PronghornWorker main:app`.

Gunicorn starts and supervises the processes, binds the sockets and reads its own options; each
worker serves them with Pronghorn. Subclasses set `CONFIG_KWARGS` to give any option of `Config`.
The names and the behaviour are those of `uvicorn.workers`, so that an import is all that changes.
"""

import asyncio
import logging
import os
import signal
import sys
from typing import Any, ClassVar

from gunicorn.workers.base import Worker

from pronghorn.config import Config
from pronghorn.server import Server

logger = logging.getLogger("pronghorn.error")

_TLS_OPTIONS = {
    "keyfile": "ssl_keyfile",
    "certfile": "ssl_certfile",
    "password": "ssl_keyfile_password",
    "ssl_version": "ssl_version",
    "cert_reqs": "ssl_cert_reqs",
    "ca_certs": "ssl_ca_certs",
    "ciphers": "ssl_ciphers",
}
"""Gunicorn's names for the options of TLS."""


class PronghornWorker(Worker):  # type: ignore[misc]
    """Serves an ASGI application for gunicorn."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": "auto"}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._share_loggers()
        self.config = Config(**self._options())

    def init_signals(self) -> None:
        """Leave the signals to the server, but for USR1, on which gunicorn reopens its logs."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        # It must not interrupt system calls of requests.
        signal.siginterrupt(signal.SIGUSR1, False)

    def run(self) -> None:
        """Serve until gunicorn says otherwise."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self._serve())

    async def callback_notify(self) -> None:
        """Tell the arbiter that the worker is alive."""
        self.notify()

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = _Server(self.config, self)
        server.shares_listeners = server.is_supervised = True
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, server.hurry)
        await server.serve(sockets=self.sockets)

    def _share_loggers(self) -> None:
        for name, source in (
            ("pronghorn.error", self.log.error_log),
            ("pronghorn.access", self.log.access_log),
        ):
            logger = logging.getLogger(name)
            logger.handlers = source.handlers
            logger.setLevel(source.level)
            logger.propagate = False

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "app": None,
            "log_config": None,
            "timeout_keep_alive": self.cfg.keepalive,
            "timeout_notify": self.timeout,
            "callback_notify": self.callback_notify,
            # Gunicorn says 0 for no limit, and has added its jitter.
            "limit_max_requests": self.max_requests if self.max_requests < sys.maxsize else None,
            "forwarded_allow_ips": self.cfg.forwarded_allow_ips,
        }
        if self.cfg.is_ssl:
            for name, value in self.cfg.ssl_options.items():
                if value is not None and name in _TLS_OPTIONS:
                    options[_TLS_OPTIONS[name]] = value
        if self.cfg.settings["backlog"].value:
            options["backlog"] = self.cfg.settings["backlog"].value
        return {**options, **self.CONFIG_KWARGS}


class PronghornH11Worker(PronghornWorker):
    """On asyncio's own loop; the engine is the same."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "asyncio", "http": "h11"}


class _Server(Server):
    """Ends with the arbiter, as gunicorn's own workers do."""

    def __init__(self, config: Config, worker: PronghornWorker) -> None:
        super().__init__(config)
        self._worker = worker

    async def on_tick(self, counter: int) -> bool:
        if not self.should_exit and os.getppid() != self._worker.ppid:
            logger.info("Parent changed, shutting down: %s", self._worker)
            self.should_exit = True
        return await super().on_tick(counter)
