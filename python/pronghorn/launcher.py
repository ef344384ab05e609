"""`run()`: from an application and options to a server, and from its end to an exit code.

Called by the command line and by scripts (`pronghorn.run("main:app", port=80)`). `run` imports the
application before the event loop exists, serves, and exits with code 3 if the server could not
start; `check` stops before that. The signature that type checkers and `inspect` see is that of
`Config`.
"""

import copy
import inspect
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec

from pronghorn.config import Config
from pronghorn.errors import STARTUP_FAILURE
from pronghorn.server import Server

if TYPE_CHECKING:
    from pronghorn.supervisors import BaseReload

logger = logging.getLogger("pronghorn.error")

Options = ParamSpec("Options")


def _takes_the_options_of(
    config: Callable[Options, Config],
) -> Callable[[Callable[..., None]], Callable[Options, None]]:
    def with_signature(function: Callable[..., None]) -> Callable[Options, None]:
        function.__signature__ = inspect.signature(config)  # type: ignore[attr-defined]
        return function

    return with_signature


@_takes_the_options_of(Config)
def run(*arguments: Any, **options: Any) -> None:
    """Serve an application until it is told to stop.

    Takes what `Config` takes. `app_dir` is put in front of `sys.path` before anything is imported.
    """
    _serve(_configured(arguments, options))


def run_command(**options: Any) -> None:
    """Do what `run` does, as all that the process is there for."""
    config = _configured((), options)
    if os.getpid() == 1:
        # Here and not in `run`, whose caller may have threads and connections already.
        from pronghorn.supervisors.init import serve_in_child

        serve_in_child()
    _serve(config, ends_process=True)


def _serve(config: Config, *, ends_process: bool = False) -> None:
    if config.use_subprocess:
        return _supervise(config)
    config.load_app()
    server = Server(config)
    server.owns_process = True
    server.ends_process = ends_process
    # A server that an interrupt has ended gracefully raises it again.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
    return None


def _supervise(config: Config) -> None:
    if not isinstance(config.app, str):
        logger.warning(
            "You must pass the application as an import string to enable 'reload' or 'workers'."
        )
        sys.exit(STARTUP_FAILURE)
    from pronghorn.supervisors import ChangeReload, Multiprocess

    _check_tls(config)
    listeners = config.listen()
    sockets = [each for listener in listeners for each in listener.sockets]
    supervisor: BaseReload | Multiprocess
    if config.should_reload:
        supervisor = ChangeReload(config, target=Server(config).run, sockets=sockets)
    else:
        supervisor = Multiprocess(config, sockets=sockets)
    try:
        with suppress(KeyboardInterrupt):
            supervisor.run()
    finally:
        for listener in listeners:
            listener.close()
    if supervisor.exit_code:
        sys.exit(supervisor.exit_code)


def _check_tls(config: Config) -> None:
    """Exit if the files cannot be used: no child could start, nor a change of code help it."""
    if config.ssl_context_factory is None:
        # On a copy: a context could not be handed to the children.
        copy.copy(config).load_ssl()


@_takes_the_options_of(Config)
def check(*arguments: Any, **options: Any) -> None:
    """Do everything that `run` does before it opens a socket, and return if all of it works."""
    config = _configured(arguments, options)
    config.get_loop_factory()
    config.load()


def _configured(arguments: tuple[Any, ...], options: dict[str, Any]) -> Config:
    app_dir = options.get("app_dir")
    if app_dir is not None:
        sys.path.insert(0, os.fspath(app_dir))
    return Config(*arguments, **options)
