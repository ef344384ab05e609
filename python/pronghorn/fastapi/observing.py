"""FastAPI's own telemetry around a request: what `NativeTelemetry.__call__` does for HTTP.

FastAPI finds out with every request which of traces, metrics and logs are on, and for whom. An
`Observation` has found it out for an application as it is set up at the moment; it belongs to a
plan, and ends with it when something of that changes (`places`). `observe` then does what is left:
the attributes, the span of the request, the two wrappers around `receive` and `send`, and the end.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import __version__
from fastapi.telemetry import _asgi
from fastapi.telemetry._api import (
    _REQUEST_TELEMETRY_KEY,
    _exception_type,
    _RequestTelemetry,
    _unconfigured,
)
from fastapi.telemetry._asgi import _HEADERS_GETTER, _SCHEMA_URL, _SENSITIVE_QUERY_PARAMETERS
from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from pronghorn.fastapi.bodies import find_header, own_headers
from pronghorn.fastapi.shape import LAYERS_MAX
from pronghorn.fastapi.telemetry import is_plain

_CONFIG = ("tracing", "metrics", "logs", "operation_spans", "exclude")
_TRACE_HEADERS = (b"traceparent", b"baggage")
_PROPAGATORS = [TraceContextTextMapPropagator, W3CBaggagePropagator]
_SEND_NAME = "NativeTelemetry.__call__.<locals>.wrapped_send"
_RECEIVE_NAME = "NativeTelemetry.__call__.<locals>.wrapped_receive"

_servers: dict[tuple[str, str], dict[str, Any]] = {}
_SERVERS_MAX = 256
"""Clients choose the host that they name: the memory of what was seen is bounded."""


class Observation:
    """What is recorded of an application's requests."""

    def __init__(self, app: Any) -> None:
        native = app._native_telemetry
        config = native.config
        self.native = native
        self.logger_provider = config["logger_provider"]
        self.tracer = _tracer(native, config) if config["tracing"] else None
        self.operation_tracer = self.tracer if config["operation_spans"] else None
        self.duration: Any = None
        self.active: Any = None
        if config["metrics"] and _has_meters(config):
            self.duration, self.active = native._instruments()
        self.has_logger = config["logs"] and _has_loggers(config)
        textmap: Any = propagate.get_global_textmap()
        self.extracts_from_trace_headers = (
            type(textmap) is CompositePropagator
            and list(map(type, textmap._propagators)) == _PROPAGATORS
        )
        """A request that has none of these header fields has no trace from elsewhere."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded."""
        return self.tracer is None and self.duration is None and not self.has_logger


def make_observation(app: Any) -> Observation | None:
    """What is recorded of an application's requests; None where FastAPI is to find that out."""
    native = app._native_telemetry
    if not is_plain(native):
        return None
    config = native.config
    if config["exclude"] is not None or _layers(app.middleware_stack) is None:
        return None
    if _asgi._legacy_otel(app.middleware_stack):
        return None
    observation = Observation(app)
    return None if observation.is_empty else observation


def observation_places(app: Any) -> list[tuple[Any, Any]]:
    """Where what `make_observation` answers comes from, beside providers (for a `Snapshot`)."""
    native = app._native_telemetry
    textmap = propagate.get_global_textmap()
    return [
        *((native.config, name) for name in _CONFIG),
        (native, "_known_methods"),
        (propagate, "_HTTP_TEXT_FORMAT"),
        *([(textmap, "_propagators")] if type(textmap) is CompositePropagator else []),
        *((layer, "app") for layer in _layers(app.middleware_stack) or ()),
    ]


async def observe(
    observation: Observation, run: Any, app: Any, scope: Any, receive: Any, send: Any
) -> None:
    """Record a request that `run(app, scope, receive, send)` answers."""
    scope["app"] = app
    native, tracer = observation.native, observation.tracer
    duration, active = observation.duration, observation.active
    original_method = scope.get("method", "")
    method = original_method if original_method in native._known_methods else "_OTHER"
    span_method = "HTTP" if method == "_OTHER" else method
    attributes: dict[str, Any] = {
        "url.scheme": scope.get("scheme", "http"),
        "http.request.method": method,
    }
    if active is not None:
        active_attributes = attributes.copy()
    if scope.get("http_version"):
        attributes["network.protocol.version"] = scope["http_version"]
    if active is not None:
        active.add(1, active_attributes)
    started = perf_counter()
    span = parent_token = None
    if tracer is not None:
        parent = _parent(observation, scope)
        parent_token = otel_context.attach(parent)
        span_attributes = {**attributes, **_server_attributes(scope), "url.path": scope["path"]}
        if scope["query_string"]:
            span_attributes["url.query"] = _redacted(scope["query_string"])
        if original_method != method:
            span_attributes["http.request.method_original"] = original_method
        span = tracer.start_span(
            span_method, context=parent, kind=SpanKind.SERVER, attributes=span_attributes
        )
    telemetry = _RequestTelemetry(
        span=span,
        span_method=span_method,
        tracer=observation.operation_tracer,
        logger=_logs.get_logger(
            "fastapi", __version__, observation.logger_provider, schema_url=_SCHEMA_URL
        )
        if observation.has_logger
        else None,
        _mount_prefix=scope.get("app_root_path", scope.get("root_path", "")).rstrip("/"),
    )
    scope["fastapi.telemetry"] = telemetry
    values = {**otel_context.get_current(), _REQUEST_TELEMETRY_KEY: telemetry}
    if span is not None:
        values[_SPAN_KEY] = span
    token = otel_context.attach(Context(values))
    finished = trailers = disconnected = False

    def finish(error: BaseException | None = None) -> None:
        nonlocal finished
        if finished:
            return
        finished = True
        status = telemetry.status_code
        if telemetry.route is not None:
            attributes["http.route"] = telemetry.route
        if status is not None:
            attributes["http.response.status_code"] = status
        is_failure = error is not None or status is None or status >= 500
        if is_failure:
            failure = error or (telemetry._exceptions[-1] if telemetry._exceptions else None)
            attributes["error.type"] = (
                _exception_type(failure) if failure else str(status or "incomplete_response")
            )
        if span is not None:
            span.set_attributes(attributes)
            if is_failure:
                span.set_status(StatusCode.ERROR)
        # Recorded while the span is current, so that exemplars can name it.
        if duration is not None:
            duration.record(max(0, perf_counter() - started), attributes)
        if active is not None:
            active.add(-1, active_attributes)
        if span is not None:
            span.end()

    async def wrapped_send(message: Any) -> None:
        nonlocal trailers
        kind = message["type"]
        if kind == "http.response.start":
            telemetry.status_code = message["status"]
            trailers = message.get("trailers", False)
        await send(message)
        if (
            (kind == "http.response.body" and not message.get("more_body", False) and not trailers)
            or (kind == "http.response.trailers" and not message.get("more_trailers", False))
            or kind == "http.response.pathsend"
        ):
            finish()

    async def wrapped_receive() -> Any:
        nonlocal disconnected
        message = await receive()
        if message["type"] == "http.disconnect":
            disconnected = True
        return message

    # Sentry names spans after them.
    wrapped_send.__qualname__, wrapped_receive.__qualname__ = _SEND_NAME, _RECEIVE_NAME
    try:
        try:
            await run(app, scope, wrapped_receive, wrapped_send)
        except BaseException as exc:
            _asgi._exception(scope=scope, exc=exc)
            finish(exc)
            raise
        finally:
            if not finished:
                finish(
                    ConnectionError("Client disconnected")
                    if disconnected
                    else RuntimeError("Incomplete ASGI response")
                )
    finally:
        telemetry.data = None
        telemetry._exceptions.clear()
        otel_context.detach(token)
        scope.pop("fastapi.telemetry", None)
        if parent_token is not None:
            otel_context.detach(parent_token)


def _parent(observation: Observation, scope: Any) -> Context:
    """The context that a request comes with from elsewhere."""
    if observation.extracts_from_trace_headers:
        if type(scope["headers"]) is not list:
            own_headers(scope)
        if not any(name in _TRACE_HEADERS for name, _ in scope["headers"]):
            return Context()
    return propagate.extract(Headers(scope=scope), getter=_HEADERS_GETTER)


def _server_attributes(scope: Any) -> dict[str, Any]:
    if type(scope["headers"]) is not list:
        own_headers(scope)
    authority = find_header(scope["headers"], b"host")
    if authority is None:
        return _asgi._server_attributes(scope)
    key = authority, scope.get("scheme", "http")
    known = _servers.get(key)
    if known is None:
        known = _asgi._server_attributes(scope)
        if len(_servers) < _SERVERS_MAX:
            _servers[key] = known
    return known


def _redacted(query: bytes) -> str:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode(
        [
            (name, "REDACTED" if name in _SENSITIVE_QUERY_PARAMETERS else value)
            for name, value in pairs
        ]
    )


def _tracer(native: Any, config: Any) -> Any:
    provider = config["tracer_provider"] or trace.get_tracer_provider()
    if _is_silent(config["tracer_provider"], provider, trace.NoOpTracerProvider):
        return None
    return native._get_tracer(provider=provider)


def _has_meters(config: Any) -> bool:
    provider = config["meter_provider"] or metrics.get_meter_provider()
    return not _is_silent(config["meter_provider"], provider, metrics.NoOpMeterProvider)


def _has_loggers(config: Any) -> bool:
    provider = config["logger_provider"] or _logs.get_logger_provider()
    return not _is_silent(config["logger_provider"], provider, _logs.NoOpLoggerProvider)


def _is_silent(own: Any, provider: Any, silent: type) -> bool:
    return (own is None and _unconfigured(provider)) or isinstance(provider, silent)


def _layers(stack: Any) -> list[Any] | None:
    """An application's layers; None where one could be exchanged without a trace."""
    layers: list[Any] = []
    while (inside := getattr(stack, "app", None)) is not None and len(layers) < LAYERS_MAX:
        if getattr(stack, "__dict__", {}).get("app") is not inside:
            return layers if callable(inside) and hasattr(stack, "middleware_stack") else None
        layers.append(stack)
        stack = inside
    return layers
