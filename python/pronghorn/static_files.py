"""Static files: which directories are served under which routes, and what their files are called.

`--static ROUTE=DIR` becomes a `StaticRoute` here; the engine serves them without the application,
which never sees a request below a route. `ServedFiles` is what the engine is given. Nothing here
opens a file, so the table of options checks values with it as well.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

CONTENT_TYPES = {
    # Where the system's tables differ from machine to machine, or are out of date.
    "avif": "image/avif",
    "gz": "application/gzip",
    "ico": "image/x-icon",
    "js": "text/javascript",
    "json": "application/json",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "otf": "font/otf",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "application/xml",
}
"""By the ending of a name; `mimetypes` knows the others."""

_TEXT_BESIDE_TEXT = ("application/json", "application/manifest+json", "application/xml")


@dataclass(frozen=True)
class StaticRoute:
    """A prefix of paths, and the directory whose files are below it."""

    prefix: str
    directory: str


def parse_static_route(text: str) -> StaticRoute:
    """`ROUTE=DIR` as a `StaticRoute`; a `ValueError` says what is wrong with it."""
    prefix, separator, directory = text.partition("=")
    if not separator or not directory:
        raise ValueError("needs a route and a directory as in `/static=./static`")
    if not prefix.startswith("/"):
        raise ValueError("has a route that does not begin with `/`")
    segments = prefix.strip("/").split("/")
    is_plain = prefix.isascii() and prefix.isprintable() and not set(prefix) & set("%?#\\ ")
    if not is_plain or "//" in prefix or "." in segments or ".." in segments:
        raise ValueError("has a route that is not a plain path")
    directory = os.path.abspath(os.path.expanduser(directory))
    if not os.path.isdir(directory):
        raise ValueError("names a directory that does not exist")
    return StaticRoute(prefix.rstrip("/") or "/", directory)


def static_complaint(routes: list[str] | str) -> str | None:
    """What is wrong with a value of `--static`, or None."""
    prefixes: set[str] = set()
    for text in [routes] if isinstance(routes, str) else routes:
        try:
            prefix = parse_static_route(text).prefix
        except ValueError as error:
            return f"{error}, got `{text}`."
        if prefix in prefixes:
            return f"has the route `{prefix}` twice."
        prefixes.add(prefix)
    return None


class ServedFiles:
    """What the engine serves by itself, in bytes: routes with their directories, content types."""

    def __init__(self, texts: Iterable[str] | str) -> None:
        texts = [texts] if isinstance(texts, str) else texts
        self._routes = [parse_static_route(text) for text in texts]

    @property
    def routes(self) -> list[tuple[bytes, bytes]]:
        """Prefixes and directories, the longest prefix first: it is the closest."""
        routes = sorted(self._routes, key=lambda each: len(each.prefix), reverse=True)
        return [(each.prefix.encode(), os.fsencode(each.directory)) for each in routes]

    @cached_property
    def content_types(self) -> list[tuple[bytes, bytes]]:
        """Endings of names, without the dot and in lower case, and what they stand for."""
        import mimetypes  # Costly, and only of use here.

        system = {end.lstrip(".").lower(): kind for end, kind in mimetypes.types_map.items()}
        types = {**system, **CONTENT_TYPES}
        return [
            (os.fsencode(ending), _with_charset(kind).encode("latin-1"))
            for ending, kind in types.items()
        ]


def _with_charset(kind: str) -> str:
    if kind.startswith("text/") or kind in _TEXT_BESIDE_TEXT:
        return f"{kind}; charset=utf-8"
    return kind
