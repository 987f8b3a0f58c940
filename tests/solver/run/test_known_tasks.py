"""Tasks that the weights know are voted on first and, unless asked, not fitted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from solver.answers.outcome import Outcome
from solver.fit import Fitting
from tests.solver.samples import MIRROR, TALL, Watching, config, make_fitting, make_run, run_through


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
