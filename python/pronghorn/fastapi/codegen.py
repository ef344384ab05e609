"""Writes and compiles the code for one route: the fast form of everything between server and user.

`make_program` returns a coroutine function `program(scope, receive, send, path_params)` that does
what the layers named by `Shape` do with a request for one route. It is written as source, in which
the layers are nested `try` statements in the order in which FastAPI nests them, so that an
exception meets the same handlers, and a dependency the same exits, as in the original. A route that
is understood (`Facts`) has its path operation written into it; another one has its own application
called at that point.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum
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
from pydantic_core import SchemaSerializer, SchemaValidator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pronghorn.fastapi.analysis import NOT_AWAITED, Facts, rewrap
from pronghorn.fastapi.bodies import (
    endpoint_context,
    find_header,
    own_headers,
    parse_query,
    prime,
    read_form,
    read_json,
)
from pronghorn.fastapi.json_text import dump
from pronghorn.fastapi.matching import Place
from pronghorn.fastapi.overriding import Overridden, Solved
from pronghorn.fastapi.recovery import Track, no_response, recover, server_error
from pronghorn.fastapi.solving import Solver
from pronghorn.fastapi.source import Source
from pronghorn.fastapi.threads import call_and_validate, run_sync

Program = Callable[..., Any]


class Start(Enum):
    """Where a program begins."""

    APPLICATION = "application"
    EXCEPTIONS = "exceptions"
    ROUTER = "router"


@dataclass(frozen=True)
class Shape:
    """What a program stands in for."""

    start: Start
    """Where it begins: with the application, with `ExceptionMiddleware`, or with the router."""
    has_telemetry: bool
    """FastAPI's telemetry is on."""
    features: frozenset[str]
    """What may be stood in for."""
    replaced_steps: frozenset[str]
    """Functions of `fastapi.routing` that something has replaced, and that are to be called."""


@dataclass(frozen=True)
class Layers:
    """The objects that an application consists of."""

    app: Any
    server_error: Any
    exception: Any
    router: Any


def make_program(shape: Shape, layers: Layers, place: Place, facts: Facts | None) -> Program:
    """The program for one route; without `facts` it calls the route's own application."""
    source = Source()
    source.names.update(_RUNTIME)
    has_threads = "threads" in shape.features
    source.names["run_sync"] = run_sync if has_threads else anyio.to_thread.run_sync
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


_RUNTIME: dict[str, Any] = {
    "AsyncExitStack": AsyncExitStack,
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
    "jsonable_encoder": jsonable_encoder,
    "located": _regenerate_error_with_loc,
    "no_response": no_response,
    "observe_exception": _exception,
    "operation": telemetry_api._operation,
    "own_headers": own_headers,
    "parse_query": parse_query,
    "partial": partial,
    "prime": prime,
    "read_form": read_form,
    "read_json": read_json,
    "recover": recover,
    "route_selected": telemetry_api._route_selected,
    "routing": routing,
    "run_sync_endpoint": telemetry_api._run_sync_endpoint,
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

    def write_program(self) -> None:
        """Write the layers, from the outside in."""
        line, block, name = self.line, self.block, self.source.name
        with block("async def program(scope, receive, send, path_params):"):
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
            _Operation(self, is_handler=True).write()
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

    def _application(self) -> str:
        return self.source.name(self.place.about.app, "application")

    def _write_route(self) -> None:
        """`request_response`: what handles exceptions nearest to the endpoint, and two stacks."""
        line, block = self.line, self.block
        assert self.facts is not None
        operation = _Operation(self, is_handler=False)
        has_request = operation.needs_request or bool(self.facts.wrappers)
        if has_request:
            line("request = Request(scope, receive, track)")
        with block("try:"), self._stack("request_stack", "fastapi_inner_astack", NOT_AWAITED):
            with self._stack("function_stack", "fastapi_function_astack", "response"):
                if self.facts.wrappers:
                    line("response = await wrapped_handler(request)")
                else:
                    operation.write()
            operation.write_send()
        with block("except Exception as exc:"):
            if not has_request:
                line("request = Request(scope, receive, track)")
            line("await recover(exc, handlers, request, scope, receive, track)")

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
        line(f'scope["{self.key}"] = {stack} = AsyncExitStack()')
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
            line(f"if {stack}._exit_callbacks: await {stack}.__aexit__(None, None, None)")
        if self.swallowed == "response":
            line(f"if not {stack}_ended: no_response()")
        elif self.swallowed is not None:
            line(f"if not {stack}_ended: raise FastAPIError(NOT_AWAITED)")


class _Operation:
    """The path operation: `get_request_handler`'s application, and the sending of its response."""

    def __init__(self, writer: _Writer, is_handler: bool) -> None:
        assert writer.facts is not None
        self.writer = writer
        self.line, self.block, self.name = writer.line, writer.block, writer.source.name
        self.shape, self.facts = writer.shape, writer.facts
        self.is_handler = is_handler
        self.solver = Solver(writer.source, self.facts, is_wrapped=is_handler)
        self.solves = not (
            self.shape.has_telemetry or "solve_dependencies" in self.shape.replaced_steps
        )
        """Dependencies are solved in place, else by FastAPI's function."""
        self.needs_request = not self.solves or self.solver.needs_request or is_handler
        # Something may watch how responses are made, and FastAPI makes one for every request.
        self.solver.needs_stub |= "json_response" not in self.shape.features
        self.has_stub = not self.solves or self.solver.needs_stub
        self.has_background = not self.solves or self.solver.needs_background
        self.is_direct = self._can_be_direct()
        """The response is sent without an object for it, unless the endpoint returns one."""
        self.validates_in_thread = (
            not self.facts.is_coroutine
            and self.facts.response_field is not None
            and not self.shape.has_telemetry
            and not self.shape.replaced_steps
            and "threads" in self.shape.features
        )
        if self.solves and self.solver.watches_overrides and not self.is_direct:
            self.solver.needs_stub = self.has_stub = True

    @property
    def call(self) -> str:
        """The name of the endpoint."""
        return self.name(self.facts.call, "endpoint")

    def write(self) -> None:
        """Write all from the body to `response`, or to `content` where it is sent directly."""
        line, facts = self.line, self.facts
        if self.shape.has_telemetry:
            line("telemetry_data = get_telemetry_data()")
            line("if telemetry_data is not None: telemetry_data.request = request")
        line("body = Undefined")
        if facts.body_field is not None:
            self._write_body()
        if self.shape.has_telemetry:
            line("if telemetry_data is not None:")
            line("    telemetry_data.body = None if body is Undefined else body")
        if self.solves:
            arguments = self.solver.write()
        else:
            self._call_solver()
            arguments = "**values"
        if not self.solves or self.solver.can_fail:
            with self.block("if errors:"):
                line("body = None if body is Undefined else body")
                line(
                    "invalid = RequestValidationError(errors, body=body, "
                    f"endpoint_ctx={self._context()})"
                )
                line("validation_failed(invalid)")
                line("raise invalid")
        self._call_endpoint(arguments)
        self._write_response()

    def write_send(self) -> None:
        """Write the sending of `response`, and what is to be done after it."""
        if self.facts.wrappers or not self.is_direct:
            self.line("await response(scope, receive, track)")
            return
        line = self.line
        with self.block("if response is not None:"):
            line("await response(scope, receive, track)")
        with self.block("else:"):
            line("track.started = True")
            line(
                'await send({"type": "http.response.start", "status": '
                f'{self._status()}, "headers": [(b"content-length", '
                'str(len(content)).encode("latin-1")), (b"content-type", b"application/json")]})'
            )
            line('await send({"type": "http.response.body", "body": content})')
            if self.has_background:
                line("if background is not None: await background()")

    def _status(self) -> int:
        return self.facts.status_code or 200

    def _can_be_direct(self) -> bool:
        return (
            not self.is_handler
            and not self.facts.wrappers
            and not self.has_stub
            and self.facts.response_class is JSONResponse
            and "json_response" in self.shape.features
            and is_body_allowed_for_status_code(self._status())
        )

    def _context(self) -> str:
        path = self.facts.dependant.path
        return f"endpoint_context({self.call}, scope, {path!r})"

    def _write_body(self) -> None:
        facts = self.facts
        if facts.is_body_form:
            limits = self.name(facts.form_limits, "form_limits")
            self.line(
                f"body = await read_form(request, {limits}, file_stack, {facts.has_form_limits})"
            )
        else:
            self.line(
                f"body = await read_json(request, {self.call}, {facts.dependant.path!r}, "
                f"{facts.is_strict!r})"
            )

    def _call_solver(self) -> None:
        line, facts = self.line, self.facts
        dependant = self.name(facts.dependant, "dependant")
        provider = self.name(facts.provider, "provider")
        with self.block(self._operation("dependencies")):
            line(
                f"solved = await routing.solve_dependencies(request=request, dependant={dependant},"
                f" body=body, dependency_overrides_provider={provider},"
                f" async_exit_stack=request_stack, embed_body_fields={facts.embed_body_fields!r})"
            )
            if self.shape.has_telemetry:
                line("if telemetry_data is not None:")
                line("    telemetry_data.values = solved.values")
                line("    telemetry_data.errors = solved.errors")
        line("values, errors, stub = solved.values, solved.errors, solved.response")
        line("background = solved.background_tasks")

    def _operation(self, what: str) -> str:
        if not self.shape.has_telemetry:
            return "if True:"
        return f'with operation(name="{what}", function={self.call}):'

    def _call_endpoint(self, arguments: str) -> None:
        line, call = self.line, self.call
        if "run_endpoint_function" in self.shape.replaced_steps:
            dependant = self.name(self.facts.dependant, "dependant")
            line(
                f"raw = await routing.run_endpoint_function(dependant={dependant}, "
                f"values=dict({arguments}), is_coroutine={self.facts.is_coroutine!r})"
            )
        elif self.facts.is_coroutine:
            with self.block(self._operation("endpoint")):
                line(f"raw = await {call}({arguments})")
        elif self.shape.has_telemetry:
            line(
                "raw = await run_sync(partial(run_sync_endpoint, "
                f"function={call}, arguments=dict({arguments})))"
            )
        else:
            function = f"partial({call}{', ' if arguments else ''}{arguments})"
            if self.validates_in_thread:
                validate = self.name(self.facts.response_field.validate, "validate")
                line(f"raw, value, invalid = await call_and_validate({function}, {validate})")
            else:
                line(f"raw = await run_sync({function})")

    def _write_response(self) -> None:
        line = self.line
        background = "background" if self.has_background else "None"
        with self.block("if isinstance(raw, Response):"):
            line(f"if raw.background is None: raw.background = {background}")
            line("response = raw")
        with self.block("else:"):
            facts = self.facts
            uses_dump = facts.response_field is not None and facts.is_default_class
            with self.block(self._operation("serialization")):
                self._serialize(uses_dump)
            if self.is_direct and self.solver.watches_overrides:
                line("response = None if overridden is None else overridden.respond(")
                line(f"    content, {facts.status_code!r}, background)")
            elif self.is_direct:
                line("response = None")
            else:
                self._make_response(uses_dump, background)

    def _make_response(self, uses_dump: bool, background: str) -> None:
        line, facts = self.line, self.facts
        if self.has_stub:
            line(
                "response_args = build_response_args("
                f"status_code={facts.status_code!r}, solved_result={self._solved(background)})"
            )
        else:
            status = f', "status_code": {facts.status_code}' if facts.status_code else ""
            line(f'response_args = {{"background": {background}{status}}}')
        if uses_dump:
            line('response = Response(content=content, media_type="application/json",')
            line("    **response_args)")
        else:
            made = self.name(facts.response_class, "response_class")
            line(f"response = {made}(content, **response_args)")
        line('if not is_body_allowed(response.status_code): response.body = b""')
        if self.has_stub:
            line("response.headers.raw.extend(stub.headers.raw)")

    def _solved(self, background: str) -> str:
        if not self.solves:
            return "solved"
        solved = self.name(Solved, "Solved")
        return f"{solved}(stub, {background})"

    def _serialize(self, uses_dump: bool) -> None:
        """Write how `raw` becomes `content`: bytes, or what the response class takes."""
        line, field = self.line, self.facts.response_field
        if "serialize_response" in self.shape.replaced_steps:
            self._call_serializer(uses_dump)
        elif field is not None:
            self._validate_response(field)
            self._dump_response(field, uses_dump)
        elif self.is_direct:
            line("content = dump(raw)")
            line("if content is None: content = JSONResponse(jsonable_encoder(raw)).body")
            return
        else:
            line("content = jsonable_encoder(raw)")
        if self.is_direct and not uses_dump:
            line("content = JSONResponse(content).body")

    def _call_serializer(self, uses_dump: bool) -> None:
        facts = self.facts
        arguments = self.name(facts.dump_arguments, "dump_arguments")
        self.line(
            f"content = await routing.serialize_response("
            f"field={self.name(facts.response_field, 'field')}, response_content=raw, "
            f"is_coroutine={facts.is_coroutine!r}, endpoint_ctx={self._context()}, "
            f"dump_json={uses_dump!r}, **{arguments})"
        )

    def _validate_response(self, field: Any) -> None:
        line = self.line
        validator = field._type_adapter.validator
        if self.validates_in_thread:
            pass
        elif not self.facts.is_coroutine:
            validate = self.name(field.validate, "validate")
            line("value, invalid = await run_sync(")
            line(f'    partial({validate}, raw, {{}}, loc=("response",)))')
        elif type(validator) is SchemaValidator:
            with self.block("try:"):
                validate = self.name(validator.validate_python, "validate")
                line(f"value, invalid = {validate}(raw, from_attributes=True), None")
            with self.block("except ValidationError as exc:"):
                line("errors = exc.errors(include_url=False)")
                line('invalid = located(errors=errors, loc_prefix=("response",))')
        else:
            validate = self.name(field.validate, "validate")
            line(f'value, invalid = {validate}(raw, {{}}, loc=("response",))')
        with self.block("if invalid:"):
            context = f"endpoint_ctx={self._context()}"
            line(f"raise ResponseValidationError(errors=invalid, body=raw, {context})")

    def _dump_response(self, field: Any, uses_dump: bool) -> None:
        arguments = {
            key: value
            for key, value in self.facts.dump_arguments.items()
            if value is not None and value is not False
        }
        serializer = field._type_adapter.serializer
        if not uses_dump:
            serialize = field.serialize
        elif type(serializer) is SchemaSerializer:
            serialize = serializer.to_json
        else:
            serialize = field.serialize_json
        arguments.setdefault("by_alias", False)
        given = "".join(f", {key}={self.name(value, key)}" for key, value in arguments.items())
        self.line(f"content = {self.name(serialize, 'serialize')}(value{given})")
