"""A challenges file of which every task must be answered: one broken task must not cost the others."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from solver import submission_file
from solver.candidates import Answers, baseline
from solver.checks import Grid, check_id, parse_grid
from solver.errors import InputError
from solver.files import file_name, read_json
from solver.sources import MAX_TASKS, load_tasks
from solver.submission_file import Attempts
from solver.tasks import Task, parse_task

BLANK = np.zeros((1, 1), np.uint8)  # the answer to what cannot be read

log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class Challenges:
    """The tasks of a source, and attempts at those that cannot be read."""

    tasks: Sequence[Task]
    broken: Answers = field(default_factory=dict)

    def write_fallbacks(self, path: Path) -> None:
        """Write a submission that needs no model, unless an earlier run's is there already. Raises InputError."""
        if not path.exists():
            self.write(path, baseline(self.tasks))

    def write(self, path: Path, answers: Mapping[str, Sequence[Attempts]]) -> None:
        """Write the submission: `answers` to the tasks, and something for the broken ones. Raises InputError."""
        submission_file.write(path, {**answers, **self.broken})


def load_challenges(source: str | Path) -> Challenges:
    """All tasks of `source`; of a file of many, each broken task is logged and kept in `broken`.

    Raises InputError if nothing can be read at all.
    """
    if isinstance(source, str) and not Path(source).is_file():
        return Challenges(load_tasks(source, lenient=True))
    document = read_json(source)
    if not isinstance(document, dict) or any(isinstance(document.get(key), list) for key in ("train", "test")):
        return Challenges(load_tasks(source, lenient=True))  # one task, or something to be refused with its own words
    tasks, broken = [], {}
    for task_id, item in document.items():
        try:
            tasks.append(parse_task(task_id, item, file_name(source)))
        except InputError as error:
            try:
                broken[check_id(task_id, file_name(source))] = _guesses(item)
                log.error("%s; its test outputs get blank attempts", error)
            except InputError:
                log.error("%s; it is left out", error)
    if len(document) > MAX_TASKS or not (tasks or broken):
        raise InputError(f"{file_name(source)}: expected 1 to {MAX_TASKS} tasks, got {len(document)}")
    return Challenges(tasks, broken)


def sample_answers(path: Path) -> Answers:
    """Kaggle's sample submission: what is left when the challenges cannot be read. Raises InputError."""
    return submission_file.read(path, submission_file.sample_counts(path) or {})


def _guesses(item: object) -> list[Attempts]:
    """As many attempts as a broken task seems to have test inputs: the input itself where that can be read."""
    tests = item.get("test") if isinstance(item, dict) else None
    inputs = [_grid(test) for test in tests] if isinstance(tests, list) else []
    return [(grid, BLANK) for grid in inputs or [BLANK]]


def _grid(test: object) -> Grid:
    try:
        return parse_grid(test.get("input") if isinstance(test, dict) else None, "input")
    except InputError:
        return BLANK
