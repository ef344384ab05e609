"""Notices that a function which the accelerator stands in for, or uses, has been replaced.

Libraries and tests patch FastAPI and Starlette while an application runs, and what they do has to
count from the next request on. Two ways of looking: an attribute of a module is seen when it is set
(the module's class gets a `__setattr__`), which costs a request nothing; for every request the
interpreter is asked whether classes have been changed, and their attributes are compared if so.
`Changes.epoch` grows with every change; whatever was compiled under another epoch is looked at
again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, ModuleType
from typing import Any

from fastapi.routing import _EffectiveRouteContext
from starlette.routing import Route

from pronghorn.fastapi.fingerprints import is_installed_known, release, usable
from pronghorn.fastapi.native import ClassVersions
from pronghorn.fastapi.sentry import is_passable
from pronghorn.fastapi.standins import LIBRARIES, code_of, function_of, functions, resolve

logger = logging.getLogger("pronghorn.error")

STEPS = ("solve_dependencies", "run_endpoint_function", "serialize_response")
"""Names of `fastapi.routing` that a compiled route calls instead of standing in for them when they
have been replaced. Everything else that is replaced switches its features off."""

ROUTE_ATTRIBUTES = frozenset({"methods", "param_convertors", "path_format", "path_regex"})
"""What the tables of routes are made from. It is not looked at for every request: the classes of
routes tell when it is set."""


FREE = frozenset(
    (
        "fastapi.applications:FastAPI.__call__",
        "starlette.applications:Starlette.__call__",
        "starlette.middleware.base:BaseHTTPMiddleware.__call__",
        "starlette.middleware.cors:CORSMiddleware.__call__",
    )
)
"""Methods that may be wrapped: a request that gets to ours has passed the wrapper."""


class _Noticed:
    """In the place of the classes' versions where an attribute of a module has been set."""

    def are_current(self) -> bool:
        return False


NOTICED: Any = _Noticed()


class Changes:
    """What has been replaced since `watch` was called."""

    def __init__(self) -> None:
        self.epoch = 0
        self.features: frozenset[str] = frozenset()
        """The features in which nothing has been replaced."""
        self.replaced_steps: frozenset[str] = frozenset()
        self.passes_sentry = False
        """Methods are wrapped by Sentry, whose wrappers are passed by where they may be."""
        self._all: frozenset[str] = frozenset()
        self._globals: dict[ModuleType, dict[str, set[str]]] = {}
        self._originals: dict[tuple[ModuleType, str], Any] = {}
        self._classes: list[_Class] = []
        self._libraries: set[str] = set()
        """What `include` has been asked for."""
        self.versions = ClassVersions([])
        """The classes as they were at the last look; asked for every request."""

    def watch(self, features: frozenset[str]) -> None:
        """Take the present state of everything that `features` are about as the original one."""
        self.unwatch()
        self._all = features
        self._watch(pair for pair in functions() if pair[0] in features)
        self._start()
        for owner in ROUTES:
            _observe_routes(owner, self)
        self.features, self.replaced_steps = features, frozenset()
        self.epoch += 1

    def include(self, library: str) -> None:
        """Watch a library's functions too, once it is in use; what is unknown is told."""
        if library in self._libraries:
            return
        self._libraries.add(library)
        names = LIBRARIES[library]
        if not all(map(is_installed_known, names)):
            logger.warning(
                "FastAPI accelerator does not know %s well enough; it runs its own code.",
                release(library),
            )
            return
        self._watch((library, name) for name in names)
        self._all |= {library}
        self._update()
        self._start()

    def _start(self) -> None:
        """Compare with the present state from now on."""
        for each in self._classes:
            each.look_up()
        self.versions = ClassVersions([each.owner for each in self._classes])

    def _watch(self, pairs: Iterable[tuple[str, str]]) -> None:
        attributes: dict[type, list[tuple[str, str]]] = {}
        used_by: dict[ModuleType, dict[str, set[str]]] = {}
        for feature, name in pairs:
            namespace, last, found = resolve(name)
            if isinstance(namespace, type) and name not in FREE:
                attributes.setdefault(namespace, []).append((last, feature))
            for module, used in _uses(function_of(found)):
                used_by.setdefault(module, {}).setdefault(used, set()).add(feature)
        self._classes += [_Class(owner, pairs) for owner, pairs in attributes.items()]
        for module, names in used_by.items():
            if module not in self._globals:
                _observe(module, self)
            for name, features in names.items():
                self._globals.setdefault(module, {}).setdefault(name, set()).update(features)
                self._originals.setdefault((module, name), getattr(module, name))

    def unwatch(self) -> None:
        """Forget everything; modules get their own class back."""
        for module in self._globals:
            _stop_observing(module)
        for owner in ROUTES:
            if "__setattr__" in vars(owner):
                del owner.__setattr__
        self._globals, self._originals, self._classes = {}, {}, []
        self._libraries.clear()
        self.epoch += 1

    def look(self) -> int:
        """The epoch, after a look at what may have been replaced."""
        versions = self.versions
        if not versions.are_current():
            if versions is NOTICED or any(each.has_changed() for each in self._classes):
                self._update()
            self._start()
        return self.epoch

    def notice(self, module: ModuleType, name: str) -> None:
        """An attribute of an observed module has been set or deleted."""
        if name in self._globals.get(module, ()):
            self.versions = NOTICED

    def notice_route(self) -> None:
        """Something that tables are made from has been set on a route."""
        self.epoch += 1

    def _update(self) -> None:
        self.epoch += 1
        off: set[str] = set()
        steps: set[str] = set()
        for module, names in self._globals.items():
            for name, features in names.items():
                if getattr(module, name, None) is self._originals[module, name]:
                    continue
                if name in STEPS and module.__name__ == "fastapi.routing":
                    steps.add(name)
                else:
                    off |= features
        for each in self._classes:
            off |= each.replaced()
        self.passes_sentry = any(each.is_passed_by for each in self._classes)
        self.features = usable(self._all - off)
        self.replaced_steps = frozenset(steps)


class _Class:
    """The attributes of one class that are compared when a class has another version."""

    __slots__ = ("_features", "_first", "_names", "_seen", "is_passed_by", "owner")

    def __init__(self, owner: type, attributes: list[tuple[str, str]]) -> None:
        self.owner = owner
        self._names = [name for name, _ in attributes]
        self._seen = self._first = self._held()
        self.is_passed_by = False
        """Something has been wrapped in a way that compiled code may pass by."""
        self._features = [feature for _, feature in attributes]

    def look_up(self) -> None:
        """Have CPython give the class a version: it does so when an attribute is looked up."""
        getattr(self.owner, self._names[0], None)

    def _held(self) -> list[Any]:
        """The attributes as they are held: bound ones are another object each time."""
        bases = [vars(each) for each in self.owner.__mro__]
        return [next((base[name] for base in bases if name in base), None) for name in self._names]

    def has_changed(self) -> bool:
        """Whether an attribute is not the one that was seen last."""
        # A proxy is equal to what it wraps.
        return any(now is not seen for now, seen in zip(self._held(), self._seen, strict=True))

    def replaced(self) -> set[str]:
        """The features of the attributes that are not the first ones; they count as seen now."""
        self._seen = self._held()
        triples = zip(self._features, self._seen, self._first, strict=True)
        self.is_passed_by = False
        features = set()
        for feature, now, first in triples:
            if now is first:
                continue
            if is_passable(now, first):
                self.is_passed_by = True
            else:
                features.add(feature)
        return features


def _uses(function: Any) -> Iterator[tuple[ModuleType, str]]:
    """The globals that a function uses, and the attributes of those that are modules."""
    code = code_of(function)
    if code is None:
        return
    module = sys.modules[function.__module__]
    names = set(_names(code))
    for name in names:
        if name in vars(module):
            yield module, name
            yield from _attributes(vars(module)[name], names, depth=2)


def _attributes(found: Any, names: set[str], depth: int) -> Iterator[tuple[ModuleType, str]]:
    if not isinstance(found, ModuleType) or not depth:
        return
    for name in names & set(vars(found)):
        yield found, name
        yield from _attributes(vars(found)[name], names, depth - 1)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _observe(module: ModuleType, changes: Changes) -> None:
    own: Any = type(module)

    class Observed(own):  # type: ignore[misc]
        """A module that tells when it is changed."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            changes.notice(self, name)

        def __delattr__(self, name: str) -> None:
            super().__delattr__(name)
            changes.notice(self, name)

    Observed.__name__, Observed.__qualname__ = own.__name__, own.__qualname__
    Observed.__module__ = own.__module__
    module.__class__ = Observed


ROUTES: tuple[Any, ...] = (Route, _EffectiveRouteContext)


def _observe_routes(owner: Any, changes: Changes) -> None:
    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        # What is empty, or was not there, is set while the route is made.
        is_changed = name in ROUTE_ATTRIBUTES and bool(vars(self).get(name))
        object.__setattr__(self, name, value)
        if is_changed:
            changes.notice_route()

    owner.__setattr__ = __setattr__


def _stop_observing(module: ModuleType) -> None:
    module.__class__ = type(module).__base__  # type: ignore[assignment]
