"""Whether the installed functions that the accelerator stands in for are ones that it knows.

A fingerprint is a hash of a function's code: its instructions, constants, names, defaults and
nested functions, not its place in the file. `known.json` holds the fingerprints of the supported
releases, by minor version of Python, since instructions differ between those. A function may have
several: one for each form in which the supported releases have it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Set as AbstractSet
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

from pronghorn.fastapi.standins import NEEDS, STAND_INS, code_of, function_of, resolve

KNOWN = Path(__file__).with_name("known.json")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
DIGEST_BYTES = 8


def fingerprint(function: Any) -> str:
    """The fingerprint of a Python function; "" for what has no code."""
    code = code_of(function_of(function))
    if code is None:
        return ""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    digest.update(repr(_describe(code)).encode())
    return digest.hexdigest()


@cache
def known() -> dict[str, list[str]]:
    """The fingerprints that are known for this version of Python, by function."""
    table: dict[str, dict[str, list[str]]] = json.loads(KNOWN.read_text())
    return table.get(PYTHON, {})


def is_known(name: str, function: Any) -> bool:
    """Whether `function` is one that is known by this name."""
    return fingerprint(function) in known().get(name, [])


def is_installed_known(name: str) -> bool:
    """Whether there is a function of this name, and it is one that is known."""
    return installed(name) in known().get(name, [])


def unknown_functions() -> dict[str, list[str]]:
    """The functions of each feature that are not as we know them; features without are left out."""
    unknown: dict[str, list[str]] = {}
    for feature, names in STAND_INS.items():
        strange = [name for name in names if not is_installed_known(name)]
        if strange:
            unknown[feature] = strange
    return unknown


def is_replaced(name: str) -> bool:
    """Whether a function is a library's that has nothing to do with what the name says."""
    try:
        found = function_of(resolve(name)[2])
    except (ImportError, AttributeError):
        return False  # This version has none.
    if code_of(found) is None:
        return True
    origin = _library(found.__globals__.get("__name__", ""))
    own = {_library(each) for names in STAND_INS.values() for each in names}
    return origin not in own and origin not in sys.stdlib_module_names


def _library(name: str) -> str:
    """The package of a module or of a function of its own."""
    return name.partition(":")[0].partition(".")[0]


def usable(features: AbstractSet[str]) -> frozenset[str]:
    """Those of some features that have all that they are of no use without."""
    for _ in NEEDS:
        features = {each for each in features if features >= set(NEEDS.get(each, ()))}
    return frozenset(features)


def release(distribution: str) -> str:
    """Its name and the version that is installed."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:  # A bundle may leave the metadata out.
        return distribution


def installed(name: str) -> str | None:
    """The fingerprint of an installed function, or None where there is no such function."""
    try:
        return fingerprint(resolve(name)[2])
    except (ImportError, AttributeError):
        return None


def _describe(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_code,
        [_constant(constant) for constant in code.co_consts],
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_kwonlyargcount,
    )


def _constant(constant: Any) -> Any:
    if isinstance(constant, CodeType):
        return _describe(constant)
    if isinstance(constant, frozenset):
        # Its order differs from process to process.
        return sorted(map(repr, constant))
    return constant
