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
from types import TracebackType
from typing import Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.telemetry import _api
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.trace import SpanKind, StatusCode
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
    if has_plain_spans(request.tracer):
        return _Operation(context, request.tracer, name, function)
    return _api._traced_operation(request_telemetry=request, name=name, function=function)


def has_plain_spans(tracer: Any) -> bool:
    """Whether a tracer makes a span the current one as the SDK's do."""
    start: Any = getattr(tracer, "start_as_current_span", None)
    return (
        getattr(start, "__func__", None) is Tracer.start_as_current_span
        and start.__self__ is tracer
    )


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
                context=None,
                kind=SpanKind.INTERNAL,
                attributes=attributes,
                links=(),
                start_time=None,
                record_exception=False,
                set_status_on_exception=False,
            )
        self._span = span
        # Processors that were told of the span may have attached something.
        values = {**otel_context.get_current(), _SPAN_KEY: span}
        self._token = otel_context.attach(Context(values))

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
