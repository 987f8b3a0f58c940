"""The outcome of a run: its votes, times, notes and training curve."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from solver.answers.attempts import Answers, answers_of
from solver.answers.fit_curve import FitCurve
from solver.answers.votes import Test, Votes
from solver.tasks.task import Task

LEAK_WARNING = "by their own record the weights were trained on some of these test outputs, or with --allow-leaks"
STOPPED = "stopped before its time"


class Step(NamedTuple):
    """The network's answer after one supervision step, in the task's own symmetry and colours."""

    grid: np.ndarray | None  # None: the tokens form no grid
    halting: float  # probability, 0..1
    changed: int | None  # cells that differ from the previous step; None if it had no grid of this size


@dataclass
class Outcome:
    """What a run found and what it took."""

    votes: Votes
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "predict": 0.0})
    fit_steps: int = 0
    notes: list[str] = field(default_factory=list)  # caveats for readers of the score, such as LEAK_WARNING
    rates: dict[str, float] = field(default_factory=dict)  # from `Schedule.measured`, for projections
    curve: FitCurve = field(default_factory=FitCurve)  # all fits, one after the other
    steps: dict[Test, list[Step]] = field(default_factory=dict)  # empty where there was no time to record them

    def answers(self, tasks: Sequence[Task]) -> Answers:
        """The attempts for every test input."""
        return answers_of(tasks, self.votes.ranked())
