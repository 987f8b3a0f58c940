"""A run in this process, as its user watches it: a bar, and a submission that is replaced by ever better ones."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from solver.answers import candidates_json, submission_json
from solver.answers.attempts import answers_of
from solver.answers.outcome import LEAK_WARNING, STOPPED, Outcome
from solver.answers.run_json import FILE_NAME, write_record
from solver.answers.votes import Block, Votes
from solver.common.checks import InputError
from solver.common.clock import Clock, stop_signals
from solver.fit import Fitting
from solver.model.weights import Knowledge
from solver.run.restart import Keeper
from solver.run.solve import Progress, solve
from solver.settings.config import SolveConfig
from solver.tasks.task import Task

log = logging.getLogger("arc_trm")

REFRESH = 0.5  # seconds between looks at the bar
WRITE_RESERVE = 1.0  # seconds kept for the last count and the files


class Console:
    """Watches a run in this process: draws the bar, keeps `out` and, with a keeper, the journal."""

    def __init__(
        self,
        tasks: Sequence[Task],
        out: Path,
        clock: Clock,
        keeper: Keeper | None,
        steps: int | None,
        show: bool = True,
    ) -> None:
        """`steps`: of fitting, where their number is known."""
        self._tasks, self._out, self._clock, self._keeper = tasks, out, clock, keeper
        self._bar = tqdm(total=steps, desc="fit", unit="step", disable=not show, mininterval=REFRESH)
        self._drawn = -REFRESH

    def beat(self, progress: Progress) -> None:
        """Draw how far the run is."""
        self._bar.n = progress.steps
        if time.monotonic() < self._drawn + REFRESH:
            return
        self._drawn = time.monotonic()
        self._bar.set_postfix_str(", ".join(filter(None, [progress.text(), self._clock.left_text()])))

    def voted(self, blocks: Sequence[Block]) -> None:
        """Keep the votes; the submission has them after the round."""
        if self._keeper:
            self._keeper.voted(blocks)

    def round_done(self, votes: Votes, fitting: Fitting) -> None:
        """Put the best known answers into the submission; a full disk must not end the run."""
        try:
            submission_json.write(self._out, answers_of(self._tasks, votes.ranked()))
        except InputError as error:
            log.warning("%s; the submission of the round before stays", error)
        if self._keeper:
            self._keeper.fitted(fitting)

    def close(self) -> None:
        """Draw the bar a last time."""
        self._bar.refresh()
        self._bar.close()


def solve_to_files(
    tasks: Sequence[Task],
    start: Knowledge,
    config: SolveConfig,
    out: Path,
    clock: Clock,
    source: str,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    keeper: Keeper | None = None,
    candidates: int | None = None,
    show: bool = True,
) -> tuple[Outcome, dict[str, Any]]:
    """Solve `tasks` within the clock; leave `out`, valid all the while, and run.json beside it (also returned).

    With a `keeper` that holds an earlier run's votes and weights, that run is gone on with. `candidates`: how many of
    each test output go to candidates.json; None: no such file. Ctrl-C and SIGTERM end the run as the clock does.
    """
    votes = keeper.votes() if keeper else Votes(tasks)
    submission_json.write(out, answers_of(tasks, votes.ranked()))
    (out.parent / FILE_NAME).unlink(missing_ok=True)  # the record of another run
    fitted = keeper.knowledge(start) if keeper else None
    working = clock.part(clock.left() - WRITE_RESERVE)
    steps = None if config.fit.steps is None else config.fit.steps * len(config.fit.groups(tasks))
    console = Console(tasks, out, working, keeper, steps, show)
    with closing(console), stop_signals(lambda _: working.stop()):
        begun = (fitted or start, config, working, console, seed, autocast)
        outcome = solve(tasks, *begun, votes, resumed=fitted is not None, keep_steps=True)
        if working.stopped.is_set():
            outcome.notes.append(STOPPED)
        if keeper and keeper.leaks and LEAK_WARNING not in outcome.notes:
            outcome.notes.append(LEAK_WARNING)
        submission_json.write(out, outcome.answers(tasks))
        if candidates is not None:
            candidates_json.write(out.parent / candidates_json.FILE_NAME, outcome.votes.ranked(), candidates)
        if keeper and not working.stopped.is_set():
            keeper.forget_weights()
        return outcome, write_record(out.parent, tasks, outcome, config.name, source, seed)
