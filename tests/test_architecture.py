"""The architecture that ARCHITECTURE.md describes, read from the sources."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "pronghorn"
CRATES = ROOT / "crates"


def python_modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in PACKAGE.rglob("*.py")
        # A package of its own, found as `uvicorn`.
        if "import_path" not in path.parts
    }


class Imports(ast.NodeVisitor):
    """The modules of the package that a module imports when it runs."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names} & self.modules

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        module = node.module or ""
        names = {f"{module}.{alias.name}" for alias in node.names}
        self.found |= (names | {module}) & self.modules


def python_imports() -> dict[str, set[str]]:
    modules = python_modules()
    graph = {}
    for name, path in modules.items():
        visitor = Imports(set(modules))
        visitor.visit(ast.parse(path.read_text()))
        graph[name] = visitor.found - {name}
    return graph


def test_python_imports_have_no_cycle() -> None:
    graph = python_imports()
    # The package itself offers names of its modules when they are asked for.
    graph.pop("pronghorn")
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(reversed(error.args[1]))}")


def test_only_the_server_uses_the_engine() -> None:
    users = {
        name
        for name, path in python_modules().items()
        if re.search(r"^\s*(from|import) pronghorn\._engine", path.read_text(), re.M)
    }
    # Supervision uses the thread that shows signs of life, the exit clock the one that ends a
    # process, the accelerator what its `native` tells of, and a server's state its counts.
    threads = {"pronghorn.supervision", "pronghorn.exit_clock"}
    helpers = threads | {"pronghorn.fastapi.native", "pronghorn.server_state"}
    makers = {"pronghorn.config", "pronghorn.engines"}
    assert users == {"pronghorn.server"} | makers | helpers


def without_comments(source: str) -> str:
    return re.sub(r"//[^\n]*", "", source)


def module_order(crate: Path) -> list[str]:
    """The modules that `lib.rs` lists, in its order."""
    source = without_comments((crate / "src" / "lib.rs").read_text())
    return re.findall(r"^(?:pub )?mod (\w+);", source, re.M)


@pytest.mark.parametrize("crate", ["proto", "engine"])
def test_rust_modules_use_only_those_listed_before_them(crate: str) -> None:
    source = CRATES / crate / "src"
    order = module_order(CRATES / crate)
    assert order, "lib.rs lists the modules"
    wrong = []
    for path in source.rglob("*.rs"):
        inside = path.relative_to(source).with_suffix("").parts[0]
        if inside == "lib":
            continue
        for used in re.findall(r"\bcrate::(\w+)", without_comments(path.read_text())):
            if order.index(used) > order.index(inside):
                wrong.append(f"{path.relative_to(CRATES)} uses `{used}`")
    assert not wrong


def test_the_bridge_to_the_application_does_not_know_the_worker() -> None:
    for path in (CRATES / "engine" / "src" / "asgi").rglob("*.rs"):
        assert not re.search(r"crate::(worker|connection|transport)", path.read_text()), path


def test_unsafe_stays_under_ffi() -> None:
    wrong = [
        str(path.relative_to(CRATES))
        for path in CRATES.glob("*/src/**/*.rs")
        if "ffi" not in path.parts
        and re.search(r"\bunsafe\b(?!_code)", without_comments(path.read_text()))
    ]
    assert not wrong


def test_every_unsafe_block_says_why_it_is_sound() -> None:
    wrong = []
    for path in (CRATES / "engine" / "src" / "ffi").rglob("*.rs"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if not re.search(r"unsafe (\{|impl)", line.split("//")[0]):
                continue
            before = "\n".join(lines[max(0, number - 8) : number + 1])
            if "SAFETY" not in before:
                wrong.append(f"{path.name}:{number + 1}")
    assert not wrong


def test_the_protocol_crate_needs_no_interpreter_and_no_socket() -> None:
    lib = (CRATES / "proto" / "src" / "lib.rs").read_text()
    assert "#![forbid(unsafe_code)]" in lib
    dependencies = (CRATES / "proto" / "Cargo.toml").read_text().split("[dependencies]")[1]
    dependencies = dependencies.split("[dev-dependencies]")[0]
    assert not re.search(r"^(pyo3|mio|rustix|socket2)\b", dependencies, re.M)
    # Without features it is the two traits through which `h2` reads and writes.
    assert 'tokio = { version = "1", default-features = false }\n' in dependencies
    for path in (CRATES / "proto" / "src").rglob("*.rs"):
        source = without_comments(path.read_text()).split("#[cfg(test)]")[0]
        forbidden = r"Instant::now|SystemTime::now|std::net::(Tcp|Udp)|std::os::|std::fs"
        assert not re.search(forbidden, source), path


@pytest.mark.parametrize("pattern", ["crates/*/src/**/*.rs", "python/**/*.py"])
def test_no_file_has_grown_into_two(pattern: str) -> None:
    long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in ROOT.glob(pattern)
        if len(path.read_text().splitlines()) > 550
    }
    assert not long
