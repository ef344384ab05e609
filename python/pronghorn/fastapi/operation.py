"""Writes the path operation: what `get_request_handler` does, from the body to the response.

Each of the three steps (the dependencies, the endpoint, the response) is written in place, or as a
call of FastAPI's own function where that has been replaced. With telemetry each step is a span, and
what goes in and comes out is told. A response that is JSON is sent without an object for it. Called
by `codegen`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import SchemaSerializer, SchemaValidator
from starlette.responses import JSONResponse

from pronghorn.fastapi.analysis import Facts
from pronghorn.fastapi.overriding import Solved
from pronghorn.fastapi.shape import Shape
from pronghorn.fastapi.solving import Solver
from pronghorn.fastapi.source import Source


class Writer(Protocol):
    """What an operation is written with."""

    source: Source
    shape: Shape
    facts: Facts | None
    is_direct: bool

    def write_track(self) -> None:
        """Write the `send` that is watched, where it has not been needed before."""


class Operation:
    """The path operation: `get_request_handler`'s application, and the sending of its response."""

    def __init__(self, writer: Writer, is_handler: bool) -> None:
        assert writer.facts is not None
        self.writer = writer
        source = writer.source
        self.line, self.block, self.name = source.line, source.block, source.name
        self.shape, self.facts = writer.shape, writer.facts
        self.is_handler = is_handler
        self.reads_body_early = not (
            self.facts.body_field is None
            or self.facts.is_body_form
            or self.facts.wrappers
            or self.shape.has_telemetry
            or self.shape.has_sentry
            or "solve_dependencies" in self.shape.replaced_steps
        )
        """The body is taken from the server without a request."""
        self.solver = Solver(
            writer.source,
            self.facts,
            is_wrapped=is_handler,
            reads_body_early=self.reads_body_early,
            shows_values=self.shape.has_telemetry,
        )
        self.solves = "solve_dependencies" not in self.shape.replaced_steps
        """Dependencies are solved in place, else by FastAPI's function."""
        self.needs_request = (
            not self.solves
            or self.solver.needs_request
            or is_handler
            or self.shape.has_telemetry
            or self.shape.has_sentry
        )
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
        with self._span("dependencies"):
            if self.solves:
                arguments = self.solver.write()
            else:
                self._call_solver()
                arguments = "**values"
            if self.shape.has_telemetry:
                line("if telemetry_data is not None:")
                line("    telemetry_data.values, telemetry_data.errors = values, errors")
        if not self.solves or self.solver.can_fail:
            with self.block("if errors:"):
                if self.reads_body_early:
                    line("if body is VALIDATED: body = loads(body_bytes)")
                    line("if request is not None and body_bytes is not None:")
                    line("    remember_body(request, body_bytes, body)")
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
            self.writer.write_track()
            line("await response(scope, receive, track)")
        with self.block("else:"):
            line("started = True" if self.writer.is_direct else "track.started = True")
            if self.writer.is_direct and self.reads_body_early:
                # A body that came late was read through a request of its own.
                line("if track is not None: track.started = True")
            line(f"sent = respond(send, {self._status()}, content)")
            line("if sent is not None: await sent")
            with self.block("else:"):
                line(
                    'await send_start(send, {"type": "http.response.start", "status": '
                    f'{self._status()}, "headers": [(b"content-length", str(len(content))'
                    '.encode("latin-1")), (b"content-type", b"application/json")]})'
                )
                line(
                    'await sender_of_bodies(send)({"type": "http.response.body", "body": content})'
                )
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
        elif self.reads_body_early:
            self._write_early_body()
        else:
            self._write_late_body()

    def _write_late_body(self) -> None:
        facts = self.facts
        self.line(
            f"body = await read_json(request, {self.call}, {facts.dependant.path!r}, "
            f"{facts.is_strict!r})"
        )

    def _write_early_body(self) -> None:
        """A body that has come may be had at once."""
        line, facts = self.line, self.facts
        line("body_bytes = whole_body(receive)")
        with self.block("if body_bytes is None:"):
            if not self.needs_request:
                self.writer.write_track()
                line("request = Request(scope, receive, track)")
            self._write_late_body()
        with self.block("else:"):
            if self.needs_request:
                line("remember_body(request, body_bytes)")
            validate = self.name(self.solver.validate_json, "validate_json")
            line(
                f"body, validated = receive_json(body_bytes, scope, {validate}, {self.call}, "
                f"{facts.dependant.path!r}, {facts.is_strict!r})"
            )
            if self.needs_request:
                line("remember_body(request, body_bytes, body)")

    def _call_solver(self) -> None:
        line, facts = self.line, self.facts
        dependant = self.name(facts.dependant, "dependant")
        provider = self.name(facts.provider, "provider")
        line(
            f"solved = await routing.solve_dependencies(request=request, dependant={dependant},"
            f" body=body, dependency_overrides_provider={provider},"
            f" async_exit_stack=request_stack, embed_body_fields={facts.embed_body_fields!r})"
        )
        line("values, errors, stub = solved.values, solved.errors, solved.response")
        line("background = solved.background_tasks")

    def _span(self, name: str) -> AbstractContextManager[None]:
        """Write that what is written within is a span, if there is telemetry."""
        if not self.shape.has_telemetry:
            return nullcontext()
        return self.block(f'with operation(name="{name}", function={self.call}):')

    def _call_endpoint(self, arguments: str) -> None:
        line, call = self.line, self.call
        if "run_endpoint_function" in self.shape.replaced_steps:
            dependant = self.name(self.facts.dependant, "dependant")
            # What has replaced the solver as well may want its own values back.
            values = f"dict({arguments})" if self.solves else "values"
            line(
                f"raw = await routing.run_endpoint_function(dependant={dependant}, "
                f"values={values}, is_coroutine={self.facts.is_coroutine!r})"
            )
        elif self.facts.is_coroutine:
            with self._span("endpoint"):
                line(f"raw = await {call}({arguments})")
        elif self.shape.has_telemetry:
            line(f"raw = await run_sync(partial(run_endpoint, {call}, values))")
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
            with self._span("serialization"):
                self._serialize(uses_dump)
            if self.is_direct and not uses_dump:
                self._render()
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
        elif self._dumps_at_once:
            line("content = dump(raw)")
            line("if content is None: encoded = jsonable_encoder(raw)")
        else:
            line("content = jsonable_encoder(raw)")

    def _render(self) -> None:
        """Write how JSON becomes bytes, which is no part of the serialization to telemetry."""
        if self._dumps_at_once:
            self.line("if content is None: content = JSONResponse(encoded).body")
        else:
            self.line("content = JSONResponse(content).body")

    @property
    def _dumps_at_once(self) -> bool:
        """What the endpoint returns may become bytes in one go."""
        return (
            self.is_direct
            and self.facts.response_field is None
            and "serialize_response" not in self.shape.replaced_steps
        )

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
