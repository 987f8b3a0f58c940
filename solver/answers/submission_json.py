"""submission.json, the file that Kaggle scores: build, check, read and write.

    {task id: [{"attempt_1": grid, "attempt_2": grid}, ... one for each test input, in order], ... every task}

One bad entry makes Kaggle refuse the whole file, so writing raises on everything that the check would refuse.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import orjson

from solver.common.checks import Grid, InputError, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically
from solver.tasks.task import Task

Attempts: TypeAlias = tuple[Grid, Grid]
"""The two answers for one test input, the better one first."""

FILE_NAME = "submission.json"
KEYS = ("attempt_1", "attempt_2")


def expected_counts(tasks: Iterable[Task]) -> dict[str, int]:
    """Task id -> number of test inputs, which a submission must cover."""
    return {task.id: len(task.test) for task in tasks}


def sample_counts(path: str | Path) -> dict[str, int] | None:
    """Task id -> number of entries in a submission such as Kaggle's sample; None if the file is not a submission."""
    document = read_json(path)
    if not isinstance(document, dict) or not document:
        return None
    entries = next(iter(document.values()))
    first = entries[0] if isinstance(entries, list) and entries else None
    if not (isinstance(first, dict) and KEYS[0] in first):
        return None
    return {task_id: len(entries) if isinstance(entries, list) else 0 for task_id, entries in document.items()}


def build(answers: Mapping[str, Sequence[Attempts]]) -> bytes:
    """The file's bytes. Raises InputError for a grid or a number of attempts that Kaggle would refuse."""
    document: dict[str, list[dict[str, object]]] = {}
    for task_id, entries in answers.items():
        where = f"submission: task {shown(check_id(task_id, 'submission'))}"
        if not entries:
            raise InputError(f"{where}: expected at least one pair of attempts, got none")
        document[task_id] = []
        for index, attempts in enumerate(entries):
            if len(attempts) != len(KEYS):
                raise InputError(f"{where}: [{index}]: expected {len(KEYS)} attempts, got {len(attempts)}")
            named = [(key, f"{where}: [{index}].{key}", grid) for key, grid in zip(KEYS, attempts, strict=True)]
            document[task_id].append({key: parse_grid(grid, place).tolist() for key, place, grid in named})
    return orjson.dumps(document)


def write(path: str | Path, answers: Mapping[str, Sequence[Attempts]]) -> None:
    """Write the file atomically. On InputError, from `build` or from writing, the old file stays."""
    write_atomically(path, build(answers))


def read(path: str | Path, expected: Mapping[str, int]) -> dict[str, list[Attempts]]:
    """The checked attempts in a file, ordered as `expected` (task id -> number of test inputs). Raises InputError."""
    return _parse(read_json(path), expected, file_name(path))


def check(submission: object, expected: Mapping[str, int]) -> None:
    """Raise InputError if Kaggle would refuse `submission`, a path or the parsed document; name task, test, attempt."""
    if isinstance(submission, str | Path):
        read(submission, expected)
    else:
        _parse(submission, expected, "submission")


def _parse(document: object, expected: Mapping[str, int], name: str) -> dict[str, list[Attempts]]:
    if not isinstance(document, dict):
        raise fault(name, "an object {task id: [attempts, ...]}", document)
    missing = [task_id for task_id in expected if task_id not in document]
    if missing:
        counts = f"{len(missing)} of {len(expected)} are missing, for example {shown(missing[0])}"
        raise InputError(f"{name}: expected every task, got fewer: {counts}")
    surplus = [task_id for task_id in document if task_id not in expected]
    if surplus:
        counts = f"{len(surplus)} others as well, for example {shown(surplus[0])}"
        raise InputError(f"{name}: expected the {len(expected)} tasks of the challenges alone, got {counts}")
    result: dict[str, list[Attempts]] = {}
    for task_id, count in expected.items():
        where, entries = f"{name}: task {shown(task_id)}", document[task_id]
        if not isinstance(entries, list):
            raise fault(where, f"a list of {count} entries, one per test input", entries)
        if len(entries) != count:
            raise InputError(f"{where}: expected {count} entries, one per test input, got {len(entries)}")
        result[task_id] = [parse_attempts(entry, f"{where}: [{index}]") for index, entry in enumerate(entries)]
    return result


def parse_attempts(entry: object, where: str) -> Attempts:
    """The attempts in {"attempt_1": grid, "attempt_2": grid}. Raises InputError that begins with `where`."""
    if not isinstance(entry, dict):
        raise fault(where, f"an object with {KEYS[0]} and {KEYS[1]}", entry)
    for key in KEYS:
        if key not in entry:
            raise InputError(f"{where}.{key}: expected a grid, got none")
    for key in entry:
        if key not in KEYS:
            raise fault(where, f"{KEYS[0]} and {KEYS[1]} alone", key)
    return parse_grid(entry[KEYS[0]], f"{where}.{KEYS[0]}"), parse_grid(entry[KEYS[1]], f"{where}.{KEYS[1]}")
