"""What supervisors and submissions need can be imported where torch and numba fail."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIGHT = ("common", "tasks", "settings", "answers", "report")
MODULES = [f"solver.{room}.{path.stem}" for room in LIGHT for path in sorted((ROOT / "solver" / room).glob("*.py"))]


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
