"""The whole road on tiny tasks: always a valid submission, never a test output looked at."""

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from solver.answers import submission_json
from solver.answers.attempts import _without_model, baseline
from solver.answers.outcome import STOPPED, Outcome
from solver.answers.run_json import read_run, write_record
from solver.answers.score import score_result
from solver.answers.submission_json import expected_counts
from solver.answers.votes import Block, Candidate, Votes
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.predict import Predictions, Predictor
from solver.run.console import Console, solve_to_files
from solver.run.events import Progress
from solver.run.schedule import ROUND_VOTES
from solver.tasks.task import Pair, Task, without_test_outputs
from tests.solver.run.simulated import tick
from tests.solver.samples import MIRROR, TALL, TASKS, Watching, grid, make_run, run_through

CPU = torch.device("cpu")


def run(out: Path, seconds: float = float("inf"), clock: Clock | None = None, **fit: Any) -> Outcome:
    return solve_to_files(make_run(clock or Clock(seconds), TASKS, **fit), out, "hand-made", show=False)[0]


def watched(watcher: Watching, clock: Clock, votes: int = 8, **fit: Any) -> Outcome:
    return run_through(make_run(clock, augmentations=votes, **fit), watcher)


def test_a_run_that_never_begins_ends_when_told_to_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solver.common.clock.STOP_GRACE", 0.01)
    out = tmp_path / "submission.json"
    answers = {task.id: [(pair.output, pair.input) for pair in task.test] for task in TASKS}
    submission_json.write(out, answers)
    seen = []

    def never() -> Any:
        seen.append(submission_json.read(out, expected_counts(TASKS)))
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass

    outcome = Outcome(Votes(TASKS))
    record = Console(TASKS, Clock(3600), outcome, out, "hand-made", 0, show=False).run(never)
    assert seen[0]["tall"][0][0].tolist() == TASKS[1].test[0].output.tolist()  # an earlier valid file stays meanwhile
    assert read_run(tmp_path) == record
    assert STOPPED in record["notes"]
    submission_json.check(out, expected_counts(TASKS))


@pytest.mark.parametrize("each", [False, True])
def test_a_run_answers_every_test_input(tmp_path: Path, each: bool) -> None:
    outcome = run(tmp_path / "out" / "submission.json", together=1 if each else None)
    answers = submission_json.read(tmp_path / "out" / "submission.json", expected_counts(TASKS))
    for task in TASKS:
        for (first, second), kept in zip(answers[task.id], outcome.answers(TASKS)[task.id], strict=True):
            assert np.array_equal(first, kept[0])
            assert not np.array_equal(first, second)
    assert outcome.fit_steps == (6 if each else 3)
    for candidates in outcome.votes.ranked().values():
        assert all(sum(c.votes for c in of_test) == 8 for of_test in candidates)


@pytest.mark.parametrize("each", [False, True])
def test_the_same_seed_gives_the_same_submission(tmp_path: Path, each: bool) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, together=1 if each else None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("what", ["solver.run.solve.Fitting", "solver.answers.attempts.guesses"])
def test_a_valid_submission_lies_there_before_anything_slow(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_model.cache_clear()
    out = tmp_path / "submission.json"

    def check_and_stop(*_: object) -> None:
        submission_json.check(out, expected_counts(TASKS))
        raise KeyboardInterrupt

    monkeypatch.setattr(what, check_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(out)
    submission_json.check(out, expected_counts(TASKS))


@pytest.mark.slow
def test_every_round_leaves_its_votes_in_the_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real, seen = tmp_path / "submission.json", Fitting.run, []

    def look_first(*arguments: object) -> Iterator[None]:
        seen.append(submission_json.read(out, expected_counts(TASKS)))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Fitting, "run", look_first)
    tick(monkeypatch)
    run(out, seconds=10, steps=None)
    first = seen[0]["mirror"][0][0].tolist()
    assert first == baseline(TASKS)["mirror"][0][0].tolist()
    assert len(seen) >= 4
    assert any(got["tall"][0][0].tolist() != seen[0]["tall"][0][0].tolist() for got in seen[1:])


@pytest.mark.parametrize("stopped", [False, True])
def test_a_budget_of_nothing_still_leaves_the_fallbacks(tmp_path: Path, stopped: bool) -> None:
    clock = Clock(60 if stopped else 0)
    if stopped:
        clock.stop()
    assert ("stopped before its time" in run(tmp_path / "s.json", clock=clock).notes) == stopped
    answers = submission_json.read(tmp_path / "s.json", expected_counts(TASKS))
    assert all(
        np.array_equal(a, b)
        for task in TASKS
        for got, expected in zip(answers[task.id], baseline(TASKS)[task.id], strict=True)
        for a, b in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("each", [False, True])
def test_a_budget_is_kept(tmp_path: Path, each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    clock = Clock(3.0)
    run(tmp_path / "s", clock=clock, steps=10**9, together=1 if each else None)
    assert 1.5 < clock.elapsed() < 4.0


@pytest.mark.slow
def test_a_watcher_hears_of_every_step_vote_and_round(monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch)
    watcher, clock = Watching(), Clock(10.0)
    outcome = watched(watcher, clock, votes=12, steps=None)
    assert watcher.rounds >= 4
    assert watcher.beats[-1].round == watcher.rounds - 1
    assert [beat.steps for beat in watcher.beats] == sorted(beat.steps for beat in watcher.beats)
    assert {beat.steps for beat in watcher.beats} >= set(range(1, outcome.fit_steps + 1))
    assert sum(c.votes for block in watcher.blocks for c in block.candidates) == outcome.votes.total
    assert {block.round for block in watcher.blocks} >= set(range(watcher.rounds - 1))  # time may end before the last
    for number in range(3):  # the rounds before the last of the schedule stay small
        assert sum(c.votes for b in watcher.blocks if b.round == number for c in b.candidates) <= 3 * ROUND_VOTES
    assert sum(outcome.seconds.values()) == pytest.approx(clock.elapsed(), abs=0.5)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("budget", [float("inf"), 3600.0])
def test_a_stopped_clock_ends_the_run_with_the_step_in_work(each: bool, budget: float) -> None:
    clock, watcher = Clock(budget), Watching()

    def stop(progress: Progress) -> None:
        watcher.beats.append(progress)
        clock.stop()

    watcher.beat = stop  # type: ignore[method-assign]
    watched(watcher, clock, steps=None if budget == 3600 else 10**6, together=1 if each else None)
    assert len(watcher.beats) == 1


def test_groups_without_votes_are_fitted_first_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = Fitting.run

    def see(self: Fitting, *given: Any) -> Iterator[None]:
        order.append(self._tasks[0].id)
        return real(self, *given)

    monkeypatch.setattr(Fitting, "run", see)
    votes, watcher = Votes(TASKS), Watching()
    votes.add(Block((TASKS[0].id, 0), 0, [Candidate(grid("12"), 3, 0.5)]))
    run_through(make_run(together=1), watcher, votes=votes)
    assert order == [TASKS[1].id, TASKS[0].id]
    assert watcher.beats[-1].steps == 6
    assert {beat.tests for beat in watcher.beats} == {3}


def test_tasks_that_were_not_fitted_are_counted_over_all_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.run.schedule.Schedule.chosen", property(lambda self: 0))
    notes = watched(Watching(), Clock(), together=1).notes
    assert notes == ["there was time to fit only the cheapest 0 of 2 tasks"]


def test_a_task_whose_loss_is_no_number_still_has_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the start, also where another task, fitted before on its own, has votes already."""

    def fail(self: Fitting, *_: object) -> list[None]:
        self.failed = self._tasks[0] == without_test_outputs(TALL)
        return []

    monkeypatch.setattr(Fitting, "run", fail)
    votes = watched(Watching(), Clock(), together=1).votes.ranked()
    assert votes[MIRROR.id][0]
    assert votes[TALL.id][0]


def test_weights_too_large_to_compute_with_end_no_run() -> None:
    run = make_run(mode="none")
    for parameter in run.start.model.parameters():
        parameter.data.fill_(3e38)
    run_through(run)


def test_answers_that_the_clock_cut_short_count_only_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stops after the first batch of every round: the only one that a test input has, in the first."""
    real = Predictor.run

    def cut_short(self: Predictor, first: int, last: int, clock: Clock, *rest: Any) -> Iterator[Predictions]:
        for predictions in real(self, first, last, clock, *rest):
            clock.stop()
            yield predictions

    monkeypatch.setattr(Predictor, "run", cut_short)
    watcher = Watching()
    watched(watcher, Clock(3600))  # long enough for a slow machine to choose all tasks
    once = watcher.blocks
    assert len(once) == 3
    votes = Votes(TASKS)
    for block in once:
        votes.add(block)
    before = votes.total
    run_through(make_run(Clock(3600)), watcher, votes=votes)
    assert votes.total == before


def fill_disk(patch: pytest.MonkeyPatch, full: range) -> None:
    """Let those of the writes fail that have these numbers, from 0."""
    real, calls = os.replace, itertools.count()

    def replace(*paths: Any) -> None:
        if next(calls) in full:
            raise OSError(28, "No space left on device")
        real(*paths)

    patch.setattr(os, "replace", replace)


def test_a_failed_write_leaves_the_last_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "submission.json"
    fill_disk(monkeypatch, range(2, 1000))
    with pytest.raises(InputError, match="No space left"):
        run(out)
    assert caplog.text.count("the submission of the round before stays") == 1
    submission_json.check(out, expected_counts(TASKS))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_is_full_for_a_while_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "submission.json"
    fill_disk(monkeypatch, range(2, 3))
    outcome = run(out)
    assert "No space left" in caplog.text
    answers = submission_json.read(out, expected_counts(TASKS))
    assert np.array_equal(answers["mirror"][0][0], outcome.answers(TASKS)["mirror"][0][0])
    assert (tmp_path / "run.json").exists()


def test_test_outputs_never_reach_the_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def blind(real: type) -> Any:
        def make(tasks: list[Task], *rest: object) -> object:
            assert all(pair.output is None for task in tasks for pair in task.test)
            seen.append(real)
            return real(tasks, *rest)

        return make

    for name in ("Fitting", "Predictor"):
        module = sys.modules["solver.run.solve"]
        monkeypatch.setattr(module, name, blind(getattr(module, name)))
    run(tmp_path / "with_outputs")
    assert len(seen) == 2
    monkeypatch.setattr("tests.solver.run.test_solve.TASKS", [without_test_outputs(task) for task in TASKS])
    run(tmp_path / "without")
    assert (tmp_path / "with_outputs").read_bytes() == (tmp_path / "without").read_bytes()


def test_the_record_can_be_recounted(tmp_path: Path) -> None:
    outcome = run(tmp_path / "submission.json")
    record = write_record(tmp_path, TASKS, outcome, "sample", "hand-made", seed=0)
    assert read_run(tmp_path) == orjson.loads(orjson.dumps(record))
    score = score_result(TASKS, outcome.answers(TASKS))
    votes = [t["votes"] for task in record["tasks"] for t in task["test"]]
    assert score is not None
    assert record["score"] == score.to_json()
    assert record["notes"] == ["3 fitting steps"]
    assert votes == [8, 8, 8]


def test_scores_need_every_truth() -> None:
    assert score_result(TASKS, baseline(TASKS)) is not None
    half = Task(TASKS[0].id, TASKS[0].train, (Pair(TASKS[0].test[0].input, None), TASKS[0].test[1]))
    assert score_result([half], baseline([half])) is None


@pytest.mark.parametrize("ends", [(1.0,), (0.5, 1.0)])
def test_a_fit_that_is_done_votes_once(ends: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever round its steps are at their end: the same votes again would be no news."""
    monkeypatch.setattr("solver.run.schedule.ROUND_ENDS", ends)
    outcome = run_through(make_run(Clock(3600), steps=3), watching := Watching())
    assert outcome.fit_steps == 3
    assert watching.rounds == 1
    assert outcome.votes.total <= 3 * 8
