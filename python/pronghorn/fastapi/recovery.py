"""What happens when something raises: the three levels at which Starlette handles exceptions.

Compiled code catches an exception where the framework would, and leaves the rest to the functions
here, which do what `wrap_app_handling_exceptions` and `ServerErrorMiddleware` do once their
application has raised. Whether a response has started their `send`, a `Track`, knows for all levels
at once, since a message that passes the inner one passes the outer ones too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from fastapi.telemetry._asgi import _exception as observe_exception
from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request

from pronghorn.fastapi.relays import Send, Track

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Handlers = tuple[dict[Any, Any], dict[int, Any]]


async def recover(
    exc: Exception, handlers: Handlers, conn: Any, scope: Scope, receive: Receive, track: Track
) -> None:
    """Answer with the handler for `exc`, or raise it again where there is none."""
    exception_handlers, status_handlers = handlers
    handler = None
    if isinstance(exc, HTTPException):
        handler = status_handlers.get(exc.status_code)
    if handler is None:
        handler = next(
            (exception_handlers[each] for each in type(exc).__mro__ if each in exception_handlers),
            None,
        )
    if handler is None:
        raise exc
    if track.started:
        raise RuntimeError("Caught handled exception, but response already started.") from exc
    if is_async_callable(handler):
        response = await handler(conn, exc)
    else:
        response = await run_in_threadpool(handler, conn, exc)
    if response is not None:
        await response(scope, receive, track)
    exc.__traceback__ = None


async def run_outer(
    app: Any,
    middleware: ServerErrorMiddleware,
    first: Any,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """The layers outside of the user's middleware, `first`."""
    scope["app"] = app
    track = Track(send)
    try:
        await first(scope, receive, track)
    except Exception as exc:
        observe_exception(scope=scope, exc=exc)
        await server_error(exc, middleware, scope, receive, track)


async def server_error(
    exc: Exception, middleware: ServerErrorMiddleware, scope: Scope, receive: Receive, track: Track
) -> NoReturn:
    """Answer 500 if nothing has been sent, and raise `exc` again for the server to log."""
    request: Request = Request(scope)
    handler: Any = middleware.handler
    if middleware.debug:
        response: Any = await run_in_threadpool(middleware.debug_response, request, exc)
    elif handler is None:
        response = middleware.error_response(request, exc)
    elif is_async_callable(handler):
        response = await handler(request, exc)
    else:
        response = await run_in_threadpool(handler, request, exc)
    if not track.started:
        await response(scope, receive, track.send)
    raise exc


def no_response() -> Any:
    """Raise what awaiting the response raises when a dependency has swallowed an exception."""
    response: Any
    if _never:
        response = None
    return response


_never = False
