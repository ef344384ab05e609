"""Turns the accelerator on and off, at once or when FastAPI is imported.

`install` may be called before the application is imported, and must not import FastAPI itself: an
application of another framework would pay for it. So it waits at the end of FastAPI's import.
`state` says what is on.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from pronghorn.fastapi.standins import STAND_INS

logger = logging.getLogger("pronghorn.error")


@dataclass
class State:
    """What is on."""

    is_installed: bool = False
    features: frozenset[str] = frozenset()
    unknown: dict[str, list[str]] = field(default_factory=dict)
    """Features that are off, with the functions that are not as we know them."""


state = State()


def install() -> None:
    """Accelerate every FastAPI application of this process; a second call does nothing."""
    if state.is_installed:
        return
    if "fastapi" in sys.modules and hasattr(sys.modules["fastapi"], "FastAPI"):
        _install()
    elif not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def uninstall() -> None:
    """Give the classes their own methods back."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, _Finder)]
    if state.is_installed:
        from pronghorn.fastapi.hooks import unhook

        unhook()
    state.is_installed, state.features, state.unknown = False, frozenset(), {}


def _install() -> None:
    from pronghorn.fastapi.fingerprints import unknown_functions, usable

    unknown = unknown_functions()
    features = usable(set(STAND_INS) - set(unknown))
    if "routing" in features:
        from pronghorn.fastapi.hooks import hook

        hook(features, frozenset(name for names in unknown.values() for name in names))
    state.is_installed, state.features, state.unknown = True, features, unknown


class _Finder(importlib.abc.MetaPathFinder):
    """Installs when the import of `fastapi` has ended."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders have, with a loader that installs."""
        if fullname != "fastapi":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """What the module's own loader makes."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and install."""
        self._loader.exec_module(module)
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        try:
            _install()
        except Exception:
            logger.exception("The FastAPI accelerator could not be installed.")


def start_up_line() -> tuple[int, str]:
    """What is on, for the log, with its level; "" where FastAPI has not been imported."""
    if not state.is_installed:
        return logging.INFO, ""
    from pronghorn.fastapi.fingerprints import PYTHON, is_replaced, release

    versions = f"{release('FastAPI')}, {release('Starlette')}"
    if not state.unknown:
        return logging.INFO, f"FastAPI accelerator is on ({versions})."
    off = ", ".join(sorted(set(state.unknown) | (set(STAND_INS) - state.features)))
    what = "in part" if state.features else "off"
    unknown = sorted({name for names in state.unknown.values() for name in names})
    replaced = [name for name in unknown if is_replaced(name)]
    if replaced:
        reason = f"something has replaced {', '.join(replaced)}, needed for"
    else:
        reason = f"it does not know {versions} on Python {PYTHON} well enough for"
    return logging.WARNING, f"FastAPI accelerator is {what}: {reason}: {off}."
