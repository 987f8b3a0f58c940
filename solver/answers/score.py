"""Scores of a submission: Kaggle's, and two other averages in use by publications (pass@2 in all three).

A test output is right when either attempt equals it cell for cell. The scores differ in what they average over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

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


@dataclass(frozen=True)
class Reduction:
    """`correct` of `total`. `correct` is whole except in tasks_mean, where it is the sum of the tasks' shares."""

    correct: float
    total: int

    @property
    def score(self) -> float:
        """The share, 0..1."""
        return self.correct / self.total


@dataclass(frozen=True)
class TaskScore:
    """The result of one task. `hits`: per test output, the first attempt (1 or 2) that equals it, or None."""

    id: str
    hits: tuple[int | None, ...]

    @property
    def right(self) -> int:
        """Number of outputs that are right."""
        return sum(hit is not None for hit in self.hits)

    @property
    def total(self) -> int:
        """Number of outputs."""
        return len(self.hits)


@dataclass(frozen=True)
class Score:
    """The results of all tasks, and the three scores."""

    per_task: tuple[TaskScore, ...]

    @property
    def test_outputs(self) -> Reduction:
        """Kaggle's score: the share of test outputs that are right."""
        return Reduction(sum(row.right for row in self.per_task), sum(row.total for row in self.per_task))

    @property
    def tasks_mean(self) -> Reduction:
        """The mean over tasks of the share of their outputs that are right."""
        return Reduction(fsum(row.right / row.total for row in self.per_task), len(self.per_task))  # 3 thirds make 1

    @property
    def tasks_all(self) -> Reduction:
        """The share of tasks with every output right."""
        return Reduction(sum(row.right == row.total for row in self.per_task), len(self.per_task))

    def reductions(self) -> dict[str, Reduction]:
        """The three scores by name, Kaggle's first."""
        return {"test_outputs": self.test_outputs, "tasks_mean": self.tasks_mean, "tasks_all": self.tasks_all}

    def to_json(self) -> dict[str, dict[str, float]]:
        """{"test_outputs": {"correct": 59, "total": 172, "score": 0.343}, ...}, rounded to 4 decimals."""
        return {
            name: {"correct": round(part.correct, 4), "total": part.total, "score": round(part.score, 4)}
            for name, part in self.reductions().items()
        }


def score(answers: Mapping[str, Sequence[Attempts]], truths: Mapping[str, Sequence[Grid]]) -> Score:
    """Compare `answers` with the true outputs, in the order of `truths`.

    Raises InputError unless both have the same tasks with the same number of test outputs, as Kaggle requires.
    """
    _check_same_tasks(answers, truths)
    rows = []
    for task_id, outputs in truths.items():
        if len(answers[task_id]) != len(outputs) or not outputs:
            counts = f"{len(outputs)} test outputs, got answers for {len(answers[task_id])}"
            raise InputError(f"score: task {shown(task_id)}: expected {counts}")
        pairs = zip(answers[task_id], outputs, strict=True)
        rows.append(TaskScore(task_id, tuple(_first_hit(attempts, truth) for attempts, truth in pairs)))
    return Score(tuple(rows))


def _check_same_tasks(answers: Mapping[str, Sequence[Attempts]], truths: Mapping[str, Sequence[Grid]]) -> None:
    counts = f"{len(answers)} answered and {len(truths)} known"
    if not truths:
        raise InputError(f"score: expected at least one task with known test outputs, got {counts}")
    for task_id in truths:
        if task_id not in answers:
            raise InputError(f"score: expected the same tasks, got {counts}; {shown(task_id)} is not answered")
    for task_id in answers:
        if task_id not in truths:
            raise InputError(f"score: expected the same tasks, got {counts}; {shown(task_id)} is not known")


def _first_hit(attempts: Attempts, truth: Grid) -> int | None:
    for number, attempt in enumerate(attempts, start=1):
        if np.array_equal(attempt, truth):
            return number
    return None


def format_table(result: Score) -> str:
    """The three scores as text, one per line, Kaggle's first."""
    width = max(map(len, NAMES.values()))
    return "\n".join(
        f"{NAMES[name]:<{width}}  {part.correct:>7g} of {part.total:<4d} {part.score:>6.1%}"
        for name, part in result.reductions().items()
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
    truths = known_truths(tasks)
    return score(answers, truths) if truths else None


def known_truths(tasks: Sequence[Task]) -> dict[str, list[np.ndarray]] | None:
    """The test outputs of all tasks, or None if any is unknown."""
    truths = {task.id: [pair.output for pair in task.test if pair.output is not None] for task in tasks}
    return truths if all(len(truths[task.id]) == len(task.test) for task in tasks) else None
