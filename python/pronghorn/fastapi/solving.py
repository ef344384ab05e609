"""Writes the code that gathers what an endpoint is called with.

The straight-line form of `solve_dependencies` for one tree of dependants: each dependency's
parameters, then the dependency, in FastAPI's order, with errors collected in the same order.
Parameters that are single values are read and validated in place; whatever is more than that is
left to FastAPI's own functions, called in the same place. Called by `codegen`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from fastapi import params
from fastapi._compat import Undefined, field_annotation_is_sequence, get_missing_field_error
from fastapi._compat.v2 import _regenerate_error_with_loc
from fastapi.background import BackgroundTasks
from fastapi.dependencies import utils
from fastapi.dependencies.models import (
    Dependant,
    _get_cache_key,
    _get_oauth_scopes,
    _is_async_gen_callable,
    _is_coroutine_callable,
    _is_gen_callable,
)
from fastapi.security.oauth2 import SecurityScopes
from pydantic import ValidationError
from pydantic_core import SchemaValidator

from pronghorn.fastapi.analysis import Facts, tree
from pronghorn.fastapi.generators import enter
from pronghorn.fastapi.json_models import is_same_from_json
from pronghorn.fastapi.source import Source

IMMUTABLE = (str, int, float, bool, bytes, type(None))
MISSING: Any = object()

KINDS = (
    ("path_params", "path_params", "request.path_params"),
    ("query_params", "query", "request.query_params"),
    ("header_params", "headers", "request.headers"),
    ("cookie_params", "cookies", "request.cookies"),
)
"""Of the parameters of a dependant: its attribute, the variable that single values are read from,
and what FastAPI's own functions read from."""


class Solver:
    """Writes the code for one route."""

    def __init__(
        self,
        source: Source,
        facts: Facts,
        is_wrapped: bool,
        reads_body_early: bool,
        shows_values: bool,
    ) -> None:
        self.source = source
        self.facts = facts
        self.is_wrapped = is_wrapped
        """The request comes from code that may have changed it, or made another one."""
        self.shows_values = shows_values
        """What the endpoint is called with is kept as `values`, and what is wrong as `errors`."""
        self.nodes = tree(facts.dependant)
        self.watches_overrides = facts.provider is not None and any(
            len(each.dependencies) > 1 for each in self.nodes
        )
        """A dependency may be followed by another, which it could override."""
        self.needs_stub = any(each.response_param_name for each in self.nodes)
        self.needs_background = any(each.background_tasks_param_name for each in self.nodes)
        self.shows_request = is_wrapped or any(
            each.request_param_name or each.http_connection_param_name for each in self.nodes
        )
        self.validate_json = _json_validator(self.nodes, facts) if reads_body_early else None
        """What validates a body that has not been parsed, where that makes no difference."""
        has_contexts = any(
            _is_gen_callable(each.call)
            or (_is_async_gen_callable(each.call) and each.concurrency is not None)
            for each in self.nodes[1:]
        )
        self._uses = {kind for node in self.nodes for kind in self._kinds_with_plain_fields(node)}
        self._needs_views = any(
            not self._is_plain_kind(node, kind) for node in self.nodes for kind, _, _ in KINDS
        )
        self.needs_request = (
            self.shows_request
            or has_contexts
            or self._needs_views
            or self.watches_overrides
            or (facts.body_field is not None and not reads_body_early)
            or "cookie_params" in self._uses
        )
        self.can_fail = any(
            getattr(node, kind) for node in self.nodes for kind, _, _ in KINDS
        ) or any(node.body_params for node in self.nodes)
        if self.watches_overrides:
            self.can_fail = self.needs_background = True
        self._keys = Counter(_get_cache_key(dependant=each) for each in self.nodes[1:])
        self._cached: dict[Any, str] = {}
        self._solved: list[tuple[Any, str]] = []
        """The keys and variables of what has been called so far."""

    def write(self) -> str:
        """Write the code; return the arguments for the endpoint."""
        line = self.source.line
        if self.can_fail or self.shows_values:
            line("errors = []")
        if self.shows_values:
            line("values = {}")
        if self.watches_overrides:
            line("overridden = None")
        if self.needs_stub:
            line("stub = Response()")
            line('del stub.headers["content-length"]')
            line("stub.status_code = None")
        if self.needs_background:
            line("background = None")
        for key, uses in self._keys.items():
            if uses > 1:
                self._cached[key] = variable = self.source.variable("solved")
                line(f"{variable} = {self._named(MISSING, 'missing')}")
        self._write_views()
        start = self.source.position
        arguments = self._solve(self.facts.dependant)
        if self.watches_overrides:
            names = " = ".join(dict.fromkeys(variable for _, variable in self._solved))
            missing = self._named(MISSING, "missing")
            self.source.insert(start, f"{names} = {missing}")
        return arguments

    def _write_views(self) -> None:
        line = self.source.line
        if self.is_wrapped:
            line("query, headers, cookies = request.query_params, request.headers, request.cookies")
            return
        if self.shows_request:
            line("prime(request)")
            if "query_params" in self._uses:
                line("query = request._query_params._dict")
            if "header_params" in self._uses:
                line("headers = request._headers._list")
        else:
            if "query_params" in self._uses:
                line('query = parse_query(scope["query_string"])')
            line('if type(scope["headers"]) is not list: own_headers(scope)')
            if "header_params" in self._uses:
                line('headers = scope["headers"]')
        if "cookie_params" in self._uses:
            line("cookies = request.cookies")

    def _solve(self, node: Dependant) -> str:
        is_shown = self.shows_values and node is self.facts.dependant
        arguments: list[tuple[str, str]] = []
        for dependency in node.dependencies:
            with self._showing(is_shown, arguments):
                solved = self._solve_dependency(dependency)
                if dependency.name is not None:
                    arguments.append((dependency.name, solved))
        for kind, variable, view in KINDS:
            fields = getattr(node, kind)
            if not fields:
                continue
            if self._is_plain_kind(node, kind):
                if kind == "path_params":
                    self.source.line('path_params = scope["path_params"]')
                for field in fields:
                    with self._showing(is_shown, arguments):
                        value = self._read(field, variable, kind == "header_params")
                        arguments.append((field.name, value))
            else:
                arguments += self._read_all(fields, view, is_shown)
        if node.body_params:
            arguments += self._read_body(node, is_shown)
        with self._showing(is_shown, arguments, can_fail=False):
            arguments += self._write_specials(node)
        if is_shown:
            return "**values"
        # As in a dict, a name keeps its place and takes the last value.
        return ", ".join(f"{name}={value}" for name, value in dict(arguments).items())

    @contextmanager
    def _showing(
        self, is_shown: bool, arguments: list[tuple[str, str]], can_fail: bool = True
    ) -> Iterator[None]:
        """Write that `values` gets the arguments that are added, if nothing is wrong with them."""
        source, before = self.source, len(arguments)
        mark = source.variable("mark")
        if is_shown and can_fail:
            source.line(f"{mark} = len(errors)")
        yield
        if is_shown:
            for name, value in arguments[before:]:
                condition = f"if len(errors) == {mark}: " if can_fail else ""
                source.line(f"{condition}values[{name!r}] = {value}")

    def _solve_dependency(self, node: Dependant) -> str:
        if not self.watches_overrides or not self._solved:
            return self._solve_as_declared(node, self.source.variable("value"))
        source = self.source
        value = source.variable("value")
        provider = self._named(self.facts.provider, "provider")
        with source.block(f"if {provider} and {provider}.dependency_overrides:"):
            solved = ", ".join(
                f"({self._named(key, 'key')}, {variable})" for key, variable in self._solved
            )
            source.line("if overridden is None:")
            source.line(
                f"    overridden = Overridden(request, {provider}, request_stack, "
                f"{self.facts.embed_body_fields!r}, body, "
                f"background, {'stub' if self.needs_stub else 'None'})"
            )
            source.line(f"overridden.remember([{solved}], {self._named(MISSING, 'missing')})")
            dependant = self._named(node, "dependant")
            source.line(f"{value} = await overridden.solve({dependant}, errors)")
            source.line("background = overridden.background")
        with source.block("else:"):
            self._solve_as_declared(node, value)
        return value

    def _solve_as_declared(self, node: Dependant, value: str) -> str:
        source = self.source
        fails = self.watches_overrides or any(
            each.body_params or any(getattr(each, kind) for kind, _, _ in KINDS)
            for each in tree(node)
        )
        mark = source.variable("mark")
        if fails:
            source.line(f"{mark} = len(errors)")
        arguments = self._solve(node)
        key = _get_cache_key(dependant=node)
        cached = self._cached.get(key)
        self._solved.append((key, value if cached is None else cached))
        with source.block(f"if len(errors) == {mark}:" if fails else "if True:"):
            if cached is None:
                self._call(node, arguments, value)
                return value
            missing = self._named(MISSING, "missing")
            if node.use_cache:
                with source.block(f"if {cached} is {missing}:"):
                    self._call(node, arguments, cached)
                source.line(f"{value} = {cached}")
            else:
                self._call(node, arguments, value)
                source.line(f"if {cached} is {missing}: {cached} = {value}")
        return value

    def _call(self, node: Dependant, arguments: str, value: str) -> None:
        source = self.source
        call = self._named(node.call, "dependency")
        is_async = _is_async_gen_callable(node.call)
        if is_async and node.concurrency is None:
            stack = "function_stack" if node.scope == "function" else "request_stack"
            source.line(
                f"{value} = await {self._named(enter, 'enter')}"
                f"({call}({arguments}), {stack}, request_stack, scope)"
            )
            return
        if is_async or _is_gen_callable(node.call):
            solve = self._named(utils._solve_generator, "solve_generator")
            stack = "function_stack" if node.scope == "function" else "request_stack"
            dependant = self._named(node, "dependant")
            source.line(
                f"{value} = await {solve}(dependant={dependant}, stack={stack}, "
                f"sub_values=dict({arguments}), request=request)"
            )
            return
        if _is_coroutine_callable(node.call):
            call = f"{call}({arguments})"
        else:
            call = f"run_sync(partial({call}{', ' if arguments else ''}{arguments}))"
        if node.concurrency is None:
            source.line(f"{value} = await {call}")
            return
        limit = self._named(node.concurrency, "limit")
        with source.block(f"async with {limit}.get_semaphore():"):
            source.line(f"{value} = await {call}")

    def _read(self, field: Any, variable: str, is_header: bool) -> str:
        source = self.source
        info = field.field_info
        alias = utils._get_param_aliases(field)[0][1]
        location = self._named((info.in_.value, alias), "location")
        value = source.variable("value")
        if is_header and not self.is_wrapped:
            source.line(f"{value} = find_header(headers, {alias.lower().encode('latin-1')!r})")
        else:
            source.line(f"{value} = {variable}.get({alias!r})")
        with source.block(f"if {value} is None:"):
            self._write_default(field, value, location)
        with source.block("else:"):
            self._validate(field, value, value, location)
        return value

    def _write_default(self, field: Any, value: str, location: str) -> None:
        source = self.source
        info = field.field_info
        if info.is_required():
            missing = self._named(get_missing_field_error, "get_missing_field_error")
            source.line(f"errors.append({missing}(loc={location}))")
            return
        if type(info.default) in IMMUTABLE and info.default_factory is None:
            source.line(f"{value} = {self._named(info.default, 'default')}")
        else:
            copied = self._named(deepcopy, "deepcopy")
            source.line(f"{value} = {copied}({self._named(field, 'field')}.default)")
        if info.validate_default:
            self._validate(field, value, value, location)

    def _validate(self, field: Any, given: str, value: str, location: str) -> None:
        source = self.source
        adapter = field._type_adapter
        validator = adapter.validator
        validate = (
            validator.validate_python
            if type(validator) is SchemaValidator
            else adapter.validate_python
        )
        invalid = self._named(ValidationError, "ValidationError")
        located = self._named(_regenerate_error_with_loc, "located")
        with source.block("try:"):
            name = self._named(validate, "validate")
            source.line(f"{value} = {name}({given}, from_attributes=True)")
        with source.block(f"except {invalid} as exc:"):
            source.line(f"{value} = None")
            source.line(
                f"errors.extend({located}(errors=exc.errors(include_url=False), "
                f"loc_prefix={location}))"
            )

    def _read_all(self, fields: list[Any], view: str, is_shown: bool) -> list[tuple[str, str]]:
        """Leave a whole kind of parameters to FastAPI."""
        source = self.source
        values, found = source.variable("values"), source.variable("found")
        read = self._named(utils.request_params_to_args, "request_params_to_args")
        source.line(f"{values}, {found} = {read}({self._named(fields, 'fields')}, {view})")
        source.line(f"if {found}: errors.extend({found})")
        if is_shown:
            source.line(f"values.update({values})")
        return [(field.name, f"{values}[{field.name!r}]") for field in fields]

    def _read_body(self, node: Dependant, is_shown: bool) -> list[tuple[str, str]]:
        source = self.source
        fields = node.body_params
        first = fields[0]
        embed = self.facts.embed_body_fields
        if _is_plain_body(node, self.facts):
            value = source.variable("value")
            location = self._named(("body",), "location")
            if is_shown:
                source.line(f"{value} = None")
            with source.block(f"if body is {self._named(Undefined, 'Undefined')}:"):
                self._write_default(first, value, location)
            if self.validate_json is not None:
                with source.block("elif body is VALIDATED:"):
                    source.line(f"{value} = validated")
            with source.block("else:"):
                self._validate(first, "body", value, location)
            if is_shown:
                source.line(f"values[{first.name!r}] = {value}")
            return [(first.name, value)]
        values, found = source.variable("values"), source.variable("found")
        read = self._named(utils.request_body_to_args, "request_body_to_args")
        source.line(
            f"{values}, {found} = await {read}(body_fields={self._named(fields, 'fields')}, "
            f"received_body=body, embed_body_fields={embed!r})"
        )
        source.line(f"errors.extend({found})")
        if is_shown:
            source.line(f"values.update({values})")
        return [(field.name, f"{values}[{field.name!r}]") for field in fields]

    def _write_specials(self, node: Dependant) -> list[tuple[str, str]]:
        arguments = []
        if node.http_connection_param_name:
            arguments.append((node.http_connection_param_name, "request"))
        if node.request_param_name:
            arguments.append((node.request_param_name, "request"))
        if node.background_tasks_param_name:
            make = self._named(BackgroundTasks, "BackgroundTasks")
            self.source.line(f"if background is None: background = {make}()")
            arguments.append((node.background_tasks_param_name, "background"))
        if node.response_param_name:
            arguments.append((node.response_param_name, "stub"))
        if node.security_scopes_param_name:
            scopes = self._named(SecurityScopes, "SecurityScopes")
            oauth = self._named(_get_oauth_scopes, "get_oauth_scopes")
            name = self._named(node, "dependant")
            expression = f"{scopes}(scopes={oauth}(dependant={name}))"
            arguments.append((node.security_scopes_param_name, expression))
        return arguments

    def _is_plain_kind(self, node: Dependant, kind: str) -> bool:
        return all(_is_plain(field) for field in getattr(node, kind))

    def _kinds_with_plain_fields(self, node: Dependant) -> set[str]:
        return {
            kind for kind, _, _ in KINDS if getattr(node, kind) and self._is_plain_kind(node, kind)
        }

    def _named(self, thing: Any, hint: str) -> str:
        return self.source.name(thing, hint)


def _is_plain(field: Any) -> bool:
    """Whether a parameter is a single value under a single name."""
    info = field.field_info
    return (
        isinstance(info, params.Param)
        and utils._get_param_model(field) is None
        and len(utils._get_param_aliases(field)) == 1
        and not field_annotation_is_sequence(info.annotation)
    )


def _is_plain_body(node: Dependant, facts: Facts) -> bool:
    """Whether the body as a whole is the one thing that a dependant wants of it."""
    fields = node.body_params
    return (
        not facts.is_body_form
        and len(fields) == 1
        and not facts.embed_body_fields
        and not utils._should_embed_body_fields(fields)
        and not utils._get_form_models(fields[0])
    )


def _json_validator(nodes: list[Dependant], facts: Facts) -> Any:
    readers = [node for node in nodes if node.body_params]
    if len(readers) != 1 or not _is_plain_body(readers[0], facts):
        return None
    adapter = readers[0].body_params[0]._type_adapter
    is_plain = type(adapter.validator) is SchemaValidator and is_same_from_json(adapter.core_schema)
    return adapter.validator.validate_json if is_plain else None
