"""Faults that are planted into the accelerator's source, to prove that the fuzzer sees such faults.

Each is a replacement in one module of `pronghorn.fastapi`, made while a worker imports it; no file
changes. `python -m accelerator.mutants` (in tests/; `make fuzz-fastapi-mutants`) fuzzes every one
of them until it is found. A fault whose text is not there any more fails `test_fuzz`: it then has
to follow the source.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
from dataclasses import dataclass
from typing import Any

PACKAGE = "pronghorn.fastapi"
REQUESTS_MAX = 12_000


@dataclass(frozen=True)
class Mutant:
    """What is replaced where."""

    module: str
    old: str
    new: str


MUTANTS = {
    # What answers an exception
    "handlers-by-exact-type": Mutant("recovery", "type(exc).__mro__", "type(exc).__mro__[:1]"),
    "no-status-handlers": Mutant("recovery", "status_handlers.get(exc.status_code)", "None"),
    "plain-handlers-on-the-loop": Mutant(
        "recovery", "await run_in_threadpool(handler, conn, exc)", "handler(conn, exc)"
    ),
    "response-not-known-to-have-started": Mutant(
        "operation", 'line("started = True" if self.writer.is_direct else "track.started = True")',
        'line("pass")',
    ),
    # JSON
    "keys-of-sqlalchemy-kept": Mutant("json_text", ' or key[:3] == "_sa"', ""),
    "nan-written": Mutant(
        "json_text", '":", ",", False, False, False', '":", ",", False, False, True'),
    "suffix-json-not-known": Mutant("bodies", ' or subtype.endswith("+json")', ""),
    "strict-content-type-forgotten": Mutant("bodies", "else not is_strict", "else True"),
    "empty-body-parsed": Mutant("bodies", "if not body:", "if body is None:"),
    "empty-body-validated": Mutant("bodies", "if not data:", "if data is None:"),
    "bodies-not-remembered": Mutant(
        "bodies", "request._stream_consumed, request._body = True, data", "pass"
    ),
    "bodies-of-invalid-requests-lost": Mutant(
        "operation", 'line("if body is VALIDATED: body = loads(body_bytes)")',
        'line("if body is VALIDATED: body = None")',
    ),
    "json-error-without-position": Mutant("bodies", '("body", error.pos)', '("body", 0)'),
    # Parameters
    "first-query-value-wins": Mutant(
        "bodies", "values[name] = value", "values.setdefault(name, value)"),
    "blank-query-values-dropped": Mutant(
        "bodies", "keep_blank_values=True", "keep_blank_values=False"),
    "last-header-wins": Mutant(
        "bodies", "for key, value in headers:", "for key, value in headers[::-1]:"
    ),
    "defaults-shared": Mutant("solving", "type(info.default) in IMMUTABLE and ", ""),
    # Dependencies
    "use-cache-ignored": Mutant("solving", "if node.use_cache:", "if True:"),
    "scopes-swapped": Mutant("solving", 'node.scope == "function"', 'node.scope != "function"'),
    "failing-dependency-runs": Mutant(
        "solving", "if len(errors) == {mark}:", "if len(errors) >= {mark}:"),
    # Responses
    "other-content-type": Mutant(
        "operation", 'b"application/json")]', 'b"application/json; charset=utf-8")]'
    ),
    "headers-in-front": Mutant(
        "operation", "response.headers.raw.extend(stub.headers.raw)",
        "response.headers.raw[:0] = stub.headers.raw",
    ),
    "body-with-204": Mutant("operation", 'response.body = b""', "pass"),
    "background-of-responses-lost": Mutant(
        "operation", "if raw.background is None: raw.background = {background}", "pass"
    ),
    "background-lost": Mutant(
        "operation", "if background is not None: await background()", "pass"
    ),
    "attributes-not-read": Mutant(
        "operation", "{validate}(raw, from_attributes=True), None", "{validate}(raw), None"
    ),
    # What the scope says
    "endpoint-not-in-scope": Mutant("codegen", "scope[\"endpoint\"] = {about}", "_ = {about}"),
    "parameters-of-mounts-lost": Mutant(
        "codegen", "{**scope[\"path_params\"], **(path_params or {})}", "path_params or {}"
    ),
    "router-of-mounts-replaced": Mutant(
        "codegen", 'if "router" not in scope: scope["router"]', 'scope["router"]'
    ),
    "inner-stack-not-in-scope": Mutant(
        "codegen", 'self._stack("request_stack", "fastapi_inner_astack"',
        'self._stack("request_stack", "fastapi_request_astack"',
    ),
    # Which route
    "line-break-at-the-end": Mutant("matching", 'if path[-1:] == "\\n" or', "if"),
    "methods-ignored": Mutant("matching", "if method in pattern.methods:", "if True:"),
    "static-routes-first": Mutant("matching", "self._first(method, path))", "place)"),
    # Changes
    "patched-modules-not-seen": Mutant("changes", "if versions is NOTICED or any(", "if any("),
    "patched-classes-not-seen": Mutant(
        "changes", "if not versions.are_current():", "if versions is NOTICED:"),
    "replaced-endpoints-not-seen": Mutant(
        "plans", "for name in Dependant.__slots__", "for name in ()"),
    "moved-routes-not-seen": Mutant("matching", '(router, "routes"), ', ""),
    # Middlewares and threads
    "causes-of-errors-lost": Mutant(
        "base_http", "raise self.failure from self.failure.__cause__ or self.failure.__context__",
        "raise self.failure from None",
    ),
    "messages-handed-over-early": Mutant(
        "base_http", "        yield  # AnyIO's streams give the loop a turn here.\n", ""
    ),
    "contexts-of-threads-empty": Mutant(
        "threads", " context = copy_context()\n", " context = Context()\n"),
}  # fmt: skip


def mutated(mutant: Mutant, source: str) -> str:
    """The source with the fault; raises if the place is not there."""
    if mutant.old not in source:
        raise LookupError(f"`{mutant.old}` is not in {mutant.module}.py: follow the source")
    return source.replace(mutant.old, mutant.new)


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(f"{PACKAGE}.{module}")
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    return spec.loader.get_data(spec.loader.path).decode()


def plant(name: str) -> None:
    """Have the fault in this process: when its module is imported."""
    mutant = MUTANTS[name]
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != f"{PACKAGE}.{self.mutant.module}":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        spec.loader = _Loader(fullname, spec.loader.path, self.mutant)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> Any:
        source = self.get_data(self.path).decode()
        return compile(mutated(self.mutant, source), self.path, "exec", dont_inherit=True)


def main() -> int:
    from accelerator.fuzz import Fuzzer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="some of the faults; all without")
    parser.add_argument("--requests", type=int, default=REQUESTS_MAX)
    arguments = parser.parse_args()
    missed = []
    for name in arguments.names or MUTANTS:
        started = time.monotonic()
        with Fuzzer(mutant=name) as fuzzer:
            outcome = fuzzer.run(arguments.requests, 0, shrinks=False)
        found = f"found after {outcome.requests} requests" if outcome.differences else "NOT FOUND"
        if not outcome.differences:
            missed.append(name)
        print(f"{name:40} {found}, {time.monotonic() - started:.0f} s", flush=True)
    total = len(arguments.names or MUTANTS)
    print(f"{total - len(missed)} of {total} planted faults found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
