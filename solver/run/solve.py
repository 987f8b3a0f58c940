"""The whole road: tasks -> variants -> fit -> predict -> count equal grids, in rounds, until the clock runs out.

What becomes of the votes (two attempts, submission.json, the record) is for whoever watches the run.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from solver.answers.outcome import LEAK_WARNING, Outcome
from solver.answers.votes import MOST_ROUNDS, Block, Votes, tests_of
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.model.weights import Knowledge
from solver.predict import Predictor
from solver.run.answer_steps import record_steps
from solver.run.schedule import ROUND_VOTES, VOTE_SHARE, Planner, Round
from solver.settings.config import SolveConfig
from solver.tasks.task import Task, without_test_outputs
from solver.tokens.decode import Ballot

COUNT_EVERY = 20.0  # seconds of votes that a kill may cost
STEPS_SHARE, STEPS_SECONDS = 0.02, 60.0  # of the time, and at most: kept for recording steps, where that is wished


class Progress(NamedTuple):
    """How far a run is, for whoever watches it."""

    round: int
    steps: int  # of fitting, of all groups
    loss: float  # a slot, nan before the first reading
    exact: float  # share of the demonstrations in work that are wholly right, lately
    votes: int
    agreed: int  # test inputs whose votes are nearly unanimous
    tests: int

    def text(self) -> str:
        """In a few words."""
        fit = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}, exact {self.exact:.1%}; "
        return f"{fit}{self.votes} votes, agreed on {self.agreed} of {self.tests} outputs"


class Watcher(Protocol):
    """What a run tells while it works; all of it may be ignored."""

    def beat(self, progress: Progress) -> None:
        """A step or a batch is done: the run is alive."""

    def voted(self, blocks: Sequence[Block]) -> None:
        """Votes have been counted."""

    def round_done(self, votes: Votes, fitting: Fitting) -> None:
        """A round is over: its votes are the best known so far."""


def solve(
    tasks: Sequence[Task],
    start: Knowledge,
    config: SolveConfig,
    clock: Clock,
    watcher: Watcher,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    votes: Votes | None = None,
    resumed: bool = False,
    keep_steps: bool = False,
) -> Outcome:
    """Fit and vote in rounds until the work or the clock is at its end.

    Groups of tasks that are fitted together come one after the other, those first that have fewest rounds of votes.
    A restarted run brings the `votes` that it has; `resumed` says that `start` is what its last round had fitted.
    `keep_steps`: whether to record the answers after every supervision step, in a little time that is kept for it.
    """
    tasks = [without_test_outputs(task) for task in tasks]
    outcome = Outcome(Votes(tasks) if votes is None else votes)
    if start.saw_test_outputs:
        outcome.notes.append(LEAK_WARNING)
    left_out = 0
    groups = sorted(config.fit.groups(tasks), key=lambda group: outcome.votes.rounds(tests_of(group)))
    for number, group in enumerate(groups):
        mine = clock.share(1 / (len(groups) - number))
        working = mine.part(max((1 - STEPS_SHARE) * mine.left(), mine.left() - STEPS_SECONDS)) if keep_steps else mine
        run = _Run(group, start, config, working, watcher, seed, autocast, outcome, resumed)
        run.rounds()
        if keep_steps:
            run.keep_steps(mine)
        left_out += run.left_out
    if left_out:
        fitted = f"{len(tasks) - left_out} of {len(tasks)}"
        outcome.notes.append(f"the time sufficed to fit {fitted} tasks, those that cost least")
    return outcome


class _Run:
    """The rounds of one group of tasks that are fitted together."""

    def __init__(
        self,
        tasks: Sequence[Task],
        start: Knowledge,
        config: SolveConfig,
        clock: Clock,
        watcher: Watcher,
        seed: int,
        autocast: torch.dtype | None,
        outcome: Outcome,
        resumed: bool,
    ) -> None:
        self._tasks, self._tests, self._config, self._clock = tasks, tests_of(tasks), config, clock
        self._watcher, self._autocast, self._outcome, self._votes = watcher, autocast, outcome, outcome.votes
        self._fitting = Fitting(tasks, start, config.fit, config.canvases, seed, autocast)
        self._fitting.limit_step(clock)
        self._round = self._votes.rounds(self._tests) if resumed else 0  # a fresh fit's votes weigh as any fresh fit's
        self._agreement = self._votes.agreement
        self._steps_before = outcome.fit_steps  # of other groups
        self._predictor: Predictor | None = None  # of the last votes
        wanted = max(len(variants) for variants in self._fitting.variants)
        most_votes = wanted if config.predict.augmentations is None else min(wanted, config.predict.augmentations)
        self._planner = Planner(tasks, self._fitting, self._votes, clock, config, most_votes, self._round)

    def rounds(self) -> None:
        """Fit and vote until the planner has no further round."""
        earlier = self._outcome.fit_steps, self._outcome.seconds["fit"]
        while (plan := self._planner.next_round()) is not None:
            self._fitting.focus(self._planner.weights())
            steps, began = self._fitting.steps, self._clock.elapsed()
            self._fitting.run(plan.fit, plan.first, plan.last, self._beat)
            voting = self._clock.elapsed()
            spoilt = self._fitting.failed and self._votes.rounds(self._tests) > 0
            if not spoilt:  # else the votes that there are are better than those of the start
                self._vote(self._planner.votes_of(plan))
            self._outcome.seconds["fit"] += voting - began
            self._outcome.seconds["predict"] += self._clock.elapsed() - voting
            self._outcome.fit_steps += self._fitting.steps - steps
            self._watcher.round_done(self._votes, self._fitting)
            if plan.last > 0:  # votes without a fit count like those of the first little fit
                self._round = min(self._round + 1, MOST_ROUNDS - 1)
        self._outcome.curve.extend(self._fitting.curve, *earlier)
        for name, value in self._planner.measured().items():
            self._outcome.rates[name] = self._outcome.rates.get(name, 0.0) + value

    @property
    def left_out(self) -> int:
        """How many tasks there was no time to fit."""
        return len(self._tasks) - self._planner.chosen if self._fitting.steps else 0

    def keep_steps(self, clock: Clock) -> None:
        """Record how the answers settled under the last fit, for the report, if `clock` allows."""
        if self._predictor is not None:
            began, tests = clock.elapsed(), self._planner.open_tests(0)
            given = (self._config.decoder, clock, self._autocast, self._beat)
            for number, steps in record_steps(self._predictor, tests, *given).items():
                self._outcome.steps[self._tests[number]] = steps
            self._outcome.seconds["predict"] += clock.elapsed() - began

    def _vote(self, plan: Round) -> None:
        """Vote with ever more variants, until the test inputs agree or the round's votes are there."""
        self._predictor = predictor = Predictor(
            self._tasks, self._fitting.fitted(), self._config.predict, self._config.canvases
        )
        clock = self._clock if plan.patient else self._clock.share(VOTE_SHARE)
        voted = 0
        while voted < plan.votes and not clock.expired():
            upto = min(plan.votes, max(ROUND_VOTES, 2 * voted))
            ballot, began = Ballot(len(self._tests)), clock.elapsed()
            counted = began
            for predictions in predictor.run(voted, upto, clock, self._autocast, self._planner.open_tests(voted)):
                if not clock.expired() or self._lacks_votes(predictions.samples.test):
                    ballot.add(predictions, self._config.decoder)  # else the clock may have cut them short
                (_, *canvas), now = predictions.tokens.shape, clock.elapsed()
                self._planner.rates.add((canvas[0], canvas[1]), len(predictions.samples.test), now - began)
                if now - counted > COUNT_EVERY:
                    self._count(ballot)
                    ballot, counted = Ballot(len(self._tests)), now
                began = clock.elapsed()
                self._beat()
            self._count(ballot)
            voted = upto

    def _lacks_votes(self, tests: np.ndarray) -> bool:
        """Whether one of these test inputs has no vote yet, so that even an unfinished answer is better than none."""
        return not all(self._votes.rounds([self._tests[test]]) for test in np.unique(tests))

    def _count(self, ballot: Ballot) -> None:
        """Add what a ballot holds to the votes, and tell it: from then on it is safe."""
        blocks = [
            Block(test, self._round, candidates)
            for number, test in enumerate(self._tests)
            if (candidates := ballot.ranked(number))
        ]
        for block in blocks:
            self._votes.add(block)
        self._agreement = self._votes.agreement
        if blocks:  # every prediction may have been an empty grid
            self._watcher.voted(blocks)

    def _beat(self) -> None:
        fitting, counts = self._fitting, (self._votes.total, *self._agreement)
        self._watcher.beat(
            Progress(self._round, self._steps_before + fitting.steps, fitting.loss, fitting.exact, *counts)
        )
