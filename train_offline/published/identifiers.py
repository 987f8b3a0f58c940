"""Rebuilds the names of a published table's rows, as the published build script numbers them.

Public checkpoints come without identifiers.json. The script draws the variants of the tasks with numpy's legacy
generator, seeded with 42, so the names follow from the task files of its repository (folder kaggle/combined).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from kernels.symmetry import PERMUTED, SYMMETRIES, apply_symmetry
from solver.common.checks import InputError, shown
from solver.tasks.load import load_tasks
from solver.tasks.task import Pair, Task

SEED, VARIANTS, TRIES = 42, 1000, 5  # of the script: variants beside the identity, draws for each
BLANK = "<blank>"  # the name of row 0

RECIPES = {  # training run -> subsets in the order of the script, sha256 of the list of names as JSON
    "arc1": (
        ("training", "evaluation", "concept"),
        "dfb85f6f9a9a3937baeb7e3dbc6d4ad496cf62d10f7c58fb9e678b5a32231dc4",
    ),
    "arc2": (
        ("training2", "evaluation2", "concept"),
        "a2470b9c2028aa15ea6dcee75ce05a1cf9e602de6a3140bf24209741b2aeb70c",
    ),
}


def rebuild_identifiers(folder: Path, rows: int) -> tuple[list[str], list[Task]]:
    """The names of a table of so many rows, and the tasks that they belong to.

    Raises InputError if the files are not those of the published repository, or lead to another number of rows.
    """
    counts = []
    for run, (subsets, digest) in RECIPES.items():
        tasks = [_read(folder, subset) for subset in subsets]
        names = names_of(tasks, VARIANTS)
        counts.append(f"{len(names):,} ({run})")
        if len(names) == rows:
            got = hashlib.sha256(orjson.dumps(names)).hexdigest()
            if got != digest:
                raise InputError(f"{folder}: expected the published task files (sha256 {digest}), got others: {got}")
            return names, [task for subset in tasks for task in subset]
    raise InputError(f"{folder}: expected task files for {rows:,} rows, got {' and '.join(counts)}: give --identifiers")


def names_of(subsets: Sequence[Sequence[Task]], variants: int) -> list[str]:
    """The names of all rows: the blank one, then every task with its variants, subsets in random order each."""
    generator, names = np.random.RandomState(SEED), [BLANK]
    for subset in subsets:
        tasks = list(subset)
        generator.shuffle(tasks)  # type: ignore[arg-type]  # a list is shuffled in place
        for task in tasks:
            names += _variants(task, variants, generator)
    return names


def _variants(task: Task, count: int, generator: np.random.RandomState) -> list[str]:
    """The identity, then variants by their content: one that changes nothing more is drawn again, up to a limit."""
    names, pairs = [task.id], (*task.train, *task.test)
    turned = [[_grids(pair, symmetry) for pair in pairs] for symmetry in range(SYMMETRIES)]
    seen = {_content(turned[0], bytes(range(256)))}
    for _ in range(TRIES * count):
        if len(names) > count:
            break
        symmetry, permutation = generator.randint(0, SYMMETRIES), np.arange(10, dtype=np.uint8)
        permutation[1:] = generator.permutation(np.array(PERMUTED, np.uint8))
        content = _content(turned[symmetry], permutation.tobytes().ljust(256))
        if content not in seen:
            seen.add(content)
            # even the identity is written out
            digits = "".join(map(str, permutation))
            names.append(f"{task.id}|||t{symmetry}|||{digits}")
    return names


def _grids(pair: Pair, symmetry: int) -> tuple[bytes, bytes]:
    """The shapes of both grids of a pair under a symmetry, and their cells."""
    assert pair.output is not None
    source, target = (apply_symmetry(grid, symmetry) for grid in (pair.input, pair.output))
    return bytes((*source.shape, *target.shape)), source.tobytes() + target.tobytes()


def _content(pairs: Sequence[tuple[bytes, bytes]], colours: bytes) -> int:
    return hash(tuple(sorted(shapes + cells.translate(colours) for shapes, cells in pairs)))


def _read(folder: Path, subset: str) -> list[Task]:
    challenges, solutions = (folder / f"arc-agi_{subset}_{kind}.json" for kind in ("challenges", "solutions"))
    tasks = load_tasks(str(challenges), solutions)
    if any(pair.output is None for task in tasks for pair in task.test):
        raise InputError(f"{solutions}: expected every test output of {shown(challenges.name)}, got fewer")
    return tasks
