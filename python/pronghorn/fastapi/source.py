"""Source text that is being written: lines, their indentation, and the objects that they name."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any


class Source:
    """The source of one module of generated code."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._lines: list[str] = []
        self._depth = 0
        self._numbers = count()

    def line(self, text: str) -> None:
        """Add a line at the present indentation."""
        self._lines.append("    " * self._depth + text)

    @property
    def position(self) -> tuple[int, int]:
        """Where the next line goes, for `insert`."""
        return len(self._lines), self._depth

    def insert(self, position: tuple[int, int], text: str) -> None:
        """Add a line at an earlier position."""
        index, depth = position
        self._lines.insert(index, "    " * depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add `head`, and indent what is added within."""
        self.line(head)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def name(self, thing: Any, hint: str) -> str:
        """A name by which the source can use `thing`."""
        for name, known in self.names.items():
            if known is thing:
                return name
        name = f"{hint}_{next(self._numbers)}"
        self.names[name] = thing
        return name

    def variable(self, hint: str) -> str:
        """A name for a local variable."""
        return f"{hint}_{next(self._numbers)}"

    @property
    def text(self) -> str:
        """The source so far."""
        return "\n".join(self._lines) + "\n"

    def compile(self, filename: str) -> dict[str, Any]:
        """Run the source and return what it defines; tracebacks show its lines."""
        text = self.text
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
        exec(compile(text, filename, "exec"), self.names)
        return self.names
