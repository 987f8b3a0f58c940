"""Answers after each supervision step: those that prediction gives, never at the cost of the votes or the deadline."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solver import predict
from solver.answers.run_json import read_run
from solver.common.clock import Clock
from solver.predict import Predictor
from solver.run import answer_steps
from solver.run.answer_steps import record_steps
from solver.run.console import solve_to_files
from tests.solver.run.simulated import tick
from tests.solver.samples import MIRROR, TASKS, grid, make_run, run_through
from tests.solver.test_predict import Oracle, make_predictor

ALL = {0, 1, 2}
CPU = torch.device("cpu")


def answering(oracle: Oracle, **settings: Any) -> Predictor:
    """A predictor whose network is `oracle`."""
    predictor = make_predictor(**settings)
    predictor._fitted.model = oracle  # type: ignore[assignment]
    return predictor


def test_each_test_input_has_all_steps_of_the_task_as_it_is(device: torch.device) -> None:
    predictor = make_predictor(device, supervision_steps=5, early_stop=True, stable_steps=1)
    found = record_steps(predictor, ALL, "robust", Clock())
    assert {number: len(steps) for number, steps in found.items()} == dict.fromkeys(ALL, 5)
    full = make_predictor(device, supervision_steps=5, early_stop=False)
    for predictions in full.run(0, 1, Clock()):  # variant 0 is the task as it is
        for place, number in enumerate(predictions.samples.test):
            assert found[int(number)][-1].halting == pytest.approx(predictions.halting[place].item(), abs=1e-5)


def test_steps_are_read_and_compared_with_the_one_before() -> None:
    found = record_steps(answering(Oracle(settles_at=2, halts_at=3), supervision_steps=4), ALL, "robust", Clock())
    for number, expected in enumerate(pair.input for task in TASKS for pair in task.test):
        last = found[number][1:]
        assert all(step.grid is not None and np.array_equal(step.grid, expected) for step in last)
        assert [step.changed for step in last[1:]] == [0, 0]
        assert [step.halting > 0.9 for step in found[number]] == [False, False, True, True]


def test_changes_are_counted_between_grids_of_one_size() -> None:
    assert answer_steps._changed(grid("12", "34"), grid("12", "43")) == 2
    assert answer_steps._changed(grid("12"), grid("1", "2")) is None
    assert answer_steps._changed(None, grid("1")) is None
    assert answer_steps._changed(grid("1"), None) is None


def test_the_number_of_steps_that_are_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "MOST_STEPS_RECORDED", 2)
    found = record_steps(make_predictor(supervision_steps=5), {1}, "robust", Clock())
    assert {number: len(steps) for number, steps in found.items()} == {1: 2}


def test_it_is_left_out_when_the_time_is_short_or_not_known() -> None:
    predictor = make_predictor()
    assert predictor.seconds_by_step(ALL) is None
    assert record_steps(predictor, ALL, "robust", Clock(3600)) == {}, "no pace was measured yet"
    list(predictor.run(0, 2, Clock()))
    seconds = predictor.seconds_by_step(ALL)
    assert seconds is not None
    assert record_steps(predictor, ALL, "robust", Clock(3600))
    assert record_steps(predictor, ALL, "robust", Clock(seconds)) == {}
    assert record_steps(predictor, ALL, "robust", Clock(0)) == {}
    stopped = Clock()
    stopped.stop()
    assert record_steps(predictor, ALL, "robust", stopped) == {}


def test_what_the_clock_interrupts_is_not_kept() -> None:
    clock, oracle = Clock(), Oracle()
    predictor, calls = answering(oracle, batch_tokens=1), []

    def stop_in_the_second_batch(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == predictor._config.supervision_steps + 1:
            clock.stop()
        return Oracle.__call__(oracle, *given)

    class Stopping(Oracle):
        __call__ = staticmethod(stop_in_the_second_batch)

    predictor._fitted.model = Stopping()  # type: ignore[assignment]
    assert len(record_steps(predictor, ALL, "robust", clock)) == 1
    assert len(calls) == predictor._config.supervision_steps + 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("too much"), MemoryError(), RuntimeError("shapes differ")])
def test_no_fault_of_it_ends_the_run(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Predictor, "_record", fail)
    outcome, _ = solve_to_files(make_run(), tmp_path / "submission.json", "hand-made", show=False)
    assert "supervision step are not recorded" in caplog.text
    assert outcome.votes.total == 24
    assert [test["steps"] for task in read_run(tmp_path)["tasks"] for test in task["test"]] == [[], [], []]


def test_a_halting_probability_that_is_no_number_counts_as_none() -> None:
    predictor = make_predictor()
    torch.nn.init.constant_(predictor._fitted.model.halting_weight, math.nan)
    steps = record_steps(predictor, ALL, "robust", Clock())
    assert {step.halting for of_test in steps.values() for step in of_test} == {0.0}


@pytest.mark.parametrize("each", [False, True])
def test_a_run_records_its_curve_and_steps(each: bool, tmp_path: Path) -> None:
    run = make_run(steps=25, together=1 if each else None)
    outcome, record = solve_to_files(run, tmp_path / "submission.json", "hand-made", show=False)
    assert read_run(tmp_path)["curve"] == record["curve"]
    assert [reading[0] for reading in record["curve"]] == [10, 20, 25, *([35, 45, 50] if each else [])]
    assert set(outcome.steps) == {("mirror", 0), ("mirror", 1), ("tall", 0)}
    steps = record["tasks"][0]["test"][1]["steps"]
    assert len(steps) == run.config.predict.supervision_steps
    assert steps[0]["changed"] is None


@pytest.mark.slow
@pytest.mark.parametrize("each", [False, True])
def test_a_run_under_a_budget_keeps_time_for_it(each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    monkeypatch.setattr("solver.run.solve.STEPS_SHARE", 0.15)  # enough of a run this short
    clock = Clock(10.0)
    outcome = run_through(make_run(clock, steps=None, together=1 if each else None), keep_steps=True)
    assert outcome.steps
    assert clock.elapsed() < 10.2


@pytest.mark.parametrize("budget", [0.0, 60.0, math.inf])
def test_a_run_that_is_stopped_records_none(budget: float) -> None:
    clock = Clock(budget)
    clock.stop()
    assert run_through(make_run(clock, steps=None), keep_steps=True).steps == {}


def test_votes_are_the_same_with_and_without() -> None:
    runs = [run_through(make_run(), keep_steps=keep) for keep in (False, True)]
    assert [bool(run.steps) for run in runs] == [False, True]
    first, second = (run.answers(TASKS)[MIRROR.id] for run in runs)
    assert all(
        np.array_equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )
