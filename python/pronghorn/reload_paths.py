"""Which files `--reload` looks at: patterns and directories from the options.

`resolve` turns the options into what `Config` shows (the same attributes as Uvicorn's), once, when
the configuration is made; `FileFilter` decides about single files afterwards. Reads the file
system, changes nothing.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

INCLUDES = ["*.py"]
EXCLUDES = [".*", ".py[cod]", ".sw.*", "~*"]


@dataclass(frozen=True)
class ReloadPaths:
    """Patterns of files, and the directories in which they are looked for."""

    includes: list[str]
    excludes: list[str]
    dirs: list[Path]
    dirs_excludes: list[Path]
    unusable: list[str]
    """Directories that were asked for, if none of them exists."""


def resolve(
    dirs: Sequence[str | os.PathLike[str]] | str | None,
    includes: Sequence[str] | str | None,
    excludes: Sequence[str] | str | None,
) -> ReloadPaths:
    """What the options mean, seen from the working directory."""
    asked_dirs = _listed(dirs)
    include_patterns, watched = _patterns_and_dirs(_listed(includes), asked_dirs)
    exclude_patterns, excluded = _patterns_and_dirs(_listed(excludes), [])
    watched = [each for each in watched if not any(_is_within(each, outer) for outer in excluded)]
    return ReloadPaths(
        includes=[each for each in include_patterns if each not in exclude_patterns],
        excludes=exclude_patterns,
        dirs=watched or [Path.cwd()],
        dirs_excludes=excluded,
        unusable=[] if watched else asked_dirs,
    )


class FileFilter:
    """Whether a change of a file matters."""

    def __init__(self, includes: Iterable[str], excludes: Iterable[str]) -> None:
        includes, excludes = list(includes), list(excludes)
        self.includes = [each for each in INCLUDES if each not in excludes] + includes
        self.excludes = [each for each in EXCLUDES if each not in includes]
        self.exclude_dirs = [Path(each) for each in excludes if _is_dir(Path(each))]
        self.excludes += [each for each in excludes if not _is_dir(Path(each))]

    def __call__(self, path: Path) -> bool:
        """Whether it is included, and not excluded. A file included by name always counts."""
        matching = [pattern for pattern in self.includes if path.match(pattern)]
        if any(str(path).endswith(pattern) for pattern in matching):
            return True
        return bool(matching) and not (
            any(path.match(pattern) for pattern in self.excludes)
            or any(each in path.parents for each in self.exclude_dirs)
        )


def _listed(texts: Sequence[str | os.PathLike[str]] | str | None) -> list[str]:
    if texts is None:
        return []
    return [texts] if isinstance(texts, str) else list(dict.fromkeys(map(str, texts)))


def _patterns_and_dirs(patterns: list[str], dirs: list[str]) -> tuple[list[str], list[Path]]:
    found = [Path(each) for each in dirs]
    for pattern in patterns:
        if pattern == ".*":
            continue  # It would match hidden directories, which nobody means.
        if _is_dir(Path(pattern)):
            found.append(Path(pattern))
        elif not Path(pattern).is_absolute():
            found += [match for match in Path.cwd().glob(pattern) if _is_dir(match)]
    resolved = sorted({each.resolve() for each in found if _is_dir(each)})
    outermost = [each for each in resolved if not any(o in each.parents for o in resolved)]
    return patterns, outermost


def _is_within(path: Path, outer: Path) -> bool:
    return path == outer or outer in path.parents


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
