"""The whole road on tiny tasks: always a valid submission, never a test output looked at."""

import os
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from solver import pipeline, submission_file
from solver.budget import Clock
from solver.candidates import baseline
from solver.pipeline import fresh_knowledge, solve
from solver.result import Result, known_truths, score_result, write_record
from solver.run_file import read_run
from solver.submission_file import expected_counts
from solver.tasks import Pair, Task, without_test_outputs
from tests.solver.samples import TASKS, config

CPU = torch.device("cpu")


def run(out: Path, seconds: float = 1e9, **fit: object) -> Result:
    settings = config(**fit)
    start = fresh_knowledge(settings.model, 0, CPU)
    return solve(TASKS, start, settings, out, Clock(seconds), seed=0, show_progress=False)


@pytest.mark.parametrize("each", [False, True])
def test_a_run_answers_every_test_input(tmp_path: Path, each: bool) -> None:
    result = run(tmp_path / "out" / "submission.json", each=each)
    answers = submission_file.read(tmp_path / "out" / "submission.json", expected_counts(TASKS))
    for task in TASKS:
        for (first, second), kept in zip(answers[task.id], result.answers[task.id], strict=True):
            assert np.array_equal(first, kept[0])
            assert not np.array_equal(first, second)
    assert result.fit_steps == (6 if each else 3)
    for candidates in result.candidates.values():
        assert all(sum(c.votes for c in of_test) <= 8 for of_test in candidates)


def test_the_same_seed_gives_the_same_submission(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_valid_submission_lies_there_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "submission.json"

    def check_and_stop(*_: object) -> None:
        submission_file.check(out, expected_counts(TASKS))
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "fit", check_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(out)
    submission_file.check(out, expected_counts(TASKS))


def test_a_budget_of_nothing_still_leaves_the_fallbacks(tmp_path: Path) -> None:
    run(tmp_path / "s.json", seconds=0)
    answers = submission_file.read(tmp_path / "s.json", expected_counts(TASKS))
    assert all(
        np.array_equal(a, b)
        for task in TASKS
        for got, expected in zip(answers[task.id], baseline(TASKS)[task.id], strict=True)
        for a, b in zip(got, expected, strict=True)
    )


def test_a_budget_is_kept(tmp_path: Path) -> None:
    clock = Clock(3.0)
    settings = config(steps=10**9)
    solve(TASKS, fresh_knowledge(settings.model, 0, CPU), settings, tmp_path / "s", clock, show_progress=False)
    assert 1.5 < clock.elapsed() < 4.0


def test_a_failed_write_leaves_the_last_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "submission.json"
    real, calls = os.replace, []

    def sometimes(*paths: object) -> None:
        calls.append(paths)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(*paths)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", sometimes)
    with pytest.raises(ValueError, match="No space left"):
        run(out)
    submission_file.check(out, expected_counts(TASKS))
    assert len(list(tmp_path.iterdir())) == 1


def test_test_outputs_never_reach_the_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pipeline.fit

    def blind(tasks, *rest):  # type: ignore[no-untyped-def]
        assert all(pair.output is None for task in tasks for pair in task.test)
        return real(tasks, *rest)

    monkeypatch.setattr(pipeline, "fit", blind)
    run(tmp_path / "with_outputs")
    monkeypatch.setattr("tests.solver.test_pipeline.TASKS", [without_test_outputs(task) for task in TASKS])
    run(tmp_path / "without")
    assert (tmp_path / "with_outputs").read_bytes() == (tmp_path / "without").read_bytes()


def test_the_record_can_be_recounted(tmp_path: Path) -> None:
    result = run(tmp_path / "submission.json")
    record = write_record(tmp_path, TASKS, result, "sample", "hand-made", seed=0)
    assert read_run(tmp_path) == orjson.loads(orjson.dumps(record))
    score, votes = score_result(TASKS, result.answers), [t["votes"] for task in record["tasks"] for t in task["test"]]
    assert score is not None
    assert record["score"] == score.to_json()
    assert max(votes) <= 8


def test_scores_need_every_truth() -> None:
    assert known_truths(TASKS) is not None
    half = Task(TASKS[0].id, TASKS[0].train, (Pair(TASKS[0].test[0].input, None), TASKS[0].test[1]))
    assert known_truths([half]) is None
    assert score_result([half], baseline([half])) is None
