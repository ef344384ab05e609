"""The case classes of the Autobahn test suite, loaded from its source distribution.

The suite is written for Python 2, where a `str` is bytes. Its source is decoded as Latin-1, so that
each character of a literal stands for one byte, as it did there; what else has changed since is
replaced line by line. The suite's own network code is not loaded: `peer` takes its place.
"""

from __future__ import annotations

import binascii
import re
import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

REPLACEMENTS = [
    # Only self-tests of the suite print.
    (re.compile(r"^(\s*)print\b.*$", re.MULTILINE), r"\1pass"),
    (re.compile(r"\(object, Case, ?\)"), "(Case,)"),
    (re.compile(r"len\(self\.payload\) / "), "len(self.payload) // "),
]


class CloseCodes:
    CLOSE_STATUS_CODE_NORMAL = 1000
    CLOSE_STATUS_CODE_PROTOCOL_ERROR = 1002
    CLOSE_STATUS_CODE_INVALID_PAYLOAD = 1007
    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = range(4)


class Offer:
    """What a client offers of permessage-deflate."""

    def __init__(
        self, *, requestNoContextTakeover: bool = False, requestMaxWindowBits: int = 0
    ) -> None:
        self.requestNoContextTakeover = requestNoContextTakeover
        self.requestMaxWindowBits = requestMaxWindowBits

    def __str__(self) -> str:
        words = ["permessage-deflate", "client_no_context_takeover", "client_max_window_bits"]
        if self.requestNoContextTakeover:
            words.append("server_no_context_takeover")
        if self.requestMaxWindowBits:
            words.append(f"server_max_window_bits={self.requestMaxWindowBits}")
        return "; ".join(words)


class Utf8Validator:
    """Tells at which byte a text stops being UTF-8."""

    def reset(self) -> None:
        """Each text is whole."""

    def validate(self, text: str) -> tuple[bool, bool, int, int]:
        try:
            text.encode("latin-1").decode()
        except UnicodeDecodeError as error:
            return False, False, error.start, error.start
        return True, True, len(text), len(text)


class _Suite(MetaPathFinder, Loader):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if re.fullmatch(r"case(\d\w*)?|__suite__", name):
            return ModuleSpec(name, self)
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        stem = "__init__" if module.__name__ == "__suite__" else module.__name__
        file = self.folder / "case" / f"{stem}.py"
        source = file.read_bytes().decode("latin-1")
        for pattern, replacement in REPLACEMENTS:
            source = pattern.sub(replacement, source)
        module.__dict__.update(xrange=range, unichr=chr)
        exec(compile(source, str(file), "exec"), module.__dict__)


def _module(name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


def _latin_1_hex(text: str | bytes) -> str:
    data = text.encode("latin-1") if isinstance(text, str) else text
    return binascii.b2a_hex(data).decode()


def load_cases(folder: Path) -> list[type[Any]]:
    """All case classes but those of category 9, which measures speed."""
    _module("autobahn")
    _module("autobahn.websocket")
    _module("autobahn.websocket.protocol", WebSocketProtocol=CloseCodes)
    _module(
        "autobahn.websocket.compress",
        PerMessageDeflateOffer=Offer,
        PerMessageDeflateOfferAccept=None,
        PerMessageDeflateResponse=None,
        PerMessageDeflateResponseAccept=None,
    )
    _module("autobahn.websocket.utf8validator", Utf8Validator=Utf8Validator)
    # Category 9 is imported with the rest and not run.
    _module("twisted")
    _module("twisted.internet", reactor=None, interfaces=types.SimpleNamespace(IPushProducer=None))
    _module("zope")
    _module("zope.interface", implements=lambda interface: None)
    _module(
        "pkg_resources", resource_filename=lambda package, name: str(folder / name), __file__=None
    )
    finder = _Suite(folder)
    sys.meta_path.insert(0, finder)
    original = sys.modules["binascii"]
    sys.modules["binascii"] = types.SimpleNamespace(  # type: ignore[assignment]
        b2a_hex=_latin_1_hex, hexlify=_latin_1_hex
    )
    try:
        import __suite__  # type: ignore[import-not-found]
    finally:
        sys.modules["binascii"] = original
        sys.meta_path.remove(finder)
    cases = [case for case in __suite__.Cases if not case.__name__.startswith("Case9_")]
    assert len(cases) > 400, len(cases)
    return cases


def identifier(case: type[Any]) -> str:
    """`12.1.3` of `Case12_1_3`."""
    return case.__name__.removeprefix("Case").replace("_", ".")
