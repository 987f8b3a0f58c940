"""What supervisors and submissions need can be imported where torch and numba fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from solver.answers import submission_json
from solver.answers.attempts import baseline
from solver.answers.submission_json import expected_counts
from tests.solver.samples import TASKS, save_challenges

ROOT = Path(__file__).parents[2]
LIGHT = ("common", "tasks", "settings", "answers", "report")
MODULES = [f"solver.{room}.{path.stem}" for room in LIGHT for path in sorted((ROOT / "solver" / room).glob("*.py"))]
MODULES += ["submission.kaggle", "submission.batch", "submission.merge"]


def test_supervising_modules_import_neither_torch_nor_numba() -> None:
    program = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'numba'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["score", "check"])
def test_commands_on_files_alone_load_neither_torch_nor_numba(command: str, tmp_path: Path) -> None:
    challenges = save_challenges(tmp_path / "challenges.json", outputs=True)
    submission_json.write(tmp_path / "submission.json", baseline(TASKS))
    program = (
        "import sys\n"
        "from solver.__main__ import main\n"
        f"code = main([{command!r}, {str(tmp_path / 'submission.json')!r}, {str(challenges)!r}])\n"
        "assert not {'torch', 'numba'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "3 " in done.stdout


def test_a_submission_is_on_the_disk_before_torch_is_loaded(tmp_path: Path) -> None:
    """Here torch cannot be loaded at all."""
    challenges, out = save_challenges(tmp_path / "challenges.json"), tmp_path / "submission.json"
    (tmp_path / "torch.py").write_text("raise ImportError('failed to map segment')")
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from solver.__main__ import main\n"
        f"sys.exit(main(['solve', {str(challenges)!r}, '--out', {str(out)!r}, '--budget', '1h']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: expected the packages that this needs, and room for them in memory, got: failed"
    )
    assert done.stderr.count("\n") == 1
    submission_json.check(out, expected_counts(TASKS))
