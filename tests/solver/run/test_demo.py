"""The demo's tasks are those the README promises, and its command leaves its files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from solver.__main__ import main
from solver.answers.run_json import read_run
from solver.model.weights import load_knowledge
from solver.run import demo
from solver.settings.options import FOLDER
from solver.settings.presets import PRESETS
from tests.solver.samples import TASKS, config


def test_the_demo_takes_every_small_task() -> None:
    tasks = demo.demo_tasks()
    assert (len(tasks), sum(len(task.train) for task in tasks), sum(len(task.test) for task in tasks)) == (25, 105, 31)


@pytest.mark.slow
@pytest.mark.parametrize(("scratch", "preset"), [([], "sample"), (["--from-scratch"], "fresh")])
def test_the_demo_leaves_a_submission_a_record_and_a_report(
    scratch: list[str], preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "demo_tasks", lambda: TASKS)
    monkeypatch.setitem(PRESETS, "mini", config)
    monkeypatch.setitem(PRESETS, "tiny", lambda: replace(config(steps=20), name="fresh"))
    monkeypatch.setattr(demo, "STEPS", 20)
    assert main(["demo", "--out", str(tmp_path), "--seed", "1", "--budget", "1m", *scratch]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "report.html", "run.json", "submission.json"]
    assert [read_run(tmp_path)[key] for key in ("seed", "preset")] == [1, preset]
    printed = capsys.readouterr().out
    assert "Kaggle's score: share of test outputs" in printed
    assert "baseline" in printed


def test_the_weights_that_ship_know_the_demos_demonstrations_and_no_test_output() -> None:
    knowledge = load_knowledge(FOLDER, torch.device("cpu"), arc=True)
    assert not knowledge.saw_test_outputs
    unknown = [task.id for task in demo.demo_tasks() if (task.id, task.digest) not in knowledge.rows]
    leaked = {pair["task"] for pair in knowledge.manifest["leaked_pairs"]}
    assert unknown == ["0d3d703e"]
    assert leaked.issuperset(unknown)  # its demonstrations equal its test pair, but for colours: the guard drops them
