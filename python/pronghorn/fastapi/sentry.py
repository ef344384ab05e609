"""Recognises what Sentry has wrapped around FastAPI's functions, and says what is to run instead.

`sentry_sdk` wraps three kinds of functions; each wrapper is known by its code, which stands in a
function of Sentry's that has a known fingerprint:
- the `__call__` of every class of middleware, FastAPI's own layers included (`is_passable`).
  Unless spans for middleware are asked for, such a wrapper names the transaction after the layer,
  which the next layer and in the end the handler do again, and adds the user whom an
  authentication middleware has found. Where the handler's wrapper runs and there is no user, all
  can be passed by (`may_pass`), and nobody can tell;
- the handler of a path operation (`names_transaction`, `is_only_wrapper`);
- the `__call__` of applications, in whose place a `Follower` may follow requests (`follower`).
What runs in the place of the last two is in `sentry_requests`.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

from pronghorn.fastapi.fingerprints import is_known
from pronghorn.fastapi.standins import code_of

MIDDLEWARE = "sentry_sdk.integrations.starlette"
HANDLER = "sentry_sdk.integrations.fastapi"
WRAPPERS_MAX = 4

_codes: dict[str, set[CodeType]] = {}


def is_passable(wrapper: Any, wrapped: Any) -> bool:
    """Whether `wrapper` is Sentry's around `wrapped`, or Sentry's around Sentry's around it."""
    for _ in range(WRAPPERS_MAX):
        if wrapper is wrapped:
            return True
        if code_of(wrapper) not in _known_codes(MIDDLEWARE):
            return False
        names = wrapper.__code__.co_freevars
        wrapper = wrapper.__closure__[names.index("old_call")].cell_contents
    return False


def names_transaction(wrappers: tuple[Any, ...]) -> bool:
    """Whether Sentry's wrapper is among those of a handler."""
    return any(each.__code__ in _known_codes(HANDLER) for each in wrappers)


def is_only_wrapper(wrappers: tuple[Any, ...]) -> bool:
    """Whether a handler is wrapped by Sentry and by nothing else."""
    return len(wrappers) == 1 and names_transaction(wrappers)


def may_pass(scope: Any) -> bool:
    """Whether a request may pass by the wrappers of the layers."""
    modules = sys.modules
    client = modules["sentry_sdk"].get_client()
    integration = client.get_integration(modules[MIDDLEWARE].StarletteIntegration)
    return integration is None or (
        not integration.middleware_spans
        and client.get_integration(modules[HANDLER].FastApiIntegration) is not None
        and not modules["sentry_sdk.tracing_utils"].has_span_streaming_enabled(client.options)
        and "user" not in scope
    )


def is_in_use() -> bool:
    """Whether Sentry's integration has been imported."""
    return HANDLER in sys.modules


def follower(outer: Any, wrapped: Any, run: Any) -> Any:
    """What follows requests in the place of `outer`, if that is Sentry's around `wrapped`.

    It has `run(app, scope, receive, send)` answer them.
    """
    found: set[CodeType] = set()
    _collect(sys.modules[MIDDLEWARE].patch_asgi_app.__code__, found, (_APPLICATION,))
    code = code_of(outer)
    if code is None or code not in found:
        return None
    cells = zip(code.co_freevars, outer.__closure__, strict=True)
    closure = {name: cell.cell_contents for name, cell in cells}
    if closure["old_app"] is not wrapped:
        return None
    from pronghorn.fastapi.sentry_requests import Follower

    return Follower(run, closure["root_path_in_path"])


_APPLICATION = "_sentry_patched_asgi_app"
_FUNCTIONS = {
    MIDDLEWARE: ("_enable_span_for_middleware", "patch_exception_middleware"),
    HANDLER: ("patch_get_request_handler",),
}
_WRAPPERS = ("_create_span_call", "_sentry_exceptionmiddleware_call", "_sentry_app")


def _known_codes(module_name: str) -> set[CodeType]:
    module = sys.modules.get(module_name)
    if module is None:
        return set()
    if module_name not in _codes:
        found: set[CodeType] = set()
        _codes[module_name] = found
        for name in _FUNCTIONS[module_name]:
            function: Any = getattr(module, name, None)
            if is_known(f"{module_name}:{name}", function):
                _collect(function.__code__, found, _WRAPPERS)
    return _codes[module_name]


def _collect(code: CodeType, found: set[CodeType], names: tuple[str, ...]) -> None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name in names:
                found.add(constant)
            _collect(constant, found, names)
