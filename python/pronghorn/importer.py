"""Turns an import string such as `main:app` into the object that it names.

Used for the application and for a custom event loop; `optional_module` imports what only some
options need. What is wrong with the string itself is an
`ImportFromStringError`; an exception raised while the module runs passes through unchanged, so
that its traceback points at the user's code.
"""

import importlib
from functools import reduce
from typing import Any

from pronghorn.errors import ConfigurationError, ImportFromStringError


def import_from_string(import_string: Any) -> Any:
    """The object behind `<module>:<attribute>`; anything but a string is returned as it is.

    The attribute may be dotted (`main:site.app`).
    """
    if not isinstance(import_string, str):
        return import_string
    module_name, _, attributes = import_string.partition(":")
    if not module_name or not attributes:
        raise ImportFromStringError(
            f'Import string "{import_string}" must be in format "<module>:<attribute>".'
        )
    module = _module(module_name)
    try:
        return reduce(getattr, attributes.split("."), module)
    except AttributeError:
        raise ImportFromStringError(
            f'Attribute "{attributes}" not found in module "{module_name}".'
        ) from None


def optional_module(package: str, *, option: str, remedy: str) -> Any:
    """The package that an option needs; `remedy` ends the complaint when it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigurationError(option, remedy) from None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that exists but imports something missing is an error in the user's code.
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise
        raise ImportFromStringError(f'Could not import module "{name}".') from None
