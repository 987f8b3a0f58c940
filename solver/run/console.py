"""A run in this process, as its user watches it: a progress bar, and a submission that only gets better."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from solver.answers import candidates_json
from solver.answers.outcome import LEAK_WARNING, STOPPED, Outcome
from solver.answers.run_json import FILE_NAME, write_record
from solver.answers.votes import Votes
from solver.common.checks import InputError
from solver.common.clock import Clock, stop_signals
from solver.run.events import Event, Progress, RoundDone
from solver.run.restart import Keeper
from solver.run.solve import Run, solve, write_submission

log = logging.getLogger("arc_trm")

REFRESH = 0.5  # seconds between two drawings of the bar, at least
WRITE_RESERVE = 1.0  # seconds reserved for the last count and the files


def solve_to_files(
    run: Run, out: Path, source: str, keeper: Keeper | None = None, candidates: int | None = None, show: bool = True
) -> tuple[Outcome, dict[str, Any]]:
    """Run within the clock; `out` is valid all the while, and run.json goes beside it. Returns outcome and record.

    A `keeper` that holds the votes and weights of an earlier run makes this one continue it. `candidates` is how many
    candidates per test output go to candidates.json (None: no such file). Ctrl-C and SIGTERM end the run as the clock
    does. Raises InputError if the disk cannot be written.
    """
    outcome = Outcome(keeper.votes() if keeper else Votes(run.tasks))
    write_submission(out, run.tasks, outcome.votes)
    (out.parent / FILE_NAME).unlink(missing_ok=True)  # the record of another run
    fitted = keeper.knowledge(run.start) if keeper else None
    working = replace(run, start=fitted or run.start, clock=run.clock.part(run.clock.left() - WRITE_RESERVE))
    stopped = working.clock.stopped
    with _bar(working, show) as bar, stop_signals(lambda _: working.clock.stop()):
        for event in solve(working, outcome, resumed=fitted is not None, keep_steps=True):
            _show(event, bar, working.clock)
            if keeper:
                keeper.keep(event)
            if isinstance(event, RoundDone):
                try:
                    write_submission(out, run.tasks, outcome.votes)
                except InputError as error:  # a full disk must not end the run
                    log.warning("%s; the submission of the round before stays", error)
        if stopped.is_set():
            outcome.notes.append(STOPPED)
        if keeper and keeper.leaks and LEAK_WARNING not in outcome.notes:
            outcome.notes.append(LEAK_WARNING)
        write_submission(out, run.tasks, outcome.votes)
        if candidates is not None:
            candidates_json.write(out.parent / candidates_json.FILE_NAME, outcome.votes.ranked(), candidates)
        if keeper and not stopped.is_set():
            keeper.forget_weights()
        return outcome, write_record(out.parent, run.tasks, outcome, run.config.name, source, run.seed)


@contextmanager
def _bar(run: Run, show: bool) -> Iterator[tqdm]:
    """The progress bar of a run; it counts fitting steps, towards a total where that is known."""
    fit = run.config.fit
    steps = None if fit.steps is None else fit.steps * len(fit.groups(run.tasks))
    with tqdm(total=steps, desc="fit", unit="step", disable=not show, mininterval=REFRESH, miniters=0) as bar:
        yield bar
        bar.refresh()


def _show(event: Event, bar: tqdm, clock: Clock) -> None:
    """Update the bar, which redraws itself every REFRESH seconds at most."""
    if isinstance(event, Progress):
        bar.set_postfix_str(", ".join(filter(None, [event.text(), clock.left_text()])), refresh=False)
        bar.update(event.steps - bar.n)
