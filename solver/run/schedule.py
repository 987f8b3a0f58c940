"""What the clock is spent on: which tasks, how much fitting, how many votes, from rates that the run measures itself.

A run goes in rounds: fit a little, vote a little, then more of both, so that whatever ends it finds the best answer
that was to be had by then. What the start knows already is voted on before any fitting: on a slow machine the clock may
end the run before a fit is worth more. Without a budget there is one round: all the fitting, then all the votes.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from kernels.canvas import Canvas
from solver.answers.votes import Test, Votes, agreed_tasks, tests_of
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.settings.config import CanvasConfig, SolveConfig
from solver.tasks.task import Task
from solver.tokens.canvases import fit_canvas, predict_canvas

ROUND_ENDS = (0.03, 0.125, 0.25, 0.5, 1.0)  # of the fitting schedule; the first round also measures the pace
ROUND_VOTES = 8  # a test input in every round but the last, and in every round where it agrees already
VOTE_SHARE = 0.1  # of the time left that the votes of a round may take before the last
LAP_START = 0.75  # where the schedule of further rounds begins, when the first pass through it left time
WORTH = 0.08  # share of the budget below which a further round is not begun
MARGIN = 1.15  # on what votes are expected to take
CHOICES = 2  # of tasks: with a guess at the pace, and once more when it has been measured; later ones only add
AGREED_WEIGHT = 0.25  # how often a task is visited whose votes agree, relative to the others
PREDICTION = 1 / 3  # what a supervision step costs in prediction, relative to training


class Round(NamedTuple):
    """Some fitting, then some votes."""

    fit: Clock
    first: float  # where the fitting schedule begins and ends, 0 to 1
    last: float
    votes: int  # of a test input that does not agree yet
    patient: bool  # whether the votes may take all the time that is left


class Rates:
    """Seconds that a vote takes on each canvas, measured."""

    def __init__(self) -> None:
        self._seconds: dict[Canvas, float] = defaultdict(float)
        self._votes: dict[Canvas, int] = defaultdict(int)

    def add(self, canvas: Canvas, votes: int, seconds: float) -> None:
        """What some votes took."""
        self._seconds[canvas] += seconds
        self._votes[canvas] += votes

    def vote(self, canvas: Canvas) -> float | None:
        """Seconds a vote; for a canvas not met yet in proportion to its cells, None before any vote."""
        if self._votes[canvas]:
            return self._seconds[canvas] / self._votes[canvas]
        cells = sum(votes * _cells(met) for met, votes in self._votes.items())
        return sum(self._seconds.values()) / cells * _cells(canvas) if cells else None


class Planner:
    """Decides the rounds of a run for `tasks`, one after the other."""

    def __init__(
        self,
        tasks: Sequence[Task],
        fitting: Fitting,
        votes: Votes,
        clock: Clock,
        config: SolveConfig,
        most_votes: int,
        rounds_done: int = 0,
    ) -> None:
        """`most_votes`: of a test input in one round. `rounds_done`: of the schedule, by the run that is resumed."""
        self.rates = Rates()
        self._tasks, self._fitting, self._votes, self._clock = tasks, fitting, votes, clock
        self._total, self._fit_share, self._most_votes = clock.left(), config.fit_share, most_votes
        self._canvas: dict[Test, Canvas] = {}
        for task in tasks:
            for index in range(len(task.test)):
                self._canvas[task.id, index] = predict_canvas(task, index, config.canvases)
        self._pair_tokens = 0
        # tasks that are voted on even if the time is too short to fit them
        self._known = {test[0] for test in self._canvas if votes.rounds([test])} if rounds_done else fitting.known
        self._opening = bool(self._known) and not rounds_done and clock.limit < math.inf and not fitting.done
        depth = config.predict.supervision_steps * most_votes * PREDICTION
        self._cost = [self._task_tokens(task, config.canvases, config.least_steps, depth) for task in tasks]
        self._chosen = [not self._opening or task.id in self._known for task in tasks]
        self._round = min(rounds_done, len(ROUND_ENDS) - 1)  # of ROUND_ENDS
        self._first = min(LAP_START, ROUND_ENDS[self._round - 1]) if rounds_done else 0.0
        self._over = False
        self._through = False  # the schedule, once
        self._choices = 0

    def next_round(self) -> Round | None:
        """What to do next, None when there is nothing more to do or no time for it."""
        if self._over or self._clock.expired():
            return None
        if self._clock.limit == math.inf or self._fitting.done:
            self._over = True
            return Round(self._clock, self._first, 1.0, self._most_votes, True)
        if self._opening:
            self._opening = False
            return Round(self._clock.part(0), 0.0, 0.0, self._few, True)
        if self._round == len(ROUND_ENDS):  # the schedule is through: begin a further round if it is worth it
            if self._clock.left() < WORTH * self._total:
                return None
            self._round, self._first, self._through = len(ROUND_ENDS) - 1, LAP_START, True
        self._choose()
        first, last = self._first, ROUND_ENDS[self._round]
        self._round, self._first = self._round + 1, last
        seconds = self._fitting_seconds() * (last - first) / (1 - first)
        final = last == 1.0
        return Round(self._clock.part(seconds), first, last, self._most_votes if final else self._few, final)

    def votes_of(self, plan: Round) -> Round:
        """The plan of a round once its fitting is over: where there is nothing more to fit, its votes are the last."""
        if not self._fitting.done:
            return plan
        self._over = True
        return plan._replace(votes=self._most_votes, patient=True)

    def weights(self) -> list[float]:
        """How often each task is visited in fitting; 0 where the time is too short for it.

        Votes that agree before the schedule is through often agree on something wrong (LOG.md): they save votes only.
        """
        agreed = agreed_tasks(self._votes, self._tasks if self._through else ())
        pairs = zip(self._tasks, self._chosen, strict=True)
        return [(AGREED_WEIGHT if agreed.get(task.id) else 1.0) if chosen else 0.0 for task, chosen in pairs]

    @property
    def chosen(self) -> int:
        """How many tasks are worth fitting in the time."""
        return sum(self._chosen)

    def measured(self) -> dict[str, float]:
        """What a longer run of like tasks can be projected from.

        Seconds and tokens of all steps of fitting, tokens of all pairs, seconds that all votes of all tests take.
        """
        rates = [self.rates.vote(canvas) for canvas in self._canvas.values()]
        return {
            "fit_seconds": self._fitting.seconds,
            "fit_tokens": float(self._fitting.tokens),
            "pair_tokens": float(self._pair_tokens),
            "vote_seconds": sum(self._most_votes * rate for rate in rates if rate is not None),
        }

    def open_tests(self, voted: int) -> set[int]:
        """The numbers of the test inputs to vote on when each has `voted` votes of this round."""
        agreed = voted >= self._few
        chosen = {task.id for task, chosen in zip(self._tasks, self._chosen, strict=True) if chosen} | self._known
        return {
            number
            for number, test in enumerate(tests_of(self._tasks))
            if test[0] in chosen and not (agreed and self._votes.agreed(test))
        }

    @property
    def _few(self) -> int:
        return min(ROUND_VOTES, self._most_votes)

    def _fitting_seconds(self) -> float:
        """Of the time left, what to spend on the rest of the schedule."""
        left = self._clock.left()
        final = self._voting_seconds(self._most_votes)
        if final is None:
            return self._fit_share * left
        between = (len(ROUND_ENDS) - self._round) * (self._voting_seconds(self._few) or 0.0)
        return min(max(left - MARGIN * (final + between), 0.3 * left), 0.97 * left)

    def _voting_seconds(self, votes: int) -> float | None:
        """What so many votes of every open test input are expected to take; None before any vote."""
        total = 0.0
        tests, open_tests = tests_of(self._tasks), self.open_tests(self._few)
        for number in self.open_tests(0):
            test = tests[number]
            rate = self.rates.vote(self._canvas[test])
            if rate is None:
                return None
            total += rate * (votes if number in open_tests else min(votes, self._few))
        return total

    def _choose(self) -> None:
        """Choose as many tasks as the time allows to fit well, those first that cost least.

        A machine that was busy when the pace was measured leaves time for more: what is being fitted goes on, and
        tasks join it.
        """
        begun = self._chosen if self._choices >= CHOICES else [False] * len(self._tasks)
        self._choices += 1
        affordable = self._fit_share * self._clock.left() / self._fitting.pace / (1 - self._first)  # a part is done
        self._chosen = [False] * len(self._tasks)
        for number in sorted(range(len(self._tasks)), key=lambda n: (self._cost[n], n)):
            affordable -= self._cost[number]
            self._chosen[number] = affordable >= 0
        self._chosen[min(range(len(self._tasks)), key=lambda n: (self._cost[n], n))] = True
        self._chosen = [new or old for new, old in zip(self._chosen, begun, strict=True)]

    def _task_tokens(self, task: Task, canvases: CanvasConfig, least_steps: int, depth: float) -> float:
        """What it takes to learn a task and vote on it, in tokens that go through a training step."""
        learned = sum(_cells(fit_canvas(pair, canvases)) for pair in task.train)
        self._pair_tokens += learned
        asked = sum(_cells(self._canvas[task.id, index]) for index in range(len(task.test)))
        return least_steps * learned + depth * asked


def _cells(canvas: Canvas) -> int:
    return canvas[0] * canvas[1]
