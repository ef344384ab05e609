"""JSON as `jsonable_encoder` and `JSONResponse` write it, for what needs no preparation.

`dump` returns the bytes for content that consists of plain Python values, or None where FastAPI's
own functions have to look at it: models, subclasses, keys that SQLAlchemy owns, anything that
fails.
"""

from __future__ import annotations

import json
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import Any

DEPTH_MAX = 64
"""Deeper content, which may be circular, is left to the encoders that notice it."""


def dump(content: Any) -> bytes | None:
    """`content` as JSON, if it is plain."""
    if not is_plain(content, DEPTH_MAX):
        return None
    try:
        return "".join(_encode(content, 0)).encode("utf-8")
    except (ValueError, RecursionError):  # NaN, a number too long, a lone surrogate.
        return None


def is_plain(value: Any, depth: int) -> bool:
    """Whether `value` is made of dicts, lists, strings, numbers, booleans and None only."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if not depth:
        return False
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or key[:3] == "_sa":
                return False
            if type(item) not in _SCALARS and not is_plain(item, depth - 1):
                return False
        return True
    if kind is list:
        for item in value:
            if type(item) not in _SCALARS and not is_plain(item, depth - 1):
                return False
        return True
    return False


_SCALARS = frozenset((str, int, float, bool, type(None)))


def _default(value: Any) -> Any:
    raise TypeError


# What `json.dumps(ensure_ascii=False, allow_nan=False, separators=(",", ":"))` makes each time,
# without its memory of what contains itself.
_encode: Any = (
    c_make_encoder(None, _default, encode_basestring, None, ":", ",", False, False, False)
    if c_make_encoder
    else lambda content, level: [
        json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    ]
)
