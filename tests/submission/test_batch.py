"""`python -m submission.batch`: several files, scores, bad files, and two ranks under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from solver.answers import submission_json
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from submission import batch
from tests.solver.samples import MIRROR, TALL, TASKS, as_json
from tests.submission.runs import kaggle_files

QUICK = ["--budget", "30m", "--fit-steps", "10", "--augmentations", "8"]


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["batch", *options])
    return batch.main()


@pytest.mark.slow
def test_every_file_gets_a_folder_and_a_bad_one_costs_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog
) -> None:  # type: ignore[no-untyped-def]
    for task in TASKS:
        (tmp_path / f"{task.id}.json").write_text(json.dumps(as_json(task, outputs=task is MIRROR)))
    (tmp_path / "bad.json").write_text("{")
    files = [str(tmp_path / name) for name in ("mirror.json", "bad.json", "tall.json")]
    assert run(monkeypatch, *files, "--out", str(tmp_path / "out"), *QUICK, "--candidates", "3") == 1
    assert "bad.json" in caplog.text
    for task in (MIRROR, TALL):
        folder = tmp_path / "out" / task.id
        submission_json.check(folder / "submission.json", expected_counts([task]))
        assert all(test["votes"] == 8 for test in read_run(folder)["tasks"][0]["test"])
        assert (folder / "candidates.json").exists()
    printed = capsys.readouterr().out
    assert printed.count("of 2 test outputs, pass@2") == 1
    assert not (tmp_path / "out" / "bad").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a/x.json", "b/x.json"], "expected names that differ, got 'x' twice"),
        (["a.json", "b.json", "--solutions", "c.json"], "--solutions: expected one for each of the 2 files, got 1"),
        (["a.json", "--candidates", "0"], "candidates: expected 1 or more, got 0"),
    ],
)
def test_mistakes_get_one_line(options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(monkeypatch, *options, "--budget", "10s") == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_ranks_share_the_tasks_and_rank_0_writes_what_all_voted(tmp_path: Path) -> None:
    files = kaggle_files(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "submission.batch", str(files / "arc-agi_test_challenges.json")]
    command += ["--solutions", str(files / "arc-agi_evaluation_solutions.json")]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    for _ in range(2):  # the second time over the marks of the first
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "out"), "--devices", "cpu", *QUICK],
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert "of 3 test outputs, pass@2" in done.stdout
        folder = tmp_path / "out" / "arc-agi_test_challenges"
        submission_json.check(folder / "submission.json", expected_counts(TASKS))
        tests = [test for task in read_run(folder)["tasks"] for test in task["test"]]
        assert all(test["votes"] == 8 for test in tests)
        for votes in (folder / "journal").glob("votes-*"):
            votes.unlink()
