"""The notebooks equal their sources, and run on small tasks, each in its own kernel."""

import os
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import orjson
import pytest
from nbclient import NotebookClient

from solver.answers.run_json import FILE_NAME
from solver.tasks.load import load_tasks
from submission.package.build import Settings, make_package, read_package
from submission.package.check import cell_lines
from submission.package.simulated_kaggle import SimulatedKaggle
from tests.solver.report.test_pictures import record
from tests.train_offline.tiny_runs import ARGUMENTS, corpus

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(path.stem for path in (NOTEBOOKS / "sources").glob("*.py"))
CHALLENGES = ROOT / "tests/submission/tiny_challenges.json"
SOLUTIONS = ROOT / "tests/submission/tiny_solutions.json"


def cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def run(name: str, folder: Path, **environment: str) -> list[str]:
    """Execute a notebook in `folder`; all that its cells put out, as lines. A cell that raises fails the test."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(folder), env=settings)
    return [line for cell in notebook.cells for line in cell_lines(cell)]


def test_there_are_three() -> None:
    assert NAMES == ["explore", "submission", "train"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_what_make_notebooks_makes_of_its_source(name: str) -> None:
    written = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(written)
    assert cells(written) == cells(jupytext.read(NOTEBOOKS / "sources" / f"{name}.py"))
    assert written.metadata["kernelspec"]["language"] == "python"
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert 0 < len(code) < 10
    assert not any(cell.outputs or cell.execution_count for cell in code), "saved without outputs"


@pytest.mark.slow
def test_submission(tmp_path: Path) -> None:
    """On a tree as Kaggle's, outside the scored run."""
    package = tmp_path / "package"
    make_package(package, Settings(wheels=False))
    kaggle = SimulatedKaggle(tmp_path / "kaggle", package, read_package(package), CHALLENGES, SOLUTIONS)
    kaggle.arrange("newer")
    options = "--rehearsal-budget 1h --devices cpu --fit-steps 2 --augmentations 2 --supervision-steps 2"
    lines = run("submission", kaggle.working, KAGGLE_ROOT=str(kaggle.root), KAGGLE_OPTIONS=options)
    assert "no wheels attached: the image has to have everything" in lines
    assert any("a rehearsal (KAGGLE_IS_COMPETITION_RERUN is not set): solves 3 tasks" in line for line in lines)
    assert (kaggle.working / "submission.json").is_file()
    assert any("share of test outputs" in line for line in lines), "the rehearsal's score"
    assert lines[-1].startswith("a page of "), "the rehearsal's report"


@pytest.mark.slow
def test_train(tmp_path: Path) -> None:
    options = [*ARGUMENTS, *corpus(tmp_path), "--steps", "6", "--evaluation.every", "6", "--device", "cpu"]
    lines = run("train", tmp_path, ARC_RUN=str(tmp_path / "run"), ARC_TRAINING=" ".join(options))
    assert any("pass@2" in line for line in lines), "the score"
    assert (tmp_path / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "package" / "weights" / "model.safetensors").is_file()
    assert any("kaggle kernels push" in line for line in lines)


@pytest.mark.slow
def test_explore(tmp_path: Path) -> None:
    tasks = load_tasks(str(CHALLENGES), str(SOLUTIONS))
    (tmp_path / FILE_NAME).write_bytes(orjson.dumps(record(tasks)))
    lines = run("explore", tmp_path, ARC_RUN=str(tmp_path), ARC_CHALLENGES=str(CHALLENGES))
    assert sum(line.startswith("a page of ") for line in lines) == 4 + 2, "four pictures, and two tasks that fail"
