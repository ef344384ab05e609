"""Which functions of other packages the accelerator stands in for, by feature.

`STAND_INS` has those of FastAPI, Starlette and AnyIO, `LIBRARIES` those of OpenTelemetry and
Sentry: fingerprints, the noticing of patches and the report are made from them. A feature is on
while every function under it is one that we know; what depends on a feature that is off runs
through the packages' own code. A function that several features need stands under each of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

STAND_INS: dict[str, tuple[str, ...]] = {
    # The layers between the server and the first middleware of the user.
    "outer": (
        "fastapi.applications:FastAPI.__call__",
        "fastapi.telemetry._api:_unconfigured",
        "fastapi.telemetry._asgi:ExceptionTelemetryMiddleware.__call__",
        "fastapi.telemetry._asgi:NativeTelemetry.enabled",
        "starlette.applications:Starlette.__call__",
        "starlette.middleware.errors:ServerErrorMiddleware.__call__",
        "starlette.middleware.errors:ServerErrorMiddleware.error_response",
        "starlette.middleware.exceptions:ExceptionMiddleware.__call__",
    ),
    # The layers between the user's middleware and the router.
    "inner": (
        "fastapi.middleware.asyncexitstack:AsyncExitStackMiddleware.__call__",
        "starlette.routing:Router.__call__",
    ),
    # Which route a request is for, and what the scope says about it.
    "routing": (
        "fastapi.routing:APIRoute.handle",
        "fastapi.routing:APIRoute.matches",
        "fastapi.routing:APIRouter.app",
        "fastapi.routing:APIRouter.handle",
        "fastapi.routing:APIRouter.matches",
        "fastapi.routing:_EffectiveRouteContext.matches",
        "fastapi.routing:_IncludedRouter._handle_selected",
        "fastapi.routing:_IncludedRouter._match",
        "fastapi.routing:_IncludedRouter.effective_candidates",
        "fastapi.routing:_IncludedRouter.handle",
        "fastapi.routing:_IncludedRouter.matches",
        "fastapi.routing:_get_fastapi_scope",
        "fastapi.routing:_restore_fastapi_scope_key",
        "fastapi.telemetry._api:_route_selected",
        "starlette._exception_handler:_lookup_exception_handler",
        "starlette._exception_handler:wrap_app_handling_exceptions",
        "starlette._utils:get_route_path",
        "starlette._utils:is_async_callable",
        "starlette.requests:HTTPConnection.__init__",
        "starlette.requests:Request.__init__",
        "starlette.routing:Route.handle",
        "starlette.routing:Route.matches",
    ),
    # FastAPI's own telemetry, around a request and around the parts of a path operation.
    "telemetry": (
        "fastapi.telemetry._api:_traced_operation.__wrapped__",
        "fastapi.telemetry._api:_get_request_telemetry",
        "fastapi.telemetry._api:_normal_websocket_disconnect",
        "fastapi.telemetry._api:_operation",
        "fastapi.telemetry._api:_run_sync_endpoint",
        "fastapi.telemetry._asgi:NativeTelemetry.__call__",
        "fastapi.telemetry._asgi:NativeTelemetry._get_tracer",
        "fastapi.telemetry._asgi:NativeTelemetry._instruments",
        "fastapi.telemetry._asgi:_HeadersGetter.get",
        "fastapi.telemetry._asgi:_legacy_otel",
        "fastapi.telemetry._asgi:_server_attributes",
    ),
    # What a path operation does with a request.
    "handlers": (
        "fastapi._compat.v2:ModelField.get_default",
        "fastapi._compat.v2:ModelField.serialize",
        "fastapi._compat.v2:ModelField.serialize_json",
        "fastapi._compat.v2:ModelField.validate",
        "fastapi._compat.v2:_regenerate_error_with_loc",
        "fastapi.dependencies.models:_get_cache_key",
        "fastapi.dependencies.models:_get_computed_scope",
        "fastapi.dependencies.models:_get_oauth_scopes",
        "fastapi.dependencies.utils:_get_multidict_value",
        "fastapi.dependencies.utils:_get_param_aliases",
        "fastapi.dependencies.utils:_solve_generator",
        "fastapi.dependencies.utils:_validate_value_with_model_field",
        "fastapi.dependencies.utils:request_body_to_args",
        "fastapi.dependencies.utils:request_params_to_args",
        "fastapi.dependencies.utils:solve_dependencies",
        "fastapi.exceptions:RequestValidationError.__init__",
        "fastapi.routing:_build_response_args",
        "fastapi.routing:_extract_endpoint_context",
        "fastapi.routing:get_request_handler",
        "fastapi.routing:request_response",
        "fastapi.routing:run_endpoint_function",
        "fastapi.routing:serialize_response",
        "fastapi.telemetry._api:_validation_failed",
        "fastapi.telemetry._api:get_telemetry_data",
        "fastapi.utils:is_body_allowed_for_status_code",
        "starlette.concurrency:run_in_threadpool",
        "starlette.datastructures:Headers.__getitem__",
        "starlette.datastructures:Headers.__init__",
        "starlette.datastructures:Headers.get",
        "starlette.datastructures:ImmutableMultiDict.__getitem__",
        "starlette.datastructures:ImmutableMultiDict.__init__",
        "starlette.datastructures:ImmutableMultiDict.get",
        "starlette.datastructures:QueryParams.__init__",
        "starlette.requests:HTTPConnection.cookies",
        "starlette.requests:HTTPConnection.headers",
        "starlette.requests:HTTPConnection.path_params",
        "starlette.requests:HTTPConnection.query_params",
    ),
    # A request body that is JSON.
    "json_body": (
        "starlette.requests:Request.body",
        "starlette.requests:Request.json",
        "starlette.requests:Request.stream",
    ),
    # Functions that run in worker threads.
    "threads": (
        "anyio._backends._asyncio:AsyncIOBackend.current_default_thread_limiter",
        "anyio._backends._asyncio:AsyncIOBackend.run_sync_in_worker_thread",
        "anyio._backends._asyncio:CapacityLimiter.acquire_on_behalf_of",
        "anyio._backends._asyncio:CapacityLimiter.acquire_on_behalf_of_nowait",
        "anyio._backends._asyncio:CapacityLimiter.release_on_behalf_of",
        "anyio._backends._asyncio:WorkerThread._report_result",
        "anyio._backends._asyncio:WorkerThread.run",
        "anyio._backends._asyncio:find_root_task",
        "anyio._core._eventloop:claim_worker_thread",
        "anyio._core._eventloop:set_current_async_library",
        "anyio.to_thread:run_sync",
    ),
    # `@app.middleware("http")` and other middleware made with `BaseHTTPMiddleware`.
    "base_http": (
        "anyio._backends._asyncio:CancelScope.__enter__",
        "anyio._backends._asyncio:CancelScope.__exit__",
        "anyio._backends._asyncio:CancelScope.__init__",
        "anyio._backends._asyncio:CancelScope._effectively_cancelled",
        "anyio._backends._asyncio:CancelScope._restart_cancellation_in_parent",
        "anyio._backends._asyncio:TaskGroup.__aenter__",
        "anyio._backends._asyncio:TaskGroup.__aexit__",
        "anyio._backends._asyncio:TaskGroup.__init__",
        "anyio._backends._asyncio:TaskGroup._spawn",
        "anyio._backends._asyncio:TaskGroup.create_task",
        "anyio._backends._asyncio:TaskGroup.start_soon",
        "anyio._core._tasks:TaskHandle.__init__",
        "anyio._core._tasks:TaskHandle._run_coro",
        "anyio.streams.memory:MemoryObjectReceiveStream.close",
        "anyio.streams.memory:MemoryObjectReceiveStream.receive",
        "anyio.streams.memory:MemoryObjectReceiveStream.receive_nowait",
        "anyio.streams.memory:MemoryObjectSendStream.close",
        "anyio.streams.memory:MemoryObjectSendStream.send",
        "anyio.streams.memory:MemoryObjectSendStream.send_nowait",
        "starlette._utils:create_collapsing_task_group",
        "starlette.middleware.base:BaseHTTPMiddleware.__call__",
        "starlette.middleware.base:_CachedRequest.wrapped_receive",
        "starlette.middleware.base:_StreamingResponse.__call__",
        "starlette.middleware.base:_StreamingResponse.__init__",
        "starlette.responses:Response.init_headers",
    ),
    # `CORSMiddleware`, but for preflight requests.
    "cors": (
        "starlette.datastructures:Headers.__contains__",
        "starlette.datastructures:Headers.__getitem__",
        "starlette.datastructures:Headers.__init__",
        "starlette.datastructures:Headers.get",
        "starlette.datastructures:Headers.getlist",
        "starlette.datastructures:MutableHeaders.__setitem__",
        "starlette.middleware.cors:CORSMiddleware.__call__",
        "starlette.middleware.cors:CORSMiddleware.allow_explicit_origin",
        "starlette.middleware.cors:CORSMiddleware.is_allowed_origin",
        "starlette.middleware.cors:CORSMiddleware.send",
        "starlette.middleware.cors:CORSMiddleware.simple_response",
    ),
    # A response that is JSON, without an object for it.
    "json_response": (
        "fastapi.encoders:jsonable_encoder",
        "starlette.responses:JSONResponse.__init__",
        "starlette.responses:JSONResponse.render",
        "starlette.responses:Response.__call__",
        "starlette.responses:Response.__init__",
        "starlette.responses:Response.init_headers",
        "starlette.responses:Response.render",
    ),
}
"""Feature -> functions, as `module:qualified name`."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    # What carries a trace from elsewhere, and the context that says which span is current.
    "opentelemetry-api": (
        "opentelemetry.baggage.propagation:W3CBaggagePropagator.extract",
        "opentelemetry.context:get_value",
        "opentelemetry.context:set_value",
        "opentelemetry.propagate:extract",
        "opentelemetry.propagators.composite:CompositePropagator.extract",
        "opentelemetry.trace.propagation.tracecontext:TraceContextTextMapPropagator.extract",
        "opentelemetry.trace:use_span.__wrapped__",
    ),
    # How a tracer starts a span within another one, and makes it the current one.
    "opentelemetry-sdk": (
        "opentelemetry.attributes:BoundedAttributes.__init__",
        "opentelemetry.attributes:BoundedAttributes._set_items",
        "opentelemetry.attributes:BoundedAttributes._setitem_locked",
        "opentelemetry.attributes:_clean_attribute_value",
        "opentelemetry.sdk.trace:ReadableSpan.__init__",
        "opentelemetry.sdk.trace:Span.__init__",
        "opentelemetry.sdk.trace:Span.__new__",
        "opentelemetry.sdk.trace:Span._new_events",
        "opentelemetry.sdk.trace:Span._new_links",
        "opentelemetry.sdk.trace:Span.get_span_context",
        "opentelemetry.sdk.trace:Tracer._is_enabled",
        "opentelemetry.sdk.trace:Tracer.start_as_current_span",
        "opentelemetry.sdk.trace:Tracer.start_as_current_span.__wrapped__",
        "opentelemetry.sdk.trace:Tracer.start_span",
        "opentelemetry.sdk.trace._tracer_metrics:NoOpTracerMetrics.start_span",
        "opentelemetry.sdk.trace.sampling:ParentBased.should_sample",
        "opentelemetry.sdk.trace.sampling:SamplingResult.__init__",
        "opentelemetry.sdk.trace.sampling:StaticSampler.should_sample",
        "opentelemetry.sdk.trace.sampling:_get_parent_trace_state",
        "opentelemetry.trace.propagation:get_current_span",
    ),
    # What Sentry does around a request, and before and after a path operation.
    "sentry-sdk": (
        "sentry_sdk.api:continue_trace",
        "sentry_sdk.api:start_transaction",
        "sentry_sdk.client:_Client.capture_session",
        "sentry_sdk.debug:_DebugFilter.filter",
        "sentry_sdk.integrations._asgi_common:_get_headers",
        "sentry_sdk.integrations._asgi_common:_get_ip",
        "sentry_sdk.integrations.asgi:SentryAsgiMiddleware.__init__",
        "sentry_sdk.integrations.asgi:SentryAsgiMiddleware._run_app",
        "sentry_sdk.integrations.asgi:SentryAsgiMiddleware._run_asgi3",
        "sentry_sdk.integrations.fastapi:_wrap_async_handler",
        "sentry_sdk.integrations.fastapi:patch_get_request_handler",
        "sentry_sdk.integrations.starlette:StarletteRequestExtractor.content_length",
        "sentry_sdk.integrations.starlette:StarletteRequestExtractor.extract_request_info",
        "sentry_sdk.integrations.starlette:patch_asgi_app",
        "sentry_sdk.scope:Scope.end_session",
        "sentry_sdk.scope:Scope.fork",
        "sentry_sdk.scope:Scope.start_session",
        "sentry_sdk.scope:Scope.start_transaction",
        "sentry_sdk.scope:isolation_scope.__wrapped__",
        "sentry_sdk.scope:should_send_default_pii",
        "sentry_sdk.sessions:_is_auto_session_tracking_enabled",
        "sentry_sdk.sessions:track_session.__wrapped__",
        "sentry_sdk.tracing:Span.__exit__",
        "sentry_sdk.tracing:Transaction.__exit__",
        "sentry_sdk.tracing:Transaction._set_initial_sampling_decision",
        "sentry_sdk.tracing:Transaction.finish",
    ),
}
"""Features that are about other libraries, by the names of their distributions. They are looked at
when an application turns out to use the library."""

OPTIONAL = (
    "sentry_sdk.integrations.fastapi:patch_get_request_handler",
    "sentry_sdk.integrations.starlette:_enable_span_for_middleware",
    "sentry_sdk.integrations.starlette:patch_exception_middleware",
)
"""Functions of other packages that are recognised where they are installed."""

WATCHED = (
    ("json_body", "email.message:Message.get_content_maintype"),
    ("json_body", "email.message:Message.get_content_subtype"),
)
"""Functions of Python's own whose answers are remembered. They are known, unless patched."""


NEEDS: dict[str, tuple[str, ...]] = {
    "outer": ("inner",),
    "inner": ("routing",),
    "handlers": ("routing",),
    "threads": ("routing",),
    "base_http": ("routing",),
    "cors": ("routing",),
    "telemetry": ("handlers", "outer"),
    "json_body": ("handlers",),
    "json_response": ("handlers",),
}
"""What a feature is of no use without."""


ENTRANCES = {
    "fastapi.applications:FastAPI.__call__": "outer",
    "starlette.applications:Starlette.__call__": "outer",
    "starlette.middleware.exceptions:ExceptionMiddleware.__call__": "inner",
    "starlette.routing:Router.__call__": "routing",
    "starlette.middleware.base:BaseHTTPMiddleware.__call__": "base_http",
    "starlette.middleware.cors:CORSMiddleware.__call__": "cors",
}
"""Methods in whose place requests come to the accelerator, and the feature that takes them there.
Something that wraps such a method later wraps the accelerator's."""


def functions() -> Iterator[tuple[str, str]]:
    """Every feature with each of its functions."""
    for feature, names in STAND_INS.items():
        for name in names:
            yield feature, name
    yield from WATCHED


def resolve(name: str) -> tuple[Any, str, Any]:
    """The namespace that holds a function, the function's name there, and the function.

    Raises ImportError or AttributeError where this version has no such function.
    """
    module_name, _, qualified = name.partition(":")
    namespace: Any = importlib.import_module(module_name)
    *parents, last = qualified.split(".")
    for parent in parents:
        namespace = getattr(namespace, parent)
    found = vars(namespace)[last] if last in vars(namespace) else getattr(namespace, last)
    return namespace, last, found


def function_of(found: Any) -> Any:
    """The plain function behind a property, a class or static method."""
    if type(found) is property:
        return found.fget
    if type(found) in (classmethod, staticmethod, MethodType):
        return found.__func__
    return found


def code_of(found: Any) -> CodeType | None:
    """The code of a plain function.

    None for all else: a proxy (as `wrapt` makes them) has the code of the function that it wraps,
    and passes for it when it is asked for its class or compared.
    """
    return found.__code__ if type(found) is FunctionType else None
