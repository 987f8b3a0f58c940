"""`python -m benchmarks.unseen FOLDER`: MiniARC as challenges and solutions, tasks that are in no training corpus.

FOLDER holds the 149 task files of MiniARC (Kim et al. 2022, 5x5 grids), as in the package arcle 0.2.6 on PyPI. One
third (dev) is for choosing settings, two thirds (test) are for measuring. Never train on either.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import tyro

from solver.common.checks import InputError, shown
from solver.common.files import read_json, write_atomically
from submission.logs import run_command

DEV_SHARE = 3  # one task in three is for dev


def command(folder: tyro.conf.Positional[Path], out: Path = Path("build/unseen")) -> int:
    """Write dev and test challenges and solutions of MiniARC.

    Args:
        folder: The task files, NAME.json.
        out: Folder for {dev,test}_{challenges,solutions}.json.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: expected MiniARC's task files, got no *.json")
    parts: dict[str, dict[str, Any]] = {}
    for path in files:
        task, name = read_json(path), "m" + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:7]
        part = "test" if int(name[1:], 16) % DEV_SHARE else "dev"
        try:
            train = [{side: _grid(pair[side]) for side in ("input", "output")} for pair in task["train"]]
            test = [{"input": _grid(pair["input"])} for pair in task["test"]]
            outputs = [_grid(pair["output"]) for pair in task["test"]]
        except (TypeError, KeyError, ValueError):
            raise InputError(f"{path}: expected a task of MiniARC, got {shown(task)}") from None
        parts.setdefault(f"{part}_challenges", {})[name] = {"train": train, "test": test}
        parts.setdefault(f"{part}_solutions", {})[name] = outputs
    for part, tasks in parts.items():
        write_atomically(out / f"{part}.json", orjson.dumps(tasks))
        print(f"{out / part}.json: {len(tasks)} tasks")
    return 0


def _grid(rows: list[list[Any]]) -> list[list[int]]:
    """Colours as numbers: some files have text, or null for black."""
    return [[int(cell or 0) for cell in row] for row in rows]


if __name__ == "__main__":
    sys.exit(run_command(command, "benchmarks.unseen"))
