"""From ranked candidates to two attempts, and attempts that need no model."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from solver.answers.guesses import guesses
from solver.answers.submission_json import Attempts
from solver.answers.votes import Candidate, grid_key
from solver.tasks.task import Task

Answers = dict[str, list[Attempts]]
"""Task id -> the attempts for each of its test inputs, in order."""


def fallbacks(task: Task, test_index: int) -> Attempts:
    """The test input and the most common demonstration output; the input first if all pairs keep their size."""
    copy = task.test[test_index].input
    outputs = [pair.output for pair in task.train if pair.output is not None]
    keys = [grid_key(grid) for grid in outputs]
    common = outputs[keys.index(max(keys, key=keys.count))]
    keeps_size = all(pair.output is not None and pair.output.shape == pair.input.shape for pair in task.train)
    return (copy, common) if keeps_size else (common, copy)


@lru_cache(maxsize=4096)  # a run writes its submission many times
def _without_model(task: Task, test_index: int) -> tuple[tuple[np.ndarray, ...], Attempts]:
    return tuple(guesses(task.train, task.test[test_index].input)), fallbacks(task, test_index)


def two_attempts(candidates: Sequence[Candidate], task: Task, test_index: int) -> Attempts:
    """The best candidate and the first guess; where there is none, the second candidate, then the fallbacks.

    A guess comes before the second candidate, as it is right 72 times of 73 (docs/results.md). Equal attempts only if
    there is no other grid.
    """
    voted = [candidate.grid for candidate in candidates[:2]]
    guessed, others = _without_model(task, test_index)
    grids: list[np.ndarray] = []
    for grid in (*voted[:1], *guessed, *voted[1:], *others):
        if not any(np.array_equal(grid, known) for known in grids):
            grids.append(grid)
    return grids[0], grids[1] if len(grids) > 1 else grids[0]


def answers_of(tasks: Sequence[Task], candidates: Mapping[str, Sequence[Sequence[Candidate]]]) -> Answers:
    """The attempts for every test input. `candidates[task_id][test_index]` is ranked, and empty if there are none."""
    return {
        task.id: [two_attempts(candidates[task.id][index], task, index) for index in range(len(task.test))]
        for task in tasks
    }


def first_answers(tasks: Sequence[Task]) -> Answers:
    """The fallbacks alone: guesses would double the time to the first submission."""
    return {task.id: [fallbacks(task, index) for index in range(len(task.test))] for task in tasks}


def baseline(tasks: Sequence[Task]) -> Answers:
    """The guesses and fallbacks for every test input."""
    return {task.id: [two_attempts((), task, index) for index in range(len(task.test))] for task in tasks}
