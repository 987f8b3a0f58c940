"""Scores of a submission: Kaggle's, and two other averages in use by publications (pass@2 in all three).

A test output is right when either attempt equals it cell for cell. The scores differ in what they average over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np

from solver.answers.attempts import Answers
from solver.answers.submission_json import Attempts
from solver.common.checks import Grid, InputError, one_line, shown
from solver.tasks.task import Task

NAMES = {
    "test_outputs": "Kaggle's score: share of test outputs",
    "tasks_mean": "mean over tasks of each task's share",
    "tasks_all": "share of tasks with all outputs right",
}


class Reduction(NamedTuple):
    """`correct` of `total`. `correct` is whole except in tasks_mean, where it is the sum of the tasks' shares."""

    correct: float
    total: int

    @property
    def score(self) -> float:
        """The share, 0..1."""
        return self.correct / self.total


class TaskScore(NamedTuple):
    """The result of one task. `hits`: per test output, the first attempt (1 or 2) that equals it, or None."""

    id: str
    hits: tuple[int | None, ...]

    @property
    def right(self) -> int:
        """The number of right outputs."""
        return sum(hit is not None for hit in self.hits)

    @property
    def total(self) -> int:
        """The number of outputs."""
        return len(self.hits)


@dataclass(frozen=True)
class Score:
    """The results of all tasks, and the three scores."""

    per_task: tuple[TaskScore, ...]

    @property
    def test_outputs(self) -> Reduction:
        """The share of test outputs that are right."""
        return Reduction(sum(row.right for row in self.per_task), sum(row.total for row in self.per_task))

    @property
    def tasks_mean(self) -> Reduction:
        """The mean over tasks of the share of their outputs that are right."""
        return Reduction(fsum(row.right / row.total for row in self.per_task), len(self.per_task))  # 3 thirds make 1

    @property
    def tasks_all(self) -> Reduction:
        """The share of tasks with every output right."""
        return Reduction(sum(row.right == row.total for row in self.per_task), len(self.per_task))

    def to_json(self) -> dict[str, dict[str, float]]:
        """{"test_outputs": {"correct": 59, "total": 172, "score": 0.343}, ...}, rounded to 4 decimals."""
        parts: dict[str, Reduction] = {name: getattr(self, name) for name in NAMES}
        return {
            name: {"correct": round(part.correct, 4), "total": part.total, "score": round(part.score, 4)}
            for name, part in parts.items()
        }


def score(answers: Mapping[str, Sequence[Attempts]], truths: Mapping[str, Sequence[Grid]]) -> Score:
    """Compare `answers` with the true outputs, in the order of `truths`. Raises InputError unless the tasks match."""
    counts = f"{len(answers)} answered and {len(truths)} known"
    if not truths:
        raise InputError(f"score: expected at least one task with known test outputs, got {counts}")
    for odd, words in ((truths.keys() - answers.keys(), "answered"), (answers.keys() - truths.keys(), "known")):
        if odd:
            raise InputError(f"score: expected the same tasks, got {counts}; {shown(min(odd))} is not {words}")
    rows = []
    for task_id, outputs in truths.items():
        if len(answers[task_id]) != len(outputs) or not outputs:
            counts = f"{len(outputs)} test outputs, got answers for {len(answers[task_id])}"
            raise InputError(f"score: task {shown(task_id)}: expected {counts}")
        hits = []
        for attempts, truth in zip(answers[task_id], outputs, strict=True):
            right = (number for number, grid in enumerate(attempts, start=1) if np.array_equal(grid, truth))
            hits.append(next(right, None))
        rows.append(TaskScore(task_id, tuple(hits)))
    return Score(tuple(rows))


def format_table(result: Score) -> str:
    """The three scores as text, one per line, Kaggle's first."""
    width = max(map(len, NAMES.values()))
    return "\n".join(
        f"{words:<{width}}  {part.correct:>7g} of {part.total:<4d} {part.score:>6.1%}"
        for words, part in ((NAMES[name], getattr(result, name)) for name in NAMES)
    )


def format_per_task(result: Score) -> str:
    """One line per task: id, right outputs, all outputs, and per output the attempt that is right (- for none)."""
    ids = [one_line(row.id) for row in result.per_task]
    width = max(map(len, ["task", *ids]))
    lines = [f"{'task':<{width}}  right  total  attempt that hit"]
    for name, row in zip(ids, result.per_task, strict=True):
        hits = " ".join("-" if hit is None else str(hit) for hit in row.hits)
        lines.append(f"{name:<{width}}  {row.right:>5}  {row.total:>5}  {hits}")
    return "\n".join(lines)


def score_result(tasks: Sequence[Task], answers: Answers) -> Score | None:
    """The score of attempts, or None if any test output of the tasks is unknown."""
    truths = {task.id: [pair.output for pair in task.test if pair.output is not None] for task in tasks}
    known = tasks and all(len(truths[task.id]) == len(task.test) for task in tasks)
    return score(answers, truths) if known else None
