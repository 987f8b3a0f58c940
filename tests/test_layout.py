"""The layout of the project: imports point one way, import chains and files are short."""

import ast
import functools
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "kernels": {"kernels"},
    "solver": {"kernels", "solver"},
    "train_offline": {"kernels", "solver", "train_offline"},
    "submission": {"solver", "submission"},
}
ROOMS = {"kernels", "solver", "train_offline", "submission", "notebooks", "benchmarks", "tests"}
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names & ROOMS


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    files = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == room]
    assert files
    for path in files:
        assert imported(path) <= MAY_IMPORT[room], path


def test_files_and_functions_are_short() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 350, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = (node.end_lineno or 0) - node.body[0].lineno + 1
                if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
                    body -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1  # the docstring
                assert body <= 40, f"{path}: {node.name}"


def project_modules() -> dict[str, Path]:
    """Dotted name -> file, of all modules that have content."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}
    return {name: path for path, name in names.items() if path.read_text().strip()}


def module_imports(path: Path, known: Collection[str]) -> set[str]:
    """The project modules that importing a file imports first: what stands at the top level of it."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inner or {node.module}
    return found & known


@pytest.mark.parametrize(
    ("start", "longest"), [("solver.run.command", 11), ("train_offline.cli", 12), ("submission.workers.worker", 9)]
)
def test_import_chains_are_short(start: str, longest: int) -> None:
    modules = project_modules()
    imports = {name: module_imports(path, modules.keys()) for name, path in modules.items()}

    @functools.cache
    def chain(name: str) -> tuple[str, ...]:
        return (name, *max((chain(other) for other in imports[name]), key=len, default=()))

    assert start in imports
    assert len(chain(start)) <= longest, " -> ".join(chain(start))


def test_the_solver_has_few_rooms() -> None:
    entries = [path.name for path in (ROOT / "solver").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 13, entries
