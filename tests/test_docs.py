"""The documentation says what is true: flags, configuration files and programs in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pronghorn.cli import main
from pronghorn.config import Config
from pronghorn.config_file import read_config_file

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)

# Flags in the pages that are those of other programs.
FOREIGN_PAGES = {"from-granian.md", "benchmarks.md"}


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text())
        if found == language
    ]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [page.name for page in PAGES[:-1] if page.name not in navigation]
    assert not missing, "add them to `nav` in mkdocs.yml"


def test_flags_exist() -> None:
    flags = {flag for each in main.params for flag in (*each.opts, *each.secondary_opts)}
    # click's own, pip's, and that of `python -m pronghorn.fastapi`.
    flags |= {"--help", "--no-cache-dir", "--learn"}
    wrong = [
        f"{page.name}: {flag}"
        for page in PAGES
        if page.name not in FOREIGN_PAGES
        for flag in re.findall(
            r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![\w*-])", _without_foreign(page.read_text())
        )
        if flag not in flags
    ]
    assert not wrong


def _without_foreign(text: str) -> str:
    """Without lines that call other programs, and without TOML, where `--` is no flag."""
    return "\n".join(
        line
        for line in text.splitlines()
        if not re.search(r"python bench|pip |curl |nghttp|h2load", line)
    )


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_configuration_file_is_valid(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "pronghorn.toml"
    path.write_text(text)
    options = read_config_file(str(path)).options
    assert options, page
    Config(**{"app": "main:app", "log_config": None, **options})


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_program_compiles(page: str, text: str) -> None:
    compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
