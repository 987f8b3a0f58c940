"""The demo's tasks are those the README promises, and its command leaves its three files."""

from pathlib import Path

import pytest

from solver import demo
from solver.cli import main
from solver.run_file import read_run
from tests.solver.samples import TASKS, config


def test_the_demo_takes_every_small_task() -> None:
    tasks = demo.demo_tasks()
    assert (len(tasks), sum(len(task.train) for task in tasks), sum(len(task.test) for task in tasks)) == (25, 105, 31)


def test_the_demo_leaves_a_submission_a_record_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "demo_tasks", lambda: TASKS)
    monkeypatch.setattr(demo, "tiny", config)
    monkeypatch.setattr(demo, "STEPS", 20)
    assert main(["demo", "--out", str(tmp_path), "--seed", "1", "--budget", "1m"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "report.html", "run.json", "submission.json"]
    assert read_run(tmp_path)["seed"] == 1
    printed = capsys.readouterr().out
    assert "Kaggle's score: share of test outputs" in printed
    assert "baseline" in printed
