"""`python -m pronghorn.fastapi`: which fingerprints of the installed versions are not known.

With `--learn` it adds them to the table, for this version of Python: after the proofs have passed.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from pronghorn.fastapi.fingerprints import KNOWN, PYTHON, installed, unknown_functions
from pronghorn.fastapi.standins import LIBRARIES, OPTIONAL, STAND_INS


def main(arguments: list[str]) -> int:
    """Show what is not known, or learn it; the exit code says whether there was anything."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "starlette", "anyio"))
    unknown = unknown_functions()
    print(f"Python {PYTHON}, {versions}: {sum(map(len, unknown.values()))} unknown")
    for feature, names in unknown.items():
        for name in names:
            print(f"  {feature}: {name} {installed(name) or 'is missing'}")
    if "--learn" in arguments:
        learn()
        return 0
    return 1 if unknown else 0


def learn() -> None:
    """Add the fingerprints of the installed functions to the table."""
    table = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    mine = table.setdefault(PYTHON, {})
    for names in (*STAND_INS.values(), *LIBRARIES.values(), OPTIONAL):
        for name in names:
            found = installed(name)
            if found and found not in mine.setdefault(name, []):
                mine[name].append(found)
    ordered = {
        python: {name: sorted(functions[name]) for name in sorted(functions)}
        for python, functions in sorted(table.items())
    }
    KNOWN.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
