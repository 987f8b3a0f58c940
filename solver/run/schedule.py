"""How a run spends its clock: which tasks, how much fitting, how many votes, by rates that the run measures itself.

A run goes in rounds: fit a little, vote a little, then more of both, so that it can be stopped at any time and still
has the best answers that the time allowed. Without a budget there is one round: all the fitting, then all the votes.

An example: 3 tasks, a budget of 600 s, at most 64 votes per test input.

    round 1    fit 0 to 3 % of the schedule; 8 votes   also measures the pace. It is slow: by the time left, only A and
                                                       B (they cost least) would get 400 steps per pair, so C waits
    round 2    fit 3 to 12.5 %; 8 votes                the pace is better than it seemed: C joins the fit
    round 3    fit 12.5 to 25 %; 8 votes
    round 4    fit 25 to 50 %; 8 votes
    round 5    fit 50 to 100 %, as long as leaves time for its votes; 64 votes, but 8 where A's votes agree already
    round 6    time is left: fit 75 to 100 % once more, A less often because its votes agree; 64 votes
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from kernels.canvas import Canvas
from solver.answers.votes import Test, Votes, agreed_tasks, tests_of
from solver.common.clock import Clock
from solver.settings.config import SolveConfig
from solver.tasks.task import Task
from solver.tokens.canvases import fit_canvas, predict_canvas

if TYPE_CHECKING:  # the schedule itself needs no torch
    from solver.fit import Fitting

ROUND_ENDS = (0.03, 0.125, 0.25, 0.5, 1.0)  # of the fitting schedule; the first round also measures the pace
ROUND_VOTES = 8  # per test input in every round but the last, and in every round where its votes agree
VOTE_SHARE = 0.1  # of the time left that the votes of a round may take before the last
LAP_START = 0.75  # where the schedule of further rounds begins, when the first pass through it left time
WORTH = 0.08  # share of the budget below which a further round is not begun
SURE_VOTES = 64  # per test input, for which time is set aside; more take no more than what fitting does not get
MARGIN = 1.15  # safety factor on the expected time of votes
CHOICES = 2  # the first choices of tasks may drop some (a guessed pace, then the measured one); later ones only add
AGREED_WEIGHT = 0.25  # visits of a task whose votes agree, relative to other tasks
PREDICTION = 1 / 3  # cost of a supervision step in prediction, relative to training


class Round(NamedTuple):
    """Some fitting, then some votes."""

    fit: Clock
    first: float  # where in the fitting schedule the round begins and ends, 0 to 1
    last: float
    votes: int  # per test input whose votes do not agree yet
    patient: bool  # whether the votes may take all the time left


class Rates:
    """Measured seconds per vote on each canvas."""

    def __init__(self) -> None:
        self._seconds: dict[Canvas, float] = defaultdict(float)
        self._votes: dict[Canvas, int] = defaultdict(int)

    def add(self, canvas: Canvas, votes: int, seconds: float) -> None:
        self._seconds[canvas] += seconds
        self._votes[canvas] += votes

    def vote(self, canvas: Canvas) -> float | None:
        """Seconds per vote; on a canvas without votes in proportion to its cells; None before any vote."""
        if self._votes[canvas]:
            return self._seconds[canvas] / self._votes[canvas]
        cells = sum(votes * _cells(met) for met, votes in self._votes.items())
        return sum(self._seconds.values()) / cells * _cells(canvas) if cells else None


class Schedule:
    """Decides the rounds of a run of `tasks`, one after the other."""

    def __init__(
        self,
        tasks: Sequence[Task],
        fitting: "Fitting",
        votes: Votes,
        clock: Clock,
        config: SolveConfig,
        most_votes: int,
        rounds_done: int = 0,
    ) -> None:
        """`most_votes` per test input in one round; `rounds_done` by the run that this one resumes."""
        self.rates = Rates()
        self._tasks, self._fitting, self._votes, self._clock = tasks, fitting, votes, clock
        self._total, self._fit_share, self._most_votes = clock.left(), config.fit_share, most_votes
        self._canvas: dict[Test, Canvas] = {}
        for task in tasks:
            for index in range(len(task.test)):
                self._canvas[task.id, index] = predict_canvas(task, index, config.canvases)
        learned = [sum(_cells(fit_canvas(pair, task.train, config.canvases)) for pair in task.train) for task in tasks]
        asked = [sum(_cells(self._canvas[test]) for test in tests_of([task])) for task in tasks]
        self._pair_tokens = sum(learned)
        # tasks of a resumed run, which get votes even if the time is too short to fit them further
        self._known = {test[0] for test in self._canvas if votes.rounds([test])} if rounds_done else set()
        depth = config.predict.supervision_steps * min(most_votes, SURE_VOTES) * PREDICTION
        # of fitting a task and voting on it, in tokens of a training step
        self._cost = [config.least_steps * fit + depth * vote for fit, vote in zip(learned, asked, strict=True)]
        self._chosen = [True] * len(tasks)
        self._round = min(rounds_done, len(ROUND_ENDS) - 1)  # of ROUND_ENDS
        self._first = min(LAP_START, ROUND_ENDS[self._round - 1]) if rounds_done else 0.0
        self._over = False
        self._through = False  # whether the schedule has been completed once
        self._choices = 0

    def next_round(self) -> Round | None:
        """What to do next; None when nothing is left to do, or no time."""
        if self._over or self._clock.expired():
            return None
        if self._clock.limit == math.inf or self._fitting.done:
            self._over = True
            return Round(self._clock, self._first, 1.0, self._most_votes, True)
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
        """The plan of a round after its fitting: when nothing is left to fit, its votes are the last."""
        if not self._fitting.done:
            return plan
        self._over = True
        return plan._replace(votes=self._most_votes, patient=True)

    def weights(self) -> list[float]:
        """How often each task is visited in fitting; 0 for tasks that there is no time to fit.

        Votes that agree before the schedule has been run through once often agree on a wrong answer (docs/log.md).
        Until then agreement saves votes but no fitting.
        """
        agreed = agreed_tasks(self._votes, self._tasks if self._through else ())
        pairs = zip(self._tasks, self._chosen, strict=True)
        return [(AGREED_WEIGHT if agreed.get(task.id) else 1.0) if chosen else 0.0 for task, chosen in pairs]

    @property
    def chosen(self) -> int:
        return sum(self._chosen)

    def measured(self) -> dict[str, float]:
        """The figures from which a longer run of similar tasks can be projected.

        Seconds and tokens of all fitting steps, tokens of all pairs, and the seconds that all votes take.
        """
        rates = [self.rates.vote(canvas) for canvas in self._canvas.values()]
        return {
            "fit_seconds": self._fitting.seconds,
            "fit_tokens": float(self._fitting.tokens),
            "pair_tokens": float(self._pair_tokens),
            "vote_seconds": sum(self._most_votes * rate for rate in rates if rate is not None),
        }

    def open_tests(self, voted: int) -> set[int]:
        """The numbers of the test inputs that need more votes, when each has `voted` votes of this round."""
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
        """How much of the time left to spend on the rest of the fitting schedule."""
        left = self._clock.left()
        final, more = (self._voting_seconds(min(self._most_votes, most)) for most in (SURE_VOTES, self._most_votes))
        if final is None or more is None:
            return self._fit_share * left
        final = max(final, min(more, (1 - self._fit_share) * left))
        between = (len(ROUND_ENDS) - self._round) * (self._voting_seconds(self._few) or 0.0)
        return min(max(left - MARGIN * (final + between), 0.3 * left), 0.97 * left)

    def _voting_seconds(self, votes: int) -> float | None:
        """Expected seconds of `votes` votes for every open test input; None before any vote."""
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
        """Choose as many tasks as there is time to fit well, the cheapest first.

        A machine that was busy while the pace was measured leaves time for more tasks later: then tasks that are
        being fitted stay, and others join them.
        """
        if self._choices < CHOICES:
            self._chosen = [False] * len(self._tasks)
        self._choices += 1
        # 1 - first: only the rest of the schedule has to fit into the time left
        affordable = self._fit_share * self._clock.left() / self._fitting.pace / (1 - self._first)
        order = sorted(range(len(self._tasks)), key=lambda n: (self._cost[n], n))
        for number in order:
            affordable -= self._cost[number]
            self._chosen[number] |= affordable >= 0
        self._chosen[order[0]] = True


def _cells(canvas: Canvas) -> int:
    return canvas[0] * canvas[1]
