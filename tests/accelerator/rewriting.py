"""Lets the accelerator know AnyIO's functions in the form that pytest gives them.

AnyIO is a plug-in of pytest, which rewrites the `assert` statements of its plug-ins; so functions
of AnyIO with one have another fingerprint in a process of pytest, and what needs them would be off
in the very tests of it. `accept` adds those fingerprints to the known ones, in this process only.
"""

from __future__ import annotations

import sys
from typing import Any


def accept() -> None:
    from pronghorn.fastapi import fingerprints, standins

    known = fingerprints.known()
    for names in standins.STAND_INS.values():
        for name in names:
            module: Any = sys.modules.get(name.partition(":")[0])
            found = fingerprints.installed(name)
            is_rewritten = "Rewrit" in type(getattr(module, "__loader__", None)).__name__
            if found and is_rewritten and found not in known.get(name, []):
                known.setdefault(name, []).append(found)
