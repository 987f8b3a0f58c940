"""Fitting: what moves, what it starts from, that it stops in time, goes on where it stopped, and keeps its weights."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from solver import fit
from solver.common.clock import Clock
from solver.fit import Fitting, probe_pace, starting_table
from solver.learning.learner import Learner, Metrics
from solver.model.weights import Knowledge, fresh_knowledge
from solver.settings.config import TRMConfig
from solver.tokens.variants import make_variants
from tests.solver.run.simulated import tick
from tests.solver.samples import MIRROR, TALL, TASKS, config, make_fitting

CPU = torch.device("cpu")


def make(mode: str = "full", steps: int | None = 3, start: Knowledge | None = None, **more: object) -> Fitting:
    settings = config(steps, mode=mode, **more)  # type: ignore[arg-type]
    return make_fitting(TASKS, start or fresh_knowledge(settings.model, 0, CPU), settings)


def run(mode: str = "full", steps: int | None = 3, start: Knowledge | None = None, seconds: float = 1e9) -> Fitting:
    fitting = make(mode, steps, start)
    list(fitting.run(Clock(seconds)))
    return fitting


@pytest.mark.parametrize(
    ("mode", "trunk_moves", "rows_move"),
    [("none", False, False), ("embeddings", False, True), ("full", True, True), ("staged", True, True)],
)
def test_each_mode_moves_what_it_says(mode: str, trunk_moves: bool, rows_move: bool) -> None:
    start = fresh_knowledge(config().model, 0, CPU)
    with torch.no_grad():
        start.model.halting_weight.normal_(generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(start.model.state_dict())
    fitting = run(mode, steps=8, start=start)
    fitted = fitting.fitted()
    same = [torch.equal(a, b) for a, b in zip(before.values(), fitted.model.state_dict().values(), strict=True)]
    assert all(same) != trunk_moves
    assert bool(fitted.table.any()) == rows_move
    assert all(torch.equal(a, b) for a, b in zip(before.values(), start.model.state_dict().values(), strict=True))
    assert fitting.steps == (0 if mode == "none" else 8)
    assert fitting.done


def test_staged_fit_rests_the_trunk_for_its_first_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(Learner, "freeze_trunk", lambda self, rests: frozen.append(rests))
    run("staged", steps=8)
    assert frozen == [True] * 2 + [False] * 6


def test_a_staged_fit_in_parts_rests_the_trunk_by_the_schedule_and_not_by_the_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, frozen = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Learner, "freeze_trunk", lambda self, rests: frozen.append(rests))
    fitting = make("staged", steps=None)

    for first, last in ((0.0, 0.125), (0.125, 0.5), (0.75, 1.0)):
        for _ in fitting.run(Clock(6), first, last):
            now[0] += 1
    assert frozen == [True] * 6 + [True] * 2 + [False] * 4 + [False] * 6  # at 0.25, a third of the second part


def test_fit_stops_with_the_clock_and_keeps_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    assert run(seconds=0).steps == 0
    assert 0 < run(steps=10**9, seconds=0.5).steps < 50
    tables = [run(steps=4).fitted().table for _ in range(2)]
    assert torch.equal(*tables)


def test_a_fit_in_parts_is_the_fit_in_one_go() -> None:
    whole = run(steps=6).fitted()
    fitting, clock = make(steps=6), Clock()
    seen = []
    for _ in fitting.run(clock):
        seen.append(fitting.steps)
        if fitting.steps == 2:
            clock.stop()
    assert (fitting.steps, fitting.done) == (2, False)
    fitting.fitted()  # votes between the parts change nothing
    seen += [fitting.steps for _ in fitting.run(Clock())]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert torch.equal(fitting.fitted().table, whole.table)
    for a, b in zip(fitting.fitted().model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_task_of_no_weight_is_not_visited() -> None:
    fitting = make(steps=20)
    fitting.focus([0.0, 1.0])
    list(fitting.run(Clock()))
    table = fitting.fitted().table
    assert not table[fitting.rows[0][0]].any()
    assert table[fitting.rows[1][0]].any()
    fitting = make(steps=20)
    fitting.focus([0.0, 0.0])  # nothing at all: no step, and no endless search for one
    list(fitting.run(Clock()))
    assert fitting.steps == 0


def test_fitted_weights_can_be_gone_on_from() -> None:
    first = run(steps=8)
    again = make_fitting(TASKS, first.knowledge(), config()).fitted()
    assert torch.equal(again.table, first.fitted().table)  # every variant finds its row by name
    for a, b in zip(again.model.parameters(), first.fitted().model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_the_start_was_trained_on_stays_known() -> None:
    start = fresh_knowledge(config().model, 0, CPU)
    start.manifest = {"leaks_allowed": True}
    assert run(start=start).knowledge().saw_test_outputs


def test_a_loss_that_is_no_number_falls_back_to_the_start(caplog: pytest.LogCaptureFixture) -> None:
    start = fresh_knowledge(config().model, 0, CPU)
    with torch.no_grad():
        start.model.halting_bias.fill_(float("nan"))
    fitting = run(steps=50, start=start)
    assert fitting.fitted().model is start.model
    assert fitting.steps < 50
    assert fitting.failed
    assert fitting.done
    assert "using the start weights" in caplog.text


@pytest.mark.parametrize("embedding", ["variant", "per_cell"])
def test_rows_start_at_the_mean_but_known_puzzles_keep_theirs(embedding: str) -> None:
    model = fresh_knowledge(replace(config().model, embedding=embedding), 0, CPU).model
    known = {(MIRROR.id, MIRROR.digest): 1, (TALL.id, "another digest"): 0}
    start = Knowledge(model, torch.arange(32.0).view(2, 16), known)
    variants = [make_variants(task.id, 4, seed=0) for task in TASKS]
    table, rows, reused = starting_table(TASKS, variants, start)
    assert reused == 1
    assert len(table) == (8 if embedding == "variant" else 2)
    assert torch.equal(table[rows[0][0]], start.table[1])
    others = {int(row) for of_task in rows for row in of_task} - {int(rows[0][0])}
    for row in others:
        assert torch.equal(table[row], start.table.mean(dim=0))  # an id alone is not enough


def test_a_slow_machine_takes_smaller_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def step_tokens(pace: float, wanted: int, clock: Clock) -> int:
        monkeypatch.setattr(fit, "probe_pace", lambda model: pace)
        fitting = make(steps=None, step_tokens=wanted)
        fitting.limit_step(clock)
        return fitting._step_tokens

    assert step_tokens(1e-6, 10**12, Clock()) == 10**12
    assert step_tokens(1e-6, 10**12, Clock(60)) == pytest.approx(0.02 * 60 / 1e-6, rel=0.01)
    assert step_tokens(1e-3, 10**12, Clock(60)) == pytest.approx(0.02 * 60 / 1e-3, rel=0.01)
    assert step_tokens(1e9, 10**12, Clock(60)) == 1
    assert step_tokens(1e-6, 50, Clock(600)) == 50


def test_the_pace_is_that_of_all_steps_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now, fitting = [0.0], make(steps=4)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    paces: list[float] = []
    tokens: list[int] = []

    real, durations = Learner.step, iter([8.0, 1.0, 2.0, 3.0])

    def a_step(self: Learner, *given: Any) -> Metrics:
        now[0] += next(durations)
        return real(self, *given)

    monkeypatch.setattr(Learner, "step", a_step)

    for _ in fitting.run(Clock()):
        paces.append(fitting.pace)
        tokens.append(fitting.tokens)
    later = [count - tokens[0] for count in tokens]
    assert paces == pytest.approx([8 / tokens[0], 1 / later[1], 3 / later[2], 6 / later[3]])


def test_the_pace_is_guessed_before_the_first_step_and_then_measured() -> None:
    fitting = make(steps=5)
    assert math.isnan(fitting.pace)
    fitting.limit_step(Clock(60))
    assert 0 < fitting.pace < 1
    list(fitting.run(Clock()))
    assert fitting.seconds > 0
    assert fitting.tokens > 5
    assert 0 < probe_pace(fresh_knowledge(config().model, 0, CPU).model) < 1


def test_fresh_trunks_start_from_zero_rows() -> None:
    start = fresh_knowledge(TRMConfig(width=16, heads=2, row_tokens=1, row_width=16), 0, CPU)
    table, rows, _ = starting_table(TASKS, [make_variants(task.id, 3, 0) for task in TASKS], start)
    assert table.shape == (6, 16)
    assert not table.any()
    assert [of_task.tolist() for of_task in rows] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("count", "together", "sizes"),
    [
        (57, None, [57]),
        (57, 20, [19, 19, 19]),
        (25, 20, [25]),
        (31, 20, [16, 15]),
        (3, 20, [3]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_groups_are_of_nearly_one_size_and_hold_every_task_once(
    count: int, together: int | None, sizes: list[int]
) -> None:
    tasks = [replace(TALL, id=str(number)) for number in range(count)]
    groups = replace(config().fit, together=together).groups(tasks)
    assert [len(group) for group in groups] == sizes
    assert sorted(task.id for group in groups for task in group) == sorted(task.id for task in tasks)
