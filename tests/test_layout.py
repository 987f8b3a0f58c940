"""The rooms of the house: imports point one way, files stay short, the README's tree is the tree."""

import ast
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


def test_readme_names_every_module() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] != "tests" and not path.name.startswith("__"):
            assert path.name in readme, f"{path.relative_to(ROOT)} is missing in the README's tree"
