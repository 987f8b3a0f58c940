"""Runs on a simulated clock: real rounds, with stand-ins for fitting and prediction that take a chosen time."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from solver.answers.fit_curve import FitCurve
from solver.answers.outcome import Outcome
from solver.answers.votes import Candidate, Test, Votes, tests_of
from solver.common.clock import Clock
from solver.run import solve
from solver.run.schedule import Round, Schedule
from solver.run.solve import Run
from solver.tasks.task import Pair, Task
from tests.solver.samples import config, run_through


def square_task(name: str, side: int, tests: int = 1) -> Task:
    """A task of square grids, so that all of its work is on one canvas."""
    grids = [np.full((side, side), colour, np.uint8) for colour in range(3)]
    return Task(name, (Pair(grids[0], grids[1]), Pair(grids[1], grids[2])), (Pair(grids[2], None),) * tests)


@dataclass
class World:
    """What the steps of a run cost, and what the run did."""

    pace: float = 1e-3  # seconds per token per step
    tokens: int = 1000  # per step
    vote_seconds: float = 1e-4  # per cell
    drift: tuple[float, ...] = (1.0,)  # factor on the cost of votes in each round; the last one stays
    agreeing: frozenset[Test] = frozenset()
    busy: tuple[float, float] = (0.0, 1.0)  # (until when, how many times slower the machine is)
    free: float = 0.0  # until when it is not yet slow
    variants: int = 32  # of each task
    now: float = 0.0
    plans: list[tuple[float, Round]] = field(default_factory=list)  # with the time left when it was made
    weights: list[list[float]] = field(default_factory=list)  # of each round's fit
    fitted: list[float] = field(default_factory=list)  # seconds of each round's fit
    votes: dict[tuple[int, Test], int] = field(default_factory=lambda: defaultdict(int))  # (round, test)

    @property
    def pace_now(self) -> float:
        """Seconds per token per step at present."""
        until, factor = self.busy
        return self.pace * (factor if self.free <= self.now < until else 1.0)

    def spend(self, seconds: float, clock: Clock, least: float = 0.0) -> None:
        """Work for `seconds`, or until the clock expires plus `least`."""
        self.now += min(seconds, max(clock.left(), 0.0) + least)


class StandInFitting:
    """Fits at the pace of the world."""

    def __init__(self, world: World, budget: float, tasks: Sequence[Task], *_: object) -> None:
        self._world, self._budget = world, budget
        self.variants = [range(world.variants)] * len(tasks)
        self.steps, self.tokens, self.loss, self.exact, self.failed, self.done = 0, 0, 1.0, 0.0, False, False
        self.seconds, self.curve, self.reused = 0.0, FitCurve(), 0
        self.pace = 3 * self._world.pace  # a poor guess, until it is measured

    def limit_step(self, clock: Clock) -> None:
        self.step = min(self._world.tokens, max(1, int(min(self._world.tokens, 0.02 * self._budget / self.pace))))

    def focus(self, weights: list[float]) -> None:
        self._world.weights.append(weights)

    def run(self, clock: Clock, first: float, last: float) -> Iterator[None]:
        began = self._world.now
        while not clock.expired() and not (clock.limit == float("inf") and self.steps >= 5):
            spent = self._world.pace_now * self.step
            self.steps, self.tokens, self.seconds = self.steps + 1, self.tokens + self.step, self.seconds + spent
            self.pace = self.seconds / self.tokens
            self._world.now += spent
            yield
        self._world.fitted.append(self._world.now - began)

    def fitted(self) -> None: ...


class StandInPredictor:
    """Predicts at the pace of the world."""

    def __init__(self, world: World, tests: Sequence[Test], tasks: Sequence[Task], *_: object) -> None:
        self._world, self._tests = world, tests
        self.canvas = [solve.predict_canvas_of(task) for task in tasks for _ in task.test]  # type: ignore[attr-defined]

    def run(self, first: int, last: int, clock: Clock, wanted: set[int]) -> Iterator[Any]:
        for test in sorted(wanted):
            number = len(self._world.plans) - 1
            cells = self.canvas[test][0] * self.canvas[test][1]
            each = self._world.vote_seconds * cells * self._world.drift[min(number, len(self._world.drift) - 1)]
            done = first
            while done < last and not clock.expired():
                count = min(last - done, max(1, int(min(last, 0.05 * clock.left() / each))))
                self._world.spend(each * count, clock, least=each / 16)
                self._world.votes[number, self._tests[test]] += count
                done += count
                samples = SimpleNamespace(test=np.full(count, test))
                yield SimpleNamespace(samples=samples, tokens=np.zeros((count, *self.canvas[test])))


class StandInBallot:
    """Counts two grids, or one where the world agrees."""

    def __init__(self, world: World, tests: Sequence[Test], count: int) -> None:
        self._world, self._tests = world, tests
        self.counts = [0] * count

    def add(self, predictions: Any, _: object) -> None:
        for test in predictions.samples.test:
            self.counts[test] += 1

    def ranked(self, number: int) -> list[Candidate]:
        one, two = np.zeros((1, 1), np.uint8), np.ones((1, 1), np.uint8)
        count = self.counts[number]
        split = 0 if self._tests[number] in self._world.agreeing else count // 2
        return [Candidate(g, votes, 0.5) for g, votes in ((one, count - split), (two, split)) if votes]


def tick(patch: pytest.MonkeyPatch) -> None:
    """Advance the clock by a hundredth of a second whenever it is read, however busy the machine is."""
    looks = itertools.count()
    patch.setattr("time.monotonic", lambda: next(looks) / 100)


def simulate(
    world: World,
    tasks: Sequence[Task],
    budget: float,
    patch: pytest.MonkeyPatch,
    votes: Votes | None = None,
    **more: Any,
) -> Outcome:
    """Run the pipeline in that world; `more` are fields of SolveConfig."""
    settings = replace(config(steps=None), **{"least_steps": 1, **more})
    settings = replace(
        settings,
        fit=replace(settings.fit, augmentations=world.variants),
        predict=replace(settings.predict, supervision_steps=16),
    )
    patch.setattr("solver.run.solve.Fitting", partial(StandInFitting, world, budget))
    patch.setattr("solver.run.solve.Predictor", partial(StandInPredictor, world, tests_of(tasks)))
    patch.setattr("solver.run.solve.Ballot", partial(StandInBallot, world, tests_of(tasks)))
    patch.setattr(
        "solver.run.solve.predict_canvas_of",
        lambda task: settings.canvases.bucket(task.test[0].input.shape, 1),
        raising=False,
    )
    patch.setattr("time.monotonic", lambda: world.now)
    real = Schedule.next_round

    def next_round(self: Schedule) -> Round | None:
        plan = real(self)
        if plan is not None:
            world.plans.append((self._clock.left(), plan))
        return plan

    patch.setattr(Schedule, "next_round", next_round)
    settings = replace(settings, fit=replace(settings.fit, known=True))
    start: Any = SimpleNamespace(
        saw_outputs_of=lambda _: False,
        rows={},
        model=SimpleNamespace(config=config().model),
        table=SimpleNamespace(device=SimpleNamespace(type="cpu")),
    )
    return run_through(Run(tasks, start, settings, Clock(budget)), votes=votes, resumed=votes is not None)
