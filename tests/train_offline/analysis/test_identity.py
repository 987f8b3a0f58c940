"""The right puzzle embedding helps and wrong ones do not; only what the network is given as its task changes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from solver.common.clock import Clock
from solver.model.weights import Fitted, Knowledge
from solver.predict import Predictor
from solver.settings.config import TRMConfig
from solver.tasks.task import Pair, Task
from solver.tokens.decode import Ballot
from tests.solver.samples import MIRROR, TASKS
from tests.train_offline.analysis.analysis_samples import SHARED, VARIANT, bench, knowledge, subject
from train_offline.analysis.identity import IdentityOptions, conditions, identity, other_task, other_variant

OPTIONS = IdentityOptions(weights=None, out=None, supervision_steps=3, early_stop=False)  # type: ignore[arg-type]

NAMES = ("right", "mean", "blank", "other task", "other variant")


def ballot(known: Knowledge, table: torch.Tensor, votes: int) -> Ballot:
    """What `solver` votes on the sample tasks with some table."""
    at, counted = subject(known), Ballot(3)
    fitted = Fitted(known.model, table, at.variants, at.rows)
    for predictions in Predictor(TASKS, fitted, OPTIONS.predict, at.canvases).run(0, votes, Clock()):
        counted.add(predictions)
    return counted


def answered(known: Knowledge) -> list[Task]:
    """The sample tasks with the outputs that these weights answer, with the right embedding, in a canonical pass."""
    truths = iter(ballot(known, known.table, 1).ranked(test)[0].grid for test in range(3))
    return [replace(task, test=tuple(Pair(pair.input, next(truths)) for pair in task.test)) for task in TASKS]


@pytest.mark.parametrize("model", [SHARED, VARIANT], ids=["per cell", "variant"])
def test_only_the_right_row_gives_what_the_right_row_gave(model: TRMConfig) -> None:
    known = knowledge(model)
    tasks = answered(known)
    figures, rows = identity(subject(known, tasks), OPTIONS)
    canonical = {name: part["canonical"]["mean"] for name, part in figures["conditions"].items()}
    assert canonical["right"] == 1
    assert canonical["other task"] == 0
    assert max(canonical["blank"], canonical["mean"]) < 1
    assert list(rows[0])[1:] == [f"{name}: canonical, pass@2" for name in NAMES]
    truths = [pair.output for task in tasks for pair in task.test]
    for name, table in (("right", known.table), ("blank", 0 * known.table)):
        votes, places = ballot(known, table, 6), range(3)
        hits = [any(np.array_equal(c.grid, truths[t]) for c in votes.ranked(t)[:2]) for t in places]
        assert figures["conditions"][name]["pass@2"]["mean"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("model", [SHARED, VARIANT], ids=["per cell", "variant"])
def test_wrong_conditions_are_wrong(model: Any) -> None:
    known = knowledge(model)
    at, generator = bench(known), np.random.default_rng(0)
    examples = at.examples()
    owner = np.array([name.split("|||")[0] for name, _ in known.rows])
    changed = other_task(at, examples, generator)
    assert changed is not None
    assert (owner[changed.row] != owner[examples.row]).all()
    sibling = other_variant(at, examples, generator)
    assert sibling is not None
    assert (owner[sibling.row] == owner[examples.row]).all()
    differ = sibling.claimed_symmetry != examples.symmetry if model is SHARED else sibling.row != examples.row
    assert differ.all()
    for part in ("test", "symmetry", "permutation"):  # what is shown stays
        assert (getattr(sibling, part) == getattr(examples, part)).all()


def test_means_and_blanks_are_one_row_for_all() -> None:
    known = knowledge()
    at = bench(known)
    for name, row in (("mean", known.table.mean(dim=0)), ("blank", torch.zeros(16))):
        changed = conditions(at, at.examples(), np.random.default_rng(0))[name]
        assert changed is not None
        examples, table = changed
        assert table is not None
        assert torch.equal(table[examples.row], row.expand(18, 16))


def test_where_there_is_no_other_nothing_is_told() -> None:
    alone = knowledge(VARIANT, tasks=[MIRROR], count=1)
    at = bench(alone, tasks=[MIRROR], augmentations=1)
    assert other_task(at, at.examples(), np.random.default_rng(0)) is None
    assert other_variant(at, at.examples(), np.random.default_rng(0)) is None
