"""`python -m pronghorn.compat PROGRAM [ARGUMENTS]`: runs on Pronghorn what imports Uvicorn.

PROGRAM is the path of a script, the name of an installed command that is one (`fastapi`), or
`-m MODULE`. It sees the arguments, `__main__` and the search path that `python PROGRAM` would give
it.
"""

import runpy
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from pronghorn.compat import install

USAGE = "Usage: python -m pronghorn.compat [-m MODULE | SCRIPT | COMMAND] [ARGUMENTS]..."


def main() -> None:
    """Run the program that the arguments name."""
    match sys.argv[1:]:
        case ["-m", module, *arguments]:
            sys.argv = [module, *arguments]
            install()
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [name, *arguments] if not name.startswith("-"):
            script = _script(name)
            sys.argv = [script, *arguments]
            # As for `python SCRIPT`: its directory instead of the working directory.
            sys.path[0] = str(Path(script).resolve().parent)
            install()
            runpy.run_path(script, run_name="__main__")
        case ["-h" | "--help"]:
            print(f"{USAGE}\n\nRuns a program on Pronghorn in which it imports Uvicorn.")
        case _:
            _fail(USAGE)


def _script(name: str) -> str:
    """The path of a script or of an installed command that is one."""
    if Path(name).is_file():
        return name
    command = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if command is None:
        _fail(f"Error: `{name}` is no file and no command; name a script, or use `-m MODULE`.")
    with open(command, "rb") as file:
        if b"python" not in file.readline():
            _fail(f"Error: `{command}` is no Python script; use `-m MODULE`.")
    return command


def _fail(line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(2)


main()
