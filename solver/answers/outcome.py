"""What a run found, what it scores, and run.json, in which it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from solver.answers.attempts import Answers, answers_of
from solver.answers.fit_curve import FitCurve
from solver.answers.votes import Test, Votes
from solver.tasks.task import Task

LEAK_WARNING = "weights trained with --allow-leaks: these test outputs may have been in training"


STOPPED = "stopped before its time"


class Step(NamedTuple):
    """What the network answered for a test input, as the task is, after a supervision step."""

    grid: np.ndarray | None  # None: no grid could be read
    halting: float  # 0 to 1, probability
    changed: int | None  # cells that differ from the step before; None where there is no such grid of this size


@dataclass
class Outcome:
    """What a run did: its votes, and what it took."""

    votes: Votes
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "predict": 0.0})
    fit_steps: int = 0
    notes: list[str] = field(default_factory=list)  # what whoever reads its score must know
    rates: dict[str, float] = field(default_factory=dict)  # what `Planner.measured` says, to project from
    curve: FitCurve = field(default_factory=FitCurve)  # of all fits, one after the other
    steps: dict[Test, list[Step]] = field(default_factory=dict)  # where there was time to record them

    def answers(self, tasks: Sequence[Task]) -> Answers:
        """The attempts at every test input."""
        return answers_of(tasks, self.votes.ranked())
