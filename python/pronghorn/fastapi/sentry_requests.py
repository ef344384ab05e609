"""Sentry around a request and around a path operation, where its client takes no streamed spans.

`follow` does what Sentry's `_sentry_patched_asgi_app` and `SentryAsgiMiddleware._run_app` do with a
request, and `enter` and `leave` what `_wrap_async_handler` does before and after a path operation,
with Sentry's own scopes, sessions, transactions and processors. What is left out is work without a
result: looking for the client at every step, reading the header fields three times, log records
that Sentry's own filter drops, and the sampling of transactions that nobody takes.

Imported only where Sentry's integration is, and used only where its functions are known.
"""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from typing import Any, NoReturn

import sentry_sdk
from sentry_sdk.client import _client_init_debug
from sentry_sdk.consts import INSTRUMENTER, SPANDATA, SPANSTATUS
from sentry_sdk.debug import _DebugFilter
from sentry_sdk.integrations._asgi_common import _get_headers
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware, _asgi_middleware_applied
from sentry_sdk.integrations.fastapi import FastApiIntegration, _set_transaction_name_and_source
from sentry_sdk.integrations.starlette import (
    StarletteIntegration,
    StarletteRequestExtractor,
    _get_cached_request_body_attribute,
)
from sentry_sdk.profiler.continuous_profiler import try_autostart_continuous_profiler
from sentry_sdk.scope import Scope, _current_scope, _isolation_scope
from sentry_sdk.session import Session
from sentry_sdk.traces import StreamedSpan, get_current_span
from sentry_sdk.tracing_utils import has_span_streaming_enabled, has_tracing_enabled
from sentry_sdk.utils import (
    _is_localhost,
    capture_internal_exception,
    capture_internal_exceptions,
    has_data_collection_enabled,
    reraise,
    should_be_treated_as_error,
)
from sentry_sdk.utils import logger as sentry_logger

from pronghorn.fastapi.bodies import find_header, own_headers

_SEND_NAME = "SentryAsgiMiddleware._run_app.<locals>._sentry_wrapped_send"


class Follower:
    """Follows the requests of one application, whose paths Sentry reads by `root_path_in_path`."""

    def __init__(self, run: Any, root_path_in_path: Any) -> None:
        self._run = run
        self._root_path_in_path = root_path_in_path
        self._given: Any = None
        """What the integration says about transactions."""
        self._middleware: Any = None

    def can_follow(self) -> bool:
        """Whether it is for the present client, and not within a request that is followed."""
        options = sentry_sdk.get_client().options
        return not has_span_streaming_enabled(options) and not _asgi_middleware_applied.get(False)

    async def follow(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Follow a request that `run(app, scope, receive, send)` answers."""
        client = sentry_sdk.get_client()
        integration = client.get_integration(StarletteIntegration)
        if integration is None:
            await self._run(app, scope, receive, send)
            return
        given = (integration.transaction_style, integration.http_methods_to_capture)
        if given != self._given:
            self._take(*given)
        _asgi_middleware_applied.set(True)
        try:
            current_token = _current_scope.set(Scope.get_current_scope().__copy__())
            isolation_scope = Scope.get_isolation_scope().__copy__()
            isolation_token = _isolation_scope.set(isolation_scope)
            try:
                await self._isolated(client, isolation_scope, app, scope, receive, send)
            finally:
                _reset(_current_scope, current_token)
                _reset(_isolation_scope, isolation_token)
        finally:
            _asgi_middleware_applied.set(False)

    def _take(self, transaction_style: str, methods: tuple[str, ...]) -> None:
        self._middleware = SentryAsgiMiddleware(
            lambda *arguments: None,  # Its application is `run`.
            mechanism_type=StarletteIntegration.identifier,
            transaction_style=transaction_style,
            span_origin=StarletteIntegration.origin,
            http_methods_to_capture=methods,
            asgi_version=3,
            root_path_in_path=self._root_path_in_path,
        )
        # Last: what Sentry refuses is refused for every request.
        self._given = transaction_style, methods

    async def _isolated(
        self, client: Any, isolation_scope: Any, app: Any, scope: Any, receive: Any, send: Any
    ) -> None:
        """A request within scopes of its own: its session, its transaction and its errors."""
        has_session = isolation_scope._force_auto_session_tracking
        if has_session is None:
            has_session = client.options.get("auto_session_tracking", False)
        if has_session:
            _start_session(client, isolation_scope)
        try:
            with self._transaction(client, isolation_scope, scope) as span:

                async def _sentry_wrapped_send(event: Any) -> Any:
                    if (
                        span is not None
                        and event.get("type") == "http.response.start"
                        and "status" in event
                    ):
                        span.set_http_status(event["status"])
                    return await send(event)

                # Sentry names spans after it.
                _sentry_wrapped_send.__qualname__ = _SEND_NAME
                try:
                    await self._run(app, scope, receive, _sentry_wrapped_send)
                except Exception as exc:
                    self._capture(exc)
        finally:
            if has_session:
                _end_session(isolation_scope)

    def _transaction(self, client: Any, isolation_scope: Any, scope: Any) -> Any:
        """The transaction of a request, as a context manager."""
        middleware = self._middleware
        isolation_scope.clear_breadcrumbs()
        isolation_scope._name = "asgi"
        processor = partial(middleware.event_processor, asgi_scope=scope)
        isolation_scope.add_event_processor(processor)
        headers = _get_headers(scope)
        host, server = headers.get("host"), scope.get("server")
        isolation_scope.set_attribute(
            SPANDATA.SENTRY_IS_LOCALHOST,
            _is_localhost(
                client_ip=_address(headers, scope),
                url_host=server[0] if server and not host else None,
                host_header=host,
                forwarded_host_header=headers.get("x-forwarded-host"),
            ),
        )
        if headers.get("user-agent"):
            isolation_scope.set_attribute(SPANDATA.USER_AGENT_ORIGINAL, headers["user-agent"])
        name, source = middleware._get_transaction_name_and_source(
            middleware.transaction_style, scope
        )
        if scope.get("method", "").upper() not in middleware.http_methods_to_capture:
            return nullcontext()
        transaction = isolation_scope.continue_trace(
            headers, op="http.server", name=name, source=source, origin=middleware.span_origin
        )
        transaction.set_tag("asgi.type", "http")
        options = client.options
        if has_tracing_enabled(options) or options["instrumenter"] != INSTRUMENTER.SENTRY:
            return sentry_sdk.start_transaction(
                transaction, custom_sampling_context={"asgi_scope": scope}
            )
        try_autostart_continuous_profiler()
        transaction.sampled = False
        return _Unsampled(transaction)

    def _capture(self, exc: Exception) -> NoReturn:
        """Report what a request has raised, and raise it again."""
        experiments = sentry_sdk.get_client().options.get("_experiments", {})
        if experiments.get("suppress_asgi_chained_exceptions", True):
            self._middleware._capture_request_exception(exc)
            raise exc from None
        exc_info = sys.exc_info()
        with capture_internal_exceptions():
            self._middleware._capture_request_exception(exc)
        reraise(*exc_info)


class _Unsampled:
    """A transaction that is the current span, and that nobody takes when it ends."""

    __slots__ = ("_transaction",)

    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    def __enter__(self) -> Any:
        return self._transaction.__enter__()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        transaction = self._transaction
        client = sentry_sdk.get_client()
        if (
            transaction.sampled is not False
            or transaction._span_recorder is not None
            or transaction._profile is not None
            or transaction._continuous_profile is not None
            or has_tracing_enabled(client.options)
            or not _drops_records(client)
        ):
            transaction.__exit__(kind, value, traceback)
            return
        if value is not None and should_be_treated_as_error(kind, value):
            transaction.set_status(SPANSTATUS.INTERNAL_ERROR)
        with capture_internal_exceptions():
            scope, old_span = transaction._context_manager_state
            del transaction._context_manager_state
            scope.span = old_span


def _start_session(client: Any, isolation_scope: Any) -> None:
    isolation_scope.end_session()
    options = client.options
    isolation_scope._session = Session(
        release=options.get("release"),
        environment=options.get("environment"),
        user=isolation_scope._user,
        session_mode="request",
    )


def _end_session(isolation_scope: Any) -> None:
    session = isolation_scope._session
    if session is not None and not session.release and _drops_records(sentry_sdk.get_client()):
        # A session without a release is not sent; that would be logged.
        isolation_scope._session = None
        session.close()
    else:
        isolation_scope.end_session()


def _drops_records(client: Any) -> bool:
    """Whether what Sentry logs about itself, below a warning, comes to nothing."""
    filters = sentry_logger.filters
    return (
        len(filters) == 1
        and type(filters[0]) is _DebugFilter
        and type(sentry_logger) is logging.Logger
        and logging.getLogRecordFactory() is logging.LogRecord
        and not client.options["debug"]
        and not _client_init_debug.get(False)
    )


def _reset(variable: Any, token: Any) -> None:
    try:
        variable.reset(token)
    except (LookupError, ValueError):
        capture_internal_exception(sys.exc_info())


def _address(headers: dict[str, str], scope: Any) -> str | None:
    """What `_get_ip` finds."""
    if "x-forwarded-for" in headers:
        return headers["x-forwarded-for"].split(",")[0].strip()
    if "x-real-ip" in headers:
        return headers["x-real-ip"]
    return scope["client"][0] if scope.get("client") else None


async def enter(request: Any) -> Any:
    """Tell Sentry about the request of a path operation; what is returned is for `leave`."""
    client = sentry_sdk.get_client()
    integration = client.get_integration(FastApiIntegration)
    if integration is None:
        return None
    scope = request.scope
    if type(scope["headers"]) is not list:
        own_headers(scope)
    current_scope = sentry_sdk.get_current_scope()
    route_path = _route_path(scope)
    server_span = current_scope._server_segment_span
    if server_span is not None and route_path is not None:
        server_span.set_attribute(SPANDATA.HTTP_ROUTE, route_path)
    _set_transaction_name_and_source(
        current_scope,
        integration.transaction_style,
        endpoint=scope.get("endpoint"),
        route_path=route_path,
    )
    isolation_scope = sentry_sdk.get_isolation_scope()
    info: Any = {}
    if (
        has_data_collection_enabled(client.options)
        or client.should_send_default_pii()
        or find_header(scope["headers"], b"content-length") is not None
    ):
        info = await StarletteRequestExtractor(request).extract_request_info()
    isolation_scope._name = FastApiIntegration.identifier
    isolation_scope.add_event_processor(partial(_add_request, client, info))
    return client


def leave(client: Any, request: Any) -> None:
    """Give the span of the server the body of the request, if it is a streamed one."""
    current_span = get_current_span()
    if type(current_span) is not StreamedSpan or not _takes_bodies(client):
        return
    body = _get_cached_request_body_attribute(client=client, request=request)
    if body:
        current_span._segment.set_attribute(SPANDATA.HTTP_REQUEST_BODY_DATA, body)


def _route_path(scope: Any) -> str | None:
    route = scope.get("route")
    if not route:
        return None
    context = scope.get("fastapi", {}).get("effective_route_context")
    path: str | None = getattr(context, "path", None) or getattr(route, "path", None)
    return path


def _add_request(client: Any, info: Any, event: Any, hint: Any) -> Any:
    """The event with what is known of the request."""
    request_info = event.get("request", {})
    if info:
        if "cookies" in info:
            request_info["cookies"] = info["cookies"]
        if "data" in info and _takes_bodies(client):
            request_info["data"] = info["data"]
    event["request"] = deepcopy(request_info)
    return event


def _takes_bodies(client: Any) -> bool:
    options = client.options
    return (
        not has_data_collection_enabled(options)
        or "incoming_request" in options["data_collection"]["http_bodies"]
    )
