"""Makes `import uvicorn` give Pronghorn, so that programs written for Uvicorn run on it unchanged.

`install()` puts the directory `import_path` in front of the module search path; the package
`uvicorn` in it re-exports Pronghorn's objects under Uvicorn's names. `python -m pronghorn.compat`
installs it and runs a program; `import pronghorn.compat.uvicorn` installs it in a program. A
search path, and not an entry in `sys.modules`, because processes that the program starts inherit
it: those of `multiprocessing` with `sys.path`, others with `PYTHONPATH`.
"""

import os
import sys
from pathlib import Path

IMPORT_PATH = str(Path(__file__).parent / "import_path")

_NAMES = ("uvicorn", "uvicorn_worker")


def install() -> None:
    """Have every later `import uvicorn` find Pronghorn, here and in child processes."""
    if IMPORT_PATH in sys.path:
        return
    sys.path.insert(0, IMPORT_PATH)
    paths = [IMPORT_PATH, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    for name in list(sys.modules):
        # What was imported before was the other one.
        if name.partition(".")[0] in _NAMES:
            del sys.modules[name]
