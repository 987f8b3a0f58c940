"""Fitting: what moves, what it starts from, and that it stops in time."""

import copy
from dataclasses import replace

import pytest
import torch

from solver.budget import Clock
from solver.fit import Knowledge, affordable_tokens, fit, starting_table
from solver.models.trm import TRMConfig
from solver.pipeline import fresh_knowledge
from solver.variants import make_variants
from tests.solver.samples import MIRROR, TALL, TASKS, config

CPU = torch.device("cpu")


def run(mode: str = "full", steps: int = 3, start: Knowledge | None = None, seconds: float = 1e9):  # type: ignore[no-untyped-def]
    settings = config(steps, mode=mode)
    start = start or fresh_knowledge(settings.model, 0, CPU)
    return fit(TASKS, start, settings.fit, settings.canvases, Clock(seconds), seed=0, show_progress=False)


@pytest.mark.parametrize(
    ("mode", "trunk_moves", "rows_move"),
    [("none", False, False), ("embeddings", False, True), ("full", True, True), ("staged", True, True)],
)
def test_each_mode_moves_what_it_says(mode: str, trunk_moves: bool, rows_move: bool) -> None:
    start = fresh_knowledge(config().model, 0, CPU)
    with torch.no_grad():
        start.model.halting_weight.normal_(generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(start.model.state_dict())
    fitted = run(mode, steps=8, start=start)
    same = [torch.equal(a, b) for a, b in zip(before.values(), fitted.model.state_dict().values(), strict=True)]
    assert all(same) != trunk_moves
    assert bool(fitted.table.any()) == rows_move
    assert all(torch.equal(a, b) for a, b in zip(before.values(), start.model.state_dict().values(), strict=True))
    assert fitted.steps == (0 if mode == "none" else 8)


def test_staged_fit_rests_the_trunk_for_its_first_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    from solver.learner import Learner

    frozen: list[bool] = []
    monkeypatch.setattr(Learner, "freeze_trunk", lambda self, rests: frozen.append(rests))
    run("staged", steps=8)
    assert frozen == [True] * 2 + [False] * 6


def test_fit_stops_with_the_clock_and_keeps_its_seed() -> None:
    assert run(seconds=0).steps == 0
    assert run(steps=10**9, seconds=1.0).steps > 0
    tables = [run(steps=4).table for _ in range(2)]
    assert torch.equal(*tables)


def test_a_loss_that_is_no_number_falls_back_to_the_start(caplog: pytest.LogCaptureFixture) -> None:
    start = fresh_knowledge(config().model, 0, CPU)
    with torch.no_grad():
        start.model.halting_bias.fill_(float("nan"))
    fitted = run(steps=50, start=start)
    assert fitted.model is start.model
    assert fitted.steps < 50
    assert "going on from the start" in caplog.text


@pytest.mark.parametrize("embedding", ["variant", "shared"])
def test_rows_start_at_the_mean_but_known_puzzles_keep_theirs(embedding: str) -> None:
    model = fresh_knowledge(replace(config().model, embedding=embedding), 0, CPU).model
    known = {(MIRROR.id, MIRROR.digest): 1, (TALL.id, "another digest"): 0}
    start = Knowledge(model, torch.arange(32.0).view(2, 16), known)
    variants = [make_variants(task.id, 4, seed=0) for task in TASKS]
    table, rows = starting_table(TASKS, variants, start)
    assert len(table) == (8 if embedding == "variant" else 2)
    assert torch.equal(table[rows[0][0]], start.table[1])
    others = {int(row) for of_task in rows for row in of_task} - {int(rows[0][0])}
    for row in others:
        assert torch.equal(table[row], start.table.mean(dim=0))  # an id alone is not enough


def test_a_slow_machine_takes_smaller_steps() -> None:
    model = fresh_knowledge(config().model, 0, CPU).model
    assert affordable_tokens(model, 10**12, Clock()) == 10**12
    assert 1 <= affordable_tokens(model, 10**12, Clock(1e-6)) < affordable_tokens(model, 10**12, Clock(60)) < 10**12
    assert affordable_tokens(model, 50, Clock(600)) == 50


def test_fresh_trunks_start_from_zero_rows() -> None:
    start = fresh_knowledge(TRMConfig(width=16, heads=2, row_tokens=1, row_width=16), 0, CPU)
    table, rows = starting_table(TASKS, [make_variants(task.id, 3, 0) for task in TASKS], start)
    assert table.shape == (6, 16)
    assert not table.any()
    assert [of_task.tolist() for of_task in rows] == [[0, 1, 2], [3, 4, 5]]
