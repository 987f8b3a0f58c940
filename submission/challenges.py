"""A challenges file whose every task must be answered: one broken task must not lose the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from solver.answers import submission_json
from solver.answers.attempts import Answers, baseline, first_answers
from solver.answers.submission_json import Attempts, expected_counts
from solver.common.checks import InputError, check_id, parse_grid
from solver.common.files import file_name, read_json
from solver.tasks.load import MAX_TASKS, is_task, load_tasks
from solver.tasks.task import Task, parse_task

BLANK = np.zeros((1, 1), np.uint8)  # the attempt for an unreadable test input


@dataclass(frozen=True)
class Challenges:
    """The valid tasks of a source, and attempts for the broken ones."""

    tasks: Sequence[Task]
    broken: Answers = field(default_factory=dict)
    faults: Sequence[str] = ()  # what is wrong with them, one line each

    def answered_by(self, path: Path) -> bool:
        """Whether `path` is a valid submission for exactly these tasks."""
        broken = {task_id: len(entries) for task_id, entries in self.broken.items()}
        return is_valid(path, expected_counts(self.tasks) | broken)

    def write_fallbacks(self, path: Path) -> None:
        """Write the fallbacks, unless there is a valid submission of an earlier run. Raises InputError."""
        if not self.answered_by(path):
            for answers in (first_answers, baseline):
                self.write(path, answers(self.tasks))

    def write(self, path: Path, answers: Mapping[str, Sequence[Attempts]]) -> None:
        """Write a submission with `answers` and the attempts for broken tasks. Raises InputError."""
        submission_json.write(path, {**answers, **self.broken})


def load_challenges(source: str | Path, counts: Mapping[str, int] | None = None) -> Challenges:
    """All tasks of `source`, broken ones of a challenges file in `broken`. Raises InputError if there is none at all.

    `counts`: test outputs per task, from a sample submission; without it, guessed for broken tasks.
    """
    document = read_json(source) if Path(source).is_file() else None
    if not isinstance(document, dict) or is_task(document):  # no file of tasks, or one that load_tasks refuses
        return Challenges(load_tasks(source, lenient=True))
    tasks, broken, faults = [], {}, []
    for task_id, item in document.items():
        try:
            tasks.append(parse_task(task_id, item, file_name(source)))
        except InputError as error:
            try:
                guesses = _guesses(item)
                count = (counts or {}).get(task_id, len(guesses))
                broken[check_id(task_id, file_name(source))] = [*guesses, *[(BLANK, BLANK)] * count][:count]
                faults.append(f"{error}; its test outputs get attempts that need no model")
            except InputError:
                faults.append(f"{error}; it is left out")
    if len(document) > MAX_TASKS or not (tasks or broken):
        raise InputError(f"{file_name(source)}: expected 1 to {MAX_TASKS} tasks, got {len(document)}")
    return Challenges(tasks, broken, faults)


def is_valid(path: Path, counts: Mapping[str, int]) -> bool:
    """Whether `path` is a valid submission with exactly these tasks and test outputs."""
    try:
        submission_json.check(path, counts)
    except InputError:
        return False
    return True


def sample_answers(path: Path) -> Answers:
    """The attempts in Kaggle's sample submission, for unreadable challenges. Raises InputError."""
    return submission_json.read(path, submission_json.sample_counts(path) or {})


def _guesses(item: object) -> list[Attempts]:
    """One pair of attempts per test input of a broken task: the input if it is valid, and a blank."""
    tests = item.get("test") if isinstance(item, dict) else None
    guesses: list[Attempts] = []
    for test in tests if isinstance(tests, list) else []:
        try:
            guesses.append((parse_grid(test.get("input") if isinstance(test, dict) else None, "input"), BLANK))
        except InputError:
            guesses.append((BLANK, BLANK))
    return guesses or [(BLANK, BLANK)]
