"""Writes and compiles the code for one route: the fast form of everything between server and user.

`make_program` returns a coroutine function `program(scope, receive, send, path_params)` that does
what the layers named by `Shape` do with a request for one route. It is written as source, in which
the layers are nested `try` statements in the order in which FastAPI nests them, so that an
exception meets the same handlers, and a dependency the same exits, as in the original. A route that
is understood (`Facts`) has its path operation written into it; another one has its own application
called at that point.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import routing
from fastapi._compat import Undefined
from fastapi._compat.v2 import _regenerate_error_with_loc
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import FastAPIError, RequestValidationError, ResponseValidationError
from fastapi.telemetry import _api as telemetry_api
from fastapi.telemetry._asgi import _exception
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pronghorn.fastapi.analysis import NOT_AWAITED, Facts, rewrap
from pronghorn.fastapi.bodies import (
    VALIDATED,
    endpoint_context,
    find_header,
    loads,
    own_headers,
    parse_query,
    prime,
    read_form,
    read_json,
    receive_json,
    remember_body,
)
from pronghorn.fastapi.generators import leave
from pronghorn.fastapi.json_text import dump
from pronghorn.fastapi.matching import Place
from pronghorn.fastapi.native import respond, whole_body
from pronghorn.fastapi.operation import Operation
from pronghorn.fastapi.overriding import Overridden
from pronghorn.fastapi.recovery import no_response, recover, server_error
from pronghorn.fastapi.relays import Track, send_start, sender_of_bodies
from pronghorn.fastapi.shape import Layers, Program, Shape, Start
from pronghorn.fastapi.source import Source
from pronghorn.fastapi.telemetry import run_endpoint
from pronghorn.fastapi.threads import call_and_validate, run_sync


def make_program(shape: Shape, layers: Layers, place: Place, facts: Facts | None) -> Program:
    """The program for one route; without `facts` it calls the route's own application."""
    source = Source()
    source.names.update(_RUNTIME)
    has_threads = "threads" in shape.features
    source.names["run_sync"] = run_sync if has_threads else anyio.to_thread.run_sync
    if shape.has_telemetry:
        source.names["operation"] = operation = _operation(shape)
        source.names["run_endpoint"] = partial(run_endpoint, operation)
    writer = _Writer(source, shape, layers, place, facts)
    handler = None
    if facts is not None and facts.wrappers:
        writer.write_handler()
    writer.write_program()
    about = place.about
    names = source.compile(f"<pronghorn: {' '.join(sorted(about.methods))} {about.path_format}>")
    if facts is not None and facts.wrappers:
        handler = rewrap(facts.wrappers, names["handler"])
        names["wrapped_handler"] = handler
    program: Program = names["program"]
    return program


def _operation(shape: Shape) -> Any:
    """What makes the span for a part of a path operation."""
    if "opentelemetry-sdk" not in shape.features:
        return telemetry_api._operation
    from pronghorn.fastapi.spans import operation

    return operation


_RUNTIME: dict[str, Any] = {
    "AsyncExitStack": AsyncExitStack,
    "deque": deque,
    "new": object.__new__,
    "FastAPIError": FastAPIError,
    "JSONResponse": JSONResponse,
    "NOT_AWAITED": NOT_AWAITED,
    "Request": Request,
    "RequestValidationError": RequestValidationError,
    "Response": Response,
    "Overridden": Overridden,
    "ResponseValidationError": ResponseValidationError,
    "Track": Track,
    "Undefined": Undefined,
    "ValidationError": ValidationError,
    "call_and_validate": call_and_validate,
    "build_response_args": routing._build_response_args,
    "dump": dump,
    "endpoint_context": endpoint_context,
    "find_header": find_header,
    "get_telemetry_data": telemetry_api.get_telemetry_data,
    "is_body_allowed": is_body_allowed_for_status_code,
    "VALIDATED": VALIDATED,
    "jsonable_encoder": jsonable_encoder,
    "leave": leave,
    "loads": loads,
    "located": _regenerate_error_with_loc,
    "no_response": no_response,
    "observe_exception": _exception,
    "own_headers": own_headers,
    "parse_query": parse_query,
    "partial": partial,
    "prime": prime,
    "read_form": read_form,
    "read_json": read_json,
    "receive_json": receive_json,
    "remember_body": remember_body,
    "respond": respond,
    "send_start": send_start,
    "sender_of_bodies": sender_of_bodies,
    "whole_body": whole_body,
    "recover": recover,
    "route_selected": telemetry_api._route_selected,
    "routing": routing,
    "server_error": server_error,
    "validation_failed": telemetry_api._validation_failed,
}


class _Writer:
    def __init__(
        self, source: Source, shape: Shape, layers: Layers, place: Place, facts: Facts | None
    ) -> None:
        self.source = source
        self.line = source.line
        self.block = source.block
        self.shape = shape
        self.layers = layers
        self.place = place
        self.facts = facts
        self.operation = None if facts is None else Operation(self, is_handler=False)
        self.is_direct = self.operation is not None and (
            self.operation.is_direct and not self.operation.needs_request
        )
        """Nobody but this program has anything to do with what is sent, unless something fails."""

    def write_program(self) -> None:
        """Write the layers, from the outside in."""
        line, block, name = self.line, self.block, self.source.name
        with block("async def program(scope, receive, send, path_params):"):
            if self.is_direct:
                line("track, started = None, False")
            else:
                line("track = Track(send)")
            if self.shape.start is not Start.APPLICATION:
                self._write_inside()
                return
            line(f'scope["app"] = {name(self.layers.app, "app")}')
            with block("try:"):
                self._write_inside()
            with block("except Exception as exc:"):
                if self.shape.has_telemetry:
                    line("observe_exception(scope=scope, exc=exc)")
                self.write_track()
                middleware = name(self.layers.server_error, "server_error_middleware")
                line(f"await server_error(exc, {middleware}, scope, receive, track)")

    def write_handler(self) -> None:
        """Write the path operation as the handler that a wrapper calls."""
        line = self.line
        with self.block("async def handler(request):"):
            line("scope = request.scope")
            line('file_stack = scope["fastapi_middleware_astack"]')
            line('request_stack = scope["fastapi_inner_astack"]')
            line('function_stack = scope["fastapi_function_astack"]')
            Operation(self, is_handler=True).write()
            line("return response")

    def _write_inside(self) -> None:
        """`ExceptionMiddleware`, and the stack of files to close."""
        line, block = self.line, self.block
        if self.shape.start is Start.ROUTER:
            line('handlers = scope.get("starlette.exception_handlers", ({}, {}))')
            line('file_stack = scope["fastapi_middleware_astack"]')
            self._write_router()
            return
        middleware = self.source.name(self.layers.exception, "exception_middleware")
        line(f"handlers = ({middleware}._exception_handlers, {middleware}._status_handlers)")
        line('scope["starlette.exception_handlers"] = handlers')
        with block("try:"), self._stack("file_stack", "fastapi_middleware_astack"):
            self._write_router()
        with block("except Exception as exc:"):
            self.write_track()
            line("conn = Request(scope, receive, track)")
            line("await recover(exc, handlers, conn, scope, receive, track)")

    def _write_router(self) -> None:
        self._write_scope()
        if self.facts is None:
            self.line(f"await {self._application()}(scope, receive, track)")
        else:
            self._write_route()

    def _write_scope(self) -> None:
        """What routing leaves in the scope."""
        line, name, place = self.line, self.source.name, self.place
        line(f'if "router" not in scope: scope["router"] = {name(self.layers.router, "router")}')
        if place.after_included:
            line('fastapi_scope = scope.setdefault("fastapi", {})')
        if place.included is not None:
            included = name(place.included, "included_router")
            line(f'fastapi_scope["included_router"] = {included}')
        about = name(place.about, "about")
        line(f'scope["endpoint"] = {about}.endpoint')
        with self.block('if "path_params" in scope:'):
            line('path_params = {**scope["path_params"], **(path_params or {})}')
        line("elif path_params is None: path_params = {}")
        line('scope["path_params"] = path_params')
        if place.is_api:
            line(f'scope["route"] = {name(place.route, "route")}')
        if self.shape.has_telemetry:
            line(f"route_selected(scope=scope, path={about}.path_format)")
        if place.effective is not None:
            effective = name(place.effective, "effective")
            line(f'fastapi_scope["effective_route_context"] = {effective}')

    def write_track(self) -> None:
        """Write the `send` that is watched, where it has not been needed before."""
        if self.is_direct:
            self.line("if track is None: track = Track(send, started)")

    def _application(self) -> str:
        return self.source.name(self.place.about.app, "application")

    def _write_route(self) -> None:
        """`request_response`: what handles exceptions nearest to the endpoint, and two stacks."""
        line, block = self.line, self.block
        assert self.facts is not None
        operation = self.operation
        assert operation is not None
        has_request = operation.needs_request or bool(self.facts.wrappers)
        if has_request:
            line("request = Request(scope, receive, track)")
        elif operation.reads_body_early:
            line("request, body_bytes, body = None, None, Undefined")
        with block("try:"), self._stack("request_stack", "fastapi_inner_astack", NOT_AWAITED):
            with self._stack("function_stack", "fastapi_function_astack", "response"):
                if self.facts.wrappers:
                    line("response = await wrapped_handler(request)")
                elif self.shape.has_sentry:
                    self._write_followed(operation)
                else:
                    operation.write()
            operation.write_send()
        with block("except Exception as exc:"):
            self.write_track()
            if operation.reads_body_early and not has_request:
                with block("if request is None:"):
                    line("request = Request(scope, receive, track)")
                    line("if body_bytes is not None: remember_body(request, body_bytes, body)")
            elif not has_request:
                line("request = Request(scope, receive, track)")
            line("await recover(exc, handlers, request, scope, receive, track)")

    def _write_followed(self, operation: Operation) -> None:
        """What Sentry does before and after a path operation."""
        from pronghorn.fastapi.sentry_requests import enter, leave

        self.line(f"client = await {self.source.name(enter, 'enter')}(request)")
        with self.block("try:"):
            operation.write()
        with self.block("finally:"):
            leave_name = self.source.name(leave, "leave")
            self.line(f"if client is not None: {leave_name}(client, request)")

    def _stack(self, variable: str, key: str, swallowed: str | None = None) -> _Stack:
        return _Stack(self, variable, key, swallowed)


class _Stack:
    """An `async with AsyncExitStack()` that costs little while nothing is in the stack."""

    def __init__(self, writer: _Writer, variable: str, key: str, swallowed: str | None) -> None:
        self.writer = writer
        self.variable = variable
        self.key = key
        self.swallowed = swallowed
        """What is missing when something in the stack swallows an exception."""

    def __enter__(self) -> None:
        line, stack = self.writer.line, self.variable
        line(f'scope["{self.key}"] = {stack} = new(AsyncExitStack)')
        line(f"{stack}._exit_callbacks = deque()")
        if self.swallowed is not None:
            line(f"{stack}_ended = False")
        self.block = self.writer.block("try:")
        self.block.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        line, block, stack = self.writer.line, self.writer.block, self.variable
        if self.swallowed is not None:
            line(f"{stack}_ended = True")
        self.block.__exit__(*exc_info)
        with block("except BaseException as exc:"):
            line(
                f"if not {stack}._exit_callbacks or not await {stack}.__aexit__"
                "(type(exc), exc, exc.__traceback__): raise"
            )
        with block("else:"):
            line(f"if {stack}._exit_callbacks: await leave({stack})")
        if self.swallowed == "response":
            line(f"if not {stack}_ended: no_response()")
        elif self.swallowed is not None:
            line(f"if not {stack}_ended: raise FastAPIError(NOT_AWAITED)")
