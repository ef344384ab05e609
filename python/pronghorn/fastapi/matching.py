"""Which route a request is for: the routes of an application's router as a table.

`Table` holds the routes of a router and of the routers included in it, in the order in which they
are tried, as they were when it was made. `find` gives the first full match without trying one after
the other: static paths are looked up, others found by the segments that they begin with. What it
cannot know in advance (mounts, routes of a class of their own) ends the search: then the framework
looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.routing import APIRoute, APIRouter, APIWebSocketRoute, _IncludedRouter
from starlette import convertors
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

KNOWN_CONVERTORS = (
    convertors.StringConvertor,
    convertors.PathConvertor,
    convertors.IntegerConvertor,
    convertors.FloatConvertor,
    convertors.UUIDConvertor,
)


@dataclass(slots=True, eq=False)
class Place:
    """A route in its place: where it is included, and what the scope says about it."""

    route: BaseRoute
    """What the router holds, or the Starlette route that stands for it where it is included."""
    context: Any = None
    """FastAPI's record of an included path operation."""
    effective: Any = None
    """FastAPI's record of an included route of any kind, which it leaves in the scope."""
    included: _IncludedRouter | None = None
    """The innermost inclusion."""
    after_included: bool = False
    """Looking for it has left an entry of FastAPI's in the scope."""
    is_opaque: bool = False
    entry: Any = None
    """What the plan keeps about it."""

    @property
    def about(self) -> Any:
        """What has its path, methods and application."""
        return self.context if self.context is not None else self.route

    @property
    def is_api(self) -> bool:
        """Whether it is a path operation."""
        return isinstance(self.route, APIRoute)


@dataclass(slots=True)
class Pattern:
    """How a path with parameters is recognised."""

    place: Place
    match: Callable[[str], Any]
    methods: Any
    conversions: tuple[tuple[str, Callable[[str], Any]], ...]
    segments: tuple[str, ...]
    """The first segments of the path, as far as they are always the same."""


Branch = dict[str | None, "Branch | list[Pattern]"] | list[Pattern]
"""The patterns for paths that begin alike: all of them in order, or by the next segment. None leads
to those for paths whose next segment is another one, or that end here."""

BRANCH_MIN = 3
"""Fewer patterns are tried one after the other."""


@dataclass
class Table:
    """The routes of a router at one moment."""

    router: APIRouter
    places: list[Place] = field(default_factory=list)
    watched: list[tuple[Any, str]] = field(default_factory=list)
    """Attributes of routers that change with their routes."""
    is_readable: bool = True

    def __post_init__(self) -> None:
        self._flatten()
        self._patterns: list[Pattern] = []
        self._exact: dict[str, dict[str, Place | None]] = {}
        self._index()

    def find(self, method: str, path: str) -> tuple[Place | None, dict[str, Any] | None]:
        """The route and its path parameters, or None where the framework has to look."""
        exact = self._exact.get(method)
        if exact is not None and path in exact:
            return exact[path], None
        # A `$` also matches before a line break at the end.
        if path[-1:] == "\n" or path[:1] != "/":
            return None, None
        branch: Any = self._tree
        if type(branch) is dict:
            for segment in path[1:].split("/"):
                branch = branch.get(segment) or branch[None]
                if type(branch) is list:
                    break
            else:
                branch = branch[None]
        for pattern in branch:
            found = pattern.match(path)
            if found is None:
                continue
            place = pattern.place
            if place.is_opaque:
                return None, None
            if method in pattern.methods:
                try:
                    values = found.groupdict()
                    for name, convert in pattern.conversions:
                        values[name] = convert(values[name])
                except Exception:  # The framework meets it again.
                    return None, None
                return place, values
        return None, None

    def _flatten(self) -> None:
        self._watch(self.router)
        has_included = False
        for route in self.router.routes:
            if type(route) is _IncludedRouter:
                has_included = True
                self._flatten_included(route)
            else:
                self._add(Place(route, after_included=has_included), route)
        if self.router.form_limits if hasattr(self.router, "form_limits") else None:
            self.is_readable = False

    def _flatten_included(self, included: _IncludedRouter) -> None:
        router = included.original_router
        self._watch(router)
        kind = type(router)
        if kind.matches is not APIRouter.matches or kind.handle is not APIRouter.handle:
            self.places.append(Place(included, is_opaque=True))
            return
        context = included.include_context
        is_limited = bool(getattr(context, "form_limits", None))
        for candidate in included.effective_candidates():
            if isinstance(candidate, _IncludedRouter):
                self._flatten_included(candidate)
                continue
            original = candidate.original_route
            route = candidate.starlette_route or original
            place = Place(route, included=included, after_included=True, effective=candidate)
            if isinstance(original, APIRoute):
                place.context = candidate
            elif getattr(context, "max_body_size", None) is not None:
                is_limited = True
            place.is_opaque = is_limited
            self._add(place, route)

    def _watch(self, router: Any) -> None:
        self.watched += [(router, "routes"), (router, "_routes_version")]

    def _add(self, place: Place, route: BaseRoute) -> None:
        kind = type(route)
        if isinstance(route, WebSocketRoute) and kind.matches in (
            WebSocketRoute.matches,
            APIWebSocketRoute.matches,
        ):
            return  # It matches no HTTP request.
        if isinstance(route, APIRoute):
            if kind.matches is not APIRoute.matches or kind.handle is not APIRoute.handle:
                place.is_opaque = True
        elif kind is not Route:
            place.is_opaque = True
        if not place.is_opaque and not _has_known_convertors(place.about):
            place.is_opaque = True
        self.places.append(place)

    def _index(self) -> None:
        static: list[tuple[str, Place]] = []
        for place in self.places:
            if not place.is_opaque and not place.about.param_convertors:
                static.append((place.about.path_format, place))
            else:
                self._patterns.append(_pattern(place))
        for path, place in static:
            for method in place.about.methods:
                self._exact.setdefault(method, {}).setdefault(path, self._first(method, path))
        self._tree = _branch(self._patterns, 0)

    def _first(self, method: str, path: str) -> Place | None:
        """The first route that matches a static path in full; None if that cannot be told."""
        for place in self.places:
            if place.is_opaque:
                if _may_match(place.route)(path):
                    return None
                continue
            about = place.about
            if about.path_regex.match(path) and method in about.methods:
                return place if not about.param_convertors else None
        return None


def _has_known_convertors(about: Any) -> bool:
    return about.methods is not None and all(
        type(each) in KNOWN_CONVERTORS for each in about.param_convertors.values()
    )


def _pattern(place: Place) -> Pattern:
    if place.is_opaque:
        return Pattern(place, _may_match(place.route), (), (), ())
    about = place.about
    conversions = tuple(
        (name, convertor.convert)
        for name, convertor in about.param_convertors.items()
        if type(convertor) not in (convertors.StringConvertor, convertors.PathConvertor)
    )
    return Pattern(
        place, about.path_regex.match, about.methods, conversions, _segments(about.path_format)
    )


def _may_match(route: BaseRoute) -> Callable[[str], Any]:
    """What is None for paths that an opaque route certainly does not match."""
    return route.path_regex.match if type(route) is Mount else bool


def _segments(path: str) -> tuple[str, ...]:
    *segments, _ = path.partition("{")[0][1:].split("/")
    return tuple(segments)


def _branch(patterns: list[Pattern], depth: int) -> Branch:
    if len(patterns) < BRANCH_MIN or all(len(each.segments) <= depth for each in patterns):
        return patterns
    open_ended = [each for each in patterns if len(each.segments) <= depth]
    branch: Any = {None: open_ended}
    for segment in dict.fromkeys(
        each.segments[depth] for each in patterns if len(each.segments) > depth
    ):
        branch[segment] = _branch(
            [each for each in patterns if each.segments[depth : depth + 1] in ((), (segment,))],
            depth + 1,
        )
    found: Branch = branch
    return found
