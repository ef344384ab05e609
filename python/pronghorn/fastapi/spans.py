"""FastAPI's spans for the parts of a path operation, where its telemetry is on.

`operation` gives what FastAPI's `_operation` gives: a context manager that is a span around the
dependencies, the endpoint or the serialization, or nothing where the request is not observed. Where
the tracer is the SDK's, one object does what three nested generators do there; any other tracer is
asked by FastAPI's own function. Imported and called by compiled routes where the SDK is in use and
known.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from types import TracebackType
from typing import Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.telemetry import _api
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY
from starlette.exceptions import HTTPException, WebSocketException

from pronghorn.fastapi.child_spans import start_child

_EXPECTED = (
    HTTPException,
    RequestValidationError,
    WebSocketException,
    WebSocketRequestValidationError,
)
"""Exceptions that are answers, and no failures of the operation."""


def operation(name: str, function: Callable[..., Any]) -> AbstractContextManager[None]:
    """A span of this name for a part of `function`'s path operation."""
    context = otel_context.get_current()
    request = context.get(_api._REQUEST_TELEMETRY_KEY)
    if not isinstance(request, _api._RequestTelemetry) or request.tracer is None:
        return _api._NO_OPERATION
    if has_plain_spans(type(request.tracer)):
        return _Operation(context, request.tracer, name, function)
    return _api._traced_operation(request_telemetry=request, name=name, function=function)


@cache
def has_plain_spans(kind: type) -> bool:
    """Whether tracers of a class make a span the current one as the SDK's do."""
    start = getattr(kind, "start_as_current_span", None)
    return start is Tracer.start_as_current_span


class _Operation:
    """A span that is the current one until it ends."""

    __slots__ = ("_context", "_function", "_name", "_span", "_token", "_tracer")

    def __init__(
        self, context: Context, tracer: Any, name: str, function: Callable[..., Any]
    ) -> None:
        self._context = context
        self._tracer = tracer
        self._name = name
        self._function = function

    def __enter__(self) -> None:
        function = self._function
        module = getattr(function, "__module__", type(function).__module__)
        qualname = getattr(function, "__qualname__", type(function).__qualname__)
        name, context = f"fastapi.{self._name}", self._context
        attributes = {"code.function.name": f"{module}.{qualname}"}
        span = start_child(self._tracer, context.get(_SPAN_KEY), name, attributes)
        if span is None:
            span = self._tracer.start_span(
                name=name,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            )
        self._span = span
        self._token = otel_context.attach(Context({**context, _SPAN_KEY: span}))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        span = self._span
        try:
            if (
                isinstance(exc, Exception)
                and not isinstance(exc, _EXPECTED)
                and not _api._normal_websocket_disconnect(exc)
            ):
                span.set_attribute("error.type", _api._exception_type(exc))
                span.set_status(StatusCode.ERROR)
        finally:
            otel_context.detach(self._token)
            span.end()
