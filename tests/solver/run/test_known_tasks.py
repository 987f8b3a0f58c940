"""Tasks that the weights know are voted on first and, unless asked, not fitted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from solver.answers import votes as counted
from solver.answers.outcome import Outcome
from solver.answers.votes import Block, Votes
from solver.fit import Fitting
from solver.run.events import Progress
from tests.solver.run.simulated import square_task
from tests.solver.samples import MIRROR, TALL, TASKS, Watching, config, make_fitting, make_run, run_through


def counts(outcome: Outcome) -> list[tuple[bytes, int]]:
    """The candidates for MIRROR's test input and their votes."""
    return [(candidate.grid.tobytes(), candidate.votes) for candidate in outcome.votes.ranked()[MIRROR.id][0]]


@pytest.mark.parametrize(("known", "fitted"), [(False, [TALL.id]), (True, [MIRROR.id, TALL.id])])
def test_known_tasks_are_voted_on_first_and_not_fitted(
    known: bool, fitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their votes are those of the weights as they are, unless the fit is asked to take known tasks too."""
    fits: list[list[str]] = []
    real = Fitting.run

    def see(self: Fitting, *given: Any) -> Iterator[None]:
        fits.extend([[task.id for task in self._tasks]] if self._learner is not None else [])
        return real(self, *given)

    monkeypatch.setattr(Fitting, "run", see)
    run = make_run(known=known)
    start = make_fitting([MIRROR], run.start, run.config).knowledge()
    watcher = Watching()
    outcome = run_through(replace(run, start=start), watcher)
    assert fits == [fitted]
    note = "voted on without fitting, as the weights know them: 1 of 2 tasks"
    assert (note in outcome.notes) is not known
    if not known:
        alone = run_through(replace(run, start=start, tasks=[MIRROR], config=config(mode="none")))
        assert counts(outcome) == counts(alone)
        assert watcher.blocks[0].test == (MIRROR.id, 0)


def test_a_resumed_run_fits_what_it_fitted_before_and_leaves_known_tasks_their_votes() -> None:
    run = make_run()
    start = make_fitting([MIRROR], run.start, run.config).knowledge()
    fitted = make_fitting([TALL], start, run.config).knowledge()
    assert replace(run, start=start).parts() == ([MIRROR], [[TALL]])
    assert replace(run, start=fitted).parts(resumed=True) == ([MIRROR], [[TALL]])


def test_every_task_has_a_vote_before_the_first_of_several_fits() -> None:
    """So a run that ends early leaves none without. Votes of a fit are of later rounds: a restart tells them apart."""
    run = make_run(together=1)
    start = make_fitting([square_task("known", 3)], run.start, run.config).knowledge()
    before: list[Block] = []

    class Watcher(Watching):
        def beat(self, progress: Progress) -> None:
            if progress.steps == 1:
                before[:] = self.blocks

    watcher = Watcher()
    run_through(replace(run, start=start), watcher)
    assert [block.test for block in before] == counted.tests_of(TASKS)
    assert [[candidate.votes for candidate in block.candidates] for block in before] == [[1]] * 3
    assert [block.round for block in watcher.blocks] == [0] * 3 + [1] * 3

    votes = Votes(TASKS)
    for block in watcher.blocks[:4]:  # killed after the first of the two fits
        votes.add(block)
    again = Watching()
    run_through(replace(run, start=start), again, votes=votes)
    assert [block.test[0] for block in again.blocks] == [TALL.id, MIRROR.id, MIRROR.id]
