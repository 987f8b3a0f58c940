"""A run in this process, as its user watches it: a progress bar, and a submission that only gets better.

Imports torch only when a valid submission is on the disk.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solver.answers import candidates_json, submission_json
from solver.answers.attempts import first_answers
from solver.answers.outcome import STOPPED, Outcome
from solver.answers.run_json import FILE_NAME, write_record
from solver.answers.votes import Votes
from solver.common.checks import InputError
from solver.common.clock import Clock, OutOfTime, interruptible
from solver.run.events import Event, Progress, RoundDone
from solver.tasks.task import Task

if TYPE_CHECKING:
    from tqdm import tqdm

    from solver.run.restart import Keeper
    from solver.run.solve import Run

log = logging.getLogger("arc_trm")

REFRESH = 0.5  # seconds between two drawings of the bar, at least
WRITE_RESERVE, WRITES = 1.0, 2.0  # seconds reserved for the files at the end, and as many times what the first one took


def solve_to_files(
    run: "Run", out: Path, source: str, keeper: "Keeper | None" = None, candidates: int | None = None, show: bool = True
) -> tuple[Outcome, dict[str, Any]]:
    """As `Console.run` does, with a run that is open already. Returns outcome and record."""
    outcome = keeper.outcome() if keeper else Outcome(Votes(run.tasks))
    console = Console(run.tasks, run.clock, outcome, out, source, run.seed, candidates, show)
    return outcome, console.run(lambda: (run, keeper))


@dataclass(frozen=True)
class Console:
    """A run within its clock, and the files that it writes: `out` and, beside it, run.json."""

    tasks: Sequence[Task]
    clock: Clock
    outcome: Outcome  # with the votes of the run that this one continues
    out: Path
    source: str
    seed: int
    candidates: int | None = None  # per test output in candidates.json; None: no such file
    show: bool = True  # the progress bar

    def run(self, start: Callable[[], "tuple[Run, Keeper | None]"]) -> dict[str, Any]:
        """Write a submission, open the run with `start`, solve, and write the best answers. Returns the record.

        `out` is valid all the while. A keeper that holds weights of an earlier run makes this one continue it. Ctrl-C
        and SIGTERM end the run as the clock does. What does not look at the clock, such as an import, is interrupted.
        Raises InputError if the disk cannot be written, and if `start` does; then no new submission is left.
        """
        new, outcome, preset = not self.out.exists(), self.outcome, "none"
        began = self.clock.elapsed()
        valid = not new and self._is_valid()
        if not valid:
            submission_json.write(self.out, first_answers(self.tasks))
        if not valid or outcome.votes.total:
            self._try_to_write()
        reserve = WRITE_RESERVE + WRITES * (self.clock.elapsed() - began)
        working = self.clock.part(self.clock.left() - reserve)
        keeper: Keeper | None = None
        try:
            with interruptible(working):
                if not working.expired():
                    run, keeper = self._open(start, new)
                    preset = run.config.name
                    self._solve(replace(run, clock=working), keeper)
        except OutOfTime:
            log.warning("the time was up before the run had come to an end; the votes so far count")
        stopped = working.stopped.is_set()
        if stopped:
            outcome.notes.append(STOPPED)
        self._write()
        if self.candidates is not None:
            candidates_json.write(self.out.parent / candidates_json.FILE_NAME, outcome.votes.ranked(), self.candidates)
        if keeper and not stopped:
            keeper.forget_weights()
        return write_record(self.out.parent, self.tasks, outcome, preset, self.source, self.seed)

    def _open(self, start: Callable[[], "tuple[Run, Keeper | None]"], new: bool) -> "tuple[Run, Keeper | None]":
        try:
            return start()
        except InputError:
            if new:
                self.out.unlink(missing_ok=True)
            raise

    def _solve(self, run: "Run", keeper: "Keeper | None") -> None:
        from solver.run.solve import solve  # here, since it imports torch

        (self.out.parent / FILE_NAME).unlink(missing_ok=True)  # the record of another run
        fitted = keeper.knowledge(run.start) if keeper else None
        with _bar(run, self.show) as bar:
            events = solve(replace(run, start=fitted or run.start), self.outcome, fitted is not None, keep_steps=True)
            for event in events:
                _show(event, bar, run.clock)
                if keeper:
                    keeper.keep(event)
                if isinstance(event, RoundDone):
                    self._try_to_write()

    def _write(self) -> None:
        """Choose two attempts per test input by the votes and write submission.json. Raises InputError."""
        submission_json.write(self.out, self.outcome.answers(self.tasks))

    def _try_to_write(self) -> None:
        try:
            self._write()
        except InputError as error:  # a full disk must not end the run
            log.warning("%s; the submission of the round before stays", error)

    def _is_valid(self) -> bool:
        try:
            submission_json.check(self.out, submission_json.expected_counts(self.tasks))
        except InputError:
            return False
        return True


@contextmanager
def _bar(run: "Run", show: bool) -> "Iterator[tqdm]":
    """The progress bar of a run; it counts fitting steps, towards a total where that is known."""
    from tqdm import tqdm  # here: it takes a tenth of the time to the first submission

    fit = run.config.fit
    steps = None if fit.steps is None else fit.steps * len(run.parts()[1])
    with tqdm(total=steps, desc="fit", unit="step", disable=not show, mininterval=REFRESH, miniters=0) as bar:
        yield bar
        bar.refresh()


def _show(event: Event, bar: "tqdm", clock: Clock) -> None:
    """Update the bar, which redraws itself every REFRESH seconds at most."""
    if isinstance(event, Progress):
        bar.set_postfix_str(", ".join(filter(None, [event.text(), clock.left_text()])), refresh=False)
        bar.update(event.steps - bar.n)
