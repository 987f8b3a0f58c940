"""The road of one run: challenges -> variants -> fit -> tokens -> network -> grids -> votes -> attempts -> file.

Work goes in rounds of some fitting and some votes (`schedule.py`), so that a run that ends early has the best answers
that the time allowed. `solve` yields what happens, and whoever runs it decides what becomes of that: `console.py` for a
run in this process, `submission/workers/worker.py` for one process of many.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from solver.answers.outcome import LEAK_WARNING, Outcome
from solver.answers.votes import MOST_ROUNDS, Block, tests_of
from solver.common.clock import Clock
from solver.fit import Fitting, choose_variants
from solver.model.compiled import compile_networks, default_backend
from solver.model.device import pick_device, pick_precision
from solver.model.weights import Knowledge, fresh_knowledge, load_knowledge
from solver.predict import Predictor
from solver.run.answer_steps import record_steps
from solver.run.events import Counted, Event, Progress, RoundDone
from solver.run.schedule import ROUND_VOTES, VOTE_SHARE, Round, Schedule
from solver.settings.config import SolveConfig
from solver.settings.options import SolveOptions
from solver.settings.presets import configured
from solver.tasks.task import Task, without_test_outputs
from solver.tokens.decode import Ballot

COUNT_EVERY = 20.0  # seconds of votes that a kill may cost
STEPS_SHARE, STEPS_SECONDS = 0.02, 60.0  # reserve 2 % of the time, at most 60 s, for recording answers per step


@dataclass(frozen=True)
class Run:
    """Everything that decides a run."""

    tasks: Sequence[Task]
    start: Knowledge  # the weights that fitting starts from
    config: SolveConfig
    clock: Clock
    seed: int = 0
    autocast: torch.dtype | None = None  # precision of the forward pass; None: float32

    def parts(self, resumed: bool = False) -> tuple[list[Task], list[Sequence[Task]]]:
        """The tasks that only vote, because the start knows them, and the groups of the others, which are fitted.

        Fitting makes votes on known tasks worse (docs/log.md). With `resumed` the start is what the run before fitted:
        it knows the tasks of that fit, while those that its own start knew have had their votes.
        """
        if self.config.fit.known:
            return [], self.config.fit.groups(self.tasks)
        known = [task for task in self.tasks if self.start.knows(task) != resumed]
        others = [task for task in self.tasks if self.start.knows(task) == resumed]
        return known, self.config.fit.groups(others) if others else []


def open_run(
    tasks: Sequence[Task], options: SolveOptions, clock: Clock, weights: str | Path | None = None, device: str = "auto"
) -> Run:
    """A run of `tasks` from the weights in a folder, or from a fresh model. Raises InputError for bad weights."""
    where = pick_device(device)
    if weights is None:
        config = configured(options)
        start = fresh_knowledge(config.model, options.seed, where)
    else:
        start = load_knowledge(weights, where, arc=True)
        config = configured(options, start.model.config, start.canvas_mode)
    return Run(tasks, start, config, clock, options.seed, pick_precision(where, options.precision))


def solve(run: Run, outcome: Outcome, resumed: bool = False, keep_steps: bool = False) -> Iterator[Event]:
    """Fit and vote in rounds until the work is done or the clock runs out; `outcome` receives the votes.

    Tasks that the start knows are voted on first, without a fit. Groups of tasks that are fitted together come one
    after the other, those with the fewest rounds of votes first. Where there are several, the start first gives one
    vote to each of their test inputs, so that time that ends early leaves none without. A restarted run brings its
    votes in `outcome`, and `resumed` says that `run.start` is what its last round fitted.
    `keep_steps` records the answers after every supervision step, in a little time reserved for that.
    """
    compile_networks(run.start.model, default_backend(run.start.table.device, run.clock.left()))
    run = replace(run, tasks=[without_test_outputs(task) for task in run.tasks])
    if run.start.saw_outputs_of(run.tasks) and LEAK_WARNING not in outcome.notes:
        outcome.notes.append(LEAK_WARNING)
    unfitted = reused = rows = 0
    known, fits = run.parts(resumed)
    first_round = int(len(fits) > 1 and bool(run.start.rows))  # a fresh model's votes before a fit are noise
    unfitting = replace(run.config, fit=replace(run.config.fit, mode="none"))
    one_vote = replace(unfitting, predict=replace(run.config.predict, augmentations=1))
    parts = [(group, run.config) for group in sorted(fits, key=lambda group: outcome.votes.rounds(tests_of(group)))]
    if known and not resumed:
        parts.insert(0, (known, unfitting))
    left = sum(len(group) for group, _ in parts)
    for number, (group, config) in enumerate(parts):
        if first_round and number == len(parts) - len(fits):
            new = [task for task in run.tasks if not outcome.votes.rounds(tests_of([task]))]
            voting = replace(run, tasks=new, config=one_vote, clock=run.clock.share(VOTE_SHARE))
            yield from _GroupRun(voting, outcome).rounds() if new else ()
        clock, left = run.clock.share(len(group) / left), left - len(group)
        working = clock
        if keep_steps:
            working = clock.part(max((1 - STEPS_SHARE) * clock.left(), clock.left() - STEPS_SECONDS))
        group_run = _GroupRun(replace(run, tasks=group, config=config, clock=working), outcome, resumed, first_round)
        reused, rows = reused + group_run.fitting.reused, rows + sum(map(len, group_run.fitting.variants))
        yield from group_run.rounds()
        if keep_steps:
            group_run.record_steps(clock)
        unfitted += group_run.unfitted
        for name, value in group_run.measured().items():
            outcome.rates[name] = outcome.rates.get(name, 0.0) + value
    if known:
        outcome.notes.append(
            f"voted on without fitting, as the weights know them: {len(known)} of {len(run.tasks)} tasks"
        )
    if run.start.rows and not run.start.model.config.row_per_task:
        outcome.notes.append(f"puzzle embeddings taken over from the weights: {reused:,} of {rows:,}")
    if unfitted:
        fitted = sum(map(len, fits))
        outcome.notes.append(f"there was time to fit only the cheapest {fitted - unfitted} of {fitted} tasks")


class _GroupRun:
    """The rounds of one group of tasks that are fitted together."""

    def __init__(self, run: Run, outcome: Outcome, resumed: bool = False, first_round: int = 0) -> None:
        self._run, self._outcome, self._votes = run, outcome, outcome.votes
        self._tests = tests_of(run.tasks)
        fit, predict = run.config.fit, run.config.predict
        # 1. variants: every task under dihedral symmetries and colour permutations
        variants = choose_variants(run.tasks, run.start, fit, run.seed)
        self.fitting = Fitting(run.tasks, variants, run.start, fit, run.config.canvases, run.seed, run.autocast)
        self.fitting.limit_step(run.clock)
        # a fit that starts over counts rounds from the first again, even if the journal has later rounds
        self._round = self._votes.rounds(self._tests) if resumed else first_round
        self._agreement = self._votes.agreement
        self._steps_before = outcome.fit_steps  # of other groups
        self._predictor: Predictor | None = None  # of the last votes
        most_votes = min(max(map(len, variants)), predict.augmentations or fit.augmentations)
        self._schedule = Schedule(
            run.tasks,
            self.fitting,
            self._votes,
            run.clock,
            run.config,
            most_votes,
            rounds_done=self._round if resumed else 0,
        )

    def rounds(self) -> Iterator[Event]:
        steps_before, seconds_before = self._outcome.fit_steps, self._outcome.seconds["fit"]
        clock, fitting = self._run.clock, self.fitting
        while (plan := self._schedule.next_round()) is not None:
            # 2. fit: train on augmented demonstrations for a while
            fitting.focus(self._schedule.weights())
            steps, began = fitting.steps, clock.elapsed()
            for _ in fitting.run(plan.fit, plan.first, plan.last):
                yield self._progress()
            voting = clock.elapsed()
            diverged = fitting.failed and self._votes.rounds(self._tests) > 0
            if not diverged:  # a diverged fit falls back to the start weights, which would vote worse
                yield from self._vote(self._schedule.votes_of(plan))
            self._outcome.seconds["fit"] += voting - began
            self._outcome.seconds["predict"] += clock.elapsed() - voting
            self._outcome.fit_steps += fitting.steps - steps
            yield RoundDone(fitting)
            self._round = min(self._round + 1, MOST_ROUNDS - 1)
        self._outcome.curve.extend(fitting.curve, steps_before, seconds_before)

    def _vote(self, plan: Round) -> Iterator[Event]:
        """Vote with more and more variants, until the test inputs agree or the round has its votes."""
        run, schedule = self._run, self._schedule
        fitted = self.fitting.fitted()
        predictor = Predictor(run.tasks, fitted, run.config.predict, run.config.canvases, run.autocast)
        self._predictor = predictor
        clock = run.clock if plan.patient else run.clock.share(VOTE_SHARE)
        voted = 0
        while voted < plan.votes and not clock.expired():
            upto = min(plan.votes, max(ROUND_VOTES, 2 * voted))
            ballot, began = Ballot(len(self._tests)), clock.elapsed()
            counted = began
            # 3. tokens and network: the variants of the test inputs are encoded on canvases and refined in batches
            for predictions in predictor.run(voted, upto, clock, schedule.open_tests(voted)):
                # 4. grids and votes: tokens become grids, their variants are undone, equal grids are counted
                if not clock.expired() or self._lack_votes(predictions.samples.test):
                    ballot.add(predictions, run.config.decoder)  # else the clock may have cut them short
                (_, height, width), now = predictions.tokens.shape, clock.elapsed()
                schedule.rates.add((height, width), len(predictions.samples.test), now - began)
                if now - counted > COUNT_EVERY:
                    yield from self._count(ballot)
                    ballot, counted = Ballot(len(self._tests)), now
                began = clock.elapsed()
                yield self._progress()
            yield from self._count(ballot)
            voted = upto

    def _lack_votes(self, tests: np.ndarray) -> bool:
        """Whether one of these test inputs has no vote yet: then even an unfinished answer is better than none."""
        return not all(self._votes.rounds([self._tests[test]]) for test in np.unique(tests))

    def _count(self, ballot: Ballot) -> Iterator[Counted]:
        blocks = [
            Block(test, self._round, candidates)
            for number, test in enumerate(self._tests)
            if (candidates := ballot.ranked(number))
        ]
        for block in blocks:
            self._votes.add(block)
        self._agreement = self._votes.agreement
        if blocks:  # every prediction may have been an empty grid
            yield Counted(blocks)

    def _progress(self) -> Progress:
        fitting = self.fitting
        agreed, tests = self._agreement
        steps = self._steps_before + fitting.steps
        return Progress(self._round, steps, fitting.loss, fitting.exact, self._votes.total, agreed, tests)

    def measured(self) -> dict[str, float]:
        return self._schedule.measured()

    @property
    def unfitted(self) -> int:
        return len(self._run.tasks) - self._schedule.chosen if self.fitting.steps else 0

    def record_steps(self, clock: Clock) -> None:
        """Record for the report how the answers settled under the last fit, if `clock` allows."""
        if self._predictor is None:
            return
        began, tests = clock.elapsed(), self._schedule.open_tests(0)
        for number, steps in record_steps(self._predictor, tests, self._run.config.decoder, clock).items():
            self._outcome.steps[self._tests[number]] = steps
        self._outcome.seconds["predict"] += clock.elapsed() - began
