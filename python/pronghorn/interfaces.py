"""Makes any application an ASGI 3 one: factories, ASGI 2 and WSGI.

`Config.load` asks `is_factory` and `detect_interface` what the imported object is and wraps it
with `adapt`. An ASGI 3 application is returned as it is, so the common case costs nothing.
Nothing here calls the application in order to find out what it is.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Literal, cast

from pronghorn.importer import optional_module
from pronghorn.types import (
    ASGI2Application,
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)


def is_factory(app: Any) -> bool:
    """Whether `app` can be called without arguments to get the application."""
    return not _is_coroutine_callable(app) and _accepts(app, 0)


def may_be_asgi3(app: Any) -> bool:
    """Whether `app` can be called with scope, receive and send."""
    return _accepts(app, 3)


def detect_interface(app: Any) -> Literal["asgi2", "asgi3"]:
    """ASGI 3 takes three arguments and is awaited; ASGI 2 takes the scope alone."""
    if inspect.isclass(app):
        return "asgi3" if hasattr(app, "__await__") else "asgi2"
    if _is_coroutine_callable(app):
        return "asgi3"
    # A plain function that returns the coroutine of another, or compiled code.
    return "asgi3" if may_be_asgi3(app) and not _accepts(app, 1) else "asgi2"


def adapt(app: Any, interface: str) -> ASGI3Application:
    """`app` as an ASGI 3 application. `interface` is asgi3, asgi2 or wsgi."""
    if interface == "wsgi":
        return wsgi_middleware(app)
    if interface == "asgi2":
        return ASGI2Middleware(app)
    return cast(ASGI3Application, app)


def calls_on(loop: asyncio.AbstractEventLoop) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What `receive()` and `send()` return to another thread: a coroutine for `loop`.

    Adapters of WSGI call them on their threads and hand the coroutine to
    `asyncio.run_coroutine_threadsafe`.
    """

    async def call_on_loop(function: Callable[..., Any], *arguments: Any) -> Any:
        if asyncio.get_running_loop() is not loop:
            raise RuntimeError("ASGI receive and send must be awaited in their own event loop")
        return await function(*arguments)

    return call_on_loop


class ASGI2Middleware:
    """Serves an ASGI 2 application, a callable that takes the scope and returns another."""

    def __init__(self, app: ASGI2Application) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one scope, which says that it is of version 2."""
        scope["asgi"]["version"] = "2.0"
        await self.app(scope)(receive, send)


def wsgi_middleware(app: Any, workers: int = 10) -> ASGI3Application:
    """Serves a WSGI application, on so many threads at a time."""
    a2wsgi = optional_module(
        "a2wsgi",
        option="interface",
        remedy="`wsgi` needs the `a2wsgi` package; install `pronghorn[wsgi]`.",
    )
    return cast(ASGI3Application, a2wsgi.WSGIMiddleware(app, workers=workers))


def _is_coroutine_callable(app: Any) -> bool:
    if inspect.isclass(app):
        return False
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(app, "__call__", None)  # noqa: B004 (it is inspected, not tested for)
    )


def _accepts(app: Any, argument_count: int) -> bool:
    try:
        inspect.signature(app).bind(*range(argument_count))
    except (TypeError, ValueError):
        return False
    return True
