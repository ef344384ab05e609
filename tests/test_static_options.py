"""`--static` as an option: what is a route, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pronghorn.config import Config
from pronghorn.errors import ConfigurationError
from pronghorn.static_files import CONTENT_TYPES, ServedFiles, StaticRoute, parse_static_route


@pytest.mark.parametrize(
    ("route", "prefix"),
    [("/static", "/static"), ("/static/", "/static"), ("/a/b-c", "/a/b-c"), ("/", "/")],
)
def test_route_and_directory_are_read(tmp_path: Path, route: str, prefix: str) -> None:
    assert parse_static_route(f"{route}={tmp_path}") == StaticRoute(prefix, str(tmp_path))
    assert parse_static_route(f"{route}={tmp_path}/./") == StaticRoute(prefix, str(tmp_path))


def test_directory_may_hold_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "a=b").mkdir()
    assert parse_static_route(f"/x={tmp_path}/a=b").directory == f"{tmp_path}/a=b"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("/static", "needs a route and a directory"),
        ("/static=", "needs a route and a directory"),
        ("static=.", "does not begin with `/`"),
        ("=.", "does not begin with `/`"),
        ("/a//b=.", "not a plain path"),
        ("/a/../b=.", "not a plain path"),
        ("/a%20b=.", "not a plain path"),
        ("/caf\u00e9=.", "not a plain path"),
        ("/a?b=.", "not a plain path"),
        ("/static=/no/such/directory", "names a directory that does not exist"),
        ("/static=/etc/passwd", "names a directory that does not exist"),
    ],
)
def test_wrong_value_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config("a:b", static=[text])
    assert complaint in str(caught.value)
    assert f"`{text}`" in str(caught.value) or not text.isascii()


def test_route_may_be_given_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        Config("a:b", static=[f"/a={tmp_path}", f"/a/={tmp_path}"])


def test_longest_route_comes_first(tmp_path: Path) -> None:
    served = ServedFiles([f"{route}={tmp_path}" for route in ("/", "/a", "/a/b", "/c")])
    assert [prefix for prefix, _ in served.routes] == [b"/a/b", b"/a", b"/c", b"/"]


def test_content_types_are_those_of_the_web(tmp_path: Path) -> None:
    types = dict(ServedFiles(f"/={tmp_path}").content_types)
    assert types[b"html"] == b"text/html; charset=utf-8"
    assert types[b"js"] == b"text/javascript; charset=utf-8"
    assert types[b"json"] == b"application/json; charset=utf-8"
    assert types[b"png"] == b"image/png"
    assert types[b"woff2"] == b"font/woff2"
    assert all(ending.encode() in types for ending in CONTENT_TYPES)
