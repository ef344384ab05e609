"""What goes between `fuzz` and its `worker` processes: pickled values, each after its length."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass, field
from typing import Any

LENGTH = struct.Struct("!I")


@dataclass
class Reply:
    """What a case gave, and by which of the accelerator's ways its requests went."""

    transcripts: list[list[str]]
    tiers: dict[str, int] = field(default_factory=dict)


def read(stream: Any) -> Any:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pickle.loads(stream.read(*LENGTH.unpack(head)))


def write(stream: Any, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()
