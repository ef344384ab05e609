"""`Snapshot`: whatever is set, replaced or removed in one of its places is seen."""

from __future__ import annotations

import gc
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from pronghorn.fastapi.native import Snapshot


class Plain:
    def __init__(self) -> None:
        self.value: Any = "value"
        self.items: list[Any] = [1, 2]


class Slotted:
    __slots__ = ("items", "missing", "value")

    def __init__(self) -> None:
        self.value: Any = "value"
        self.items: list[Any] = [1, 2]


class Derived(Slotted):
    __slots__ = ()


CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda thing: setattr(thing, "value", "another"),
    "removed": lambda thing: delattr(thing, "value"),
    "added": lambda thing: setattr(thing, "missing", 1),
    "item added": lambda thing: thing.items.append(3),
    "item removed": lambda thing: thing.items.pop(),
    "item replaced": lambda thing: thing.items.__setitem__(0, 3),
    "items swapped": lambda thing: thing.items.reverse(),
    "an equal list": lambda thing: setattr(thing, "items", [1, 2]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [Plain, Slotted, Derived])
def test_a_change_of_an_instance_is_seen(kind: Any, change: Callable[[Any], object]) -> None:
    thing = kind()
    snapshot = Snapshot([(thing, name) for name in ("value", "items", "missing")])
    assert snapshot.holds()
    assert snapshot.holds()
    change(thing)
    assert not snapshot.holds()


def test_a_change_that_is_taken_back_is_none() -> None:
    thing = Slotted()
    snapshot = Snapshot([(thing, "value")])
    value, thing.value = thing.value, None
    assert not snapshot.holds()
    thing.value = value
    assert snapshot.holds()


@pytest.mark.parametrize("key", ["key", b"key"])
def test_a_change_of_a_dictionary_is_seen(key: str | bytes) -> None:
    entries: dict[str | bytes, object] = {"other": 1}
    snapshot = Snapshot([(entries, key)])
    entries["other"] = 2
    assert snapshot.holds()
    entries[key] = None
    assert not snapshot.holds()


def test_a_change_of_a_module_is_seen() -> None:
    module: Any = types.ModuleType("module")
    snapshot = Snapshot([(module, "name")])
    module.name = 1
    assert not snapshot.holds()


def test_other_keys_are_refused() -> None:
    with pytest.raises(TypeError, match="a key must be `str` or `bytes`"):
        Snapshot([({}, 1)])  # type: ignore[list-item]


def test_what_it_watches_is_collected_with_it() -> None:
    thing = Plain()
    thing.value = Snapshot([(thing, "value"), (thing, "items")])
    thing.items.append(thing.value)
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None
