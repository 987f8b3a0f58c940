"""`python -m submission.kaggle` in a simulated tree: both layouts, scored run and rehearsal, kills at any moment."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from solver.__main__ import main as arc_trm
from solver.answers import submission_json
from solver.answers.journal import own_folder
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.common.clock import Clock
from submission import kaggle
from submission.logs import log_beside, run_command
from submission.preflight import machine
from submission.workers.supervisor import lock_of, reserve
from tests.solver.samples import TASKS
from tests.submission.runs import kaggle_files
from tests.submission.workers.test_supervisor_faults import journal_votes

QUICK = ["--fit-steps", "10", "--augmentations", "8"]
KILLS = 4


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *options: str, scored: bool = True) -> int:
    monkeypatch.setenv("KAGGLE_ROOT", str(root))
    monkeypatch.setattr(sys, "argv", ["kaggle", *options])
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    if scored:
        monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    return kaggle.main()


def checked(root: Path) -> dict[str, list[submission_json.Attempts]]:
    return submission_json.read(root / "working" / "submission.json", expected_counts(TASKS))


@pytest.mark.slow
def test_the_scored_run_solves_the_test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the newer layout; other tests have the older one."""
    files = kaggle_files(tmp_path / "input" / "competitions" / "arc-prize")
    tree = [tmp_path / "input", *(tmp_path / "input").rglob("*")]
    for path in tree:
        path.chmod(path.stat().st_mode & ~0o222)
    before = {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in tree}
    assert run(tmp_path, monkeypatch, "--candidates", "2", *QUICK) == 0
    checked(tmp_path)
    assert {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in tree} == before
    assert len([*(tmp_path / "input").rglob("*")]) == len(tree) - 1
    record = read_run(tmp_path / "working")
    assert all(test["votes"] == 8 for task in record["tasks"] for test in task["test"])
    assert record["source"] == str(files / "arc-agi_test_challenges.json")
    assert len(json.loads((tmp_path / "working" / "candidates.json").read_text())) == len(TASKS)
    log = (tmp_path / "working" / "solve.log").read_text()
    assert "the scored run: 2 tasks, 3 test outputs" in log
    assert "devices: cpu; weights: none" in log


@pytest.mark.slow
def test_outside_the_scored_run_there_is_a_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle_files(tmp_path / "input" / "arc-prize")
    assert run(tmp_path, monkeypatch, *QUICK, scored=False) == 0
    checked(tmp_path)
    assert "Kaggle's score: share of test outputs" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "working" / "rehearsal" / "report.html").read_text()
    log = (tmp_path / "working" / "solve.log").read_text()
    assert "projection: 11h30m for 2 such tasks on 1 device(s): all votes take" in log
    assert "fitting steps per pair" in log
    assert "submission.json holds fallback attempts" in log


@pytest.mark.slow
def test_one_broken_task_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kaggle_files(tmp_path / "input" / "arc-prize") / "arc-agi_test_challenges.json"
    document = json.loads(path.read_text())
    document["broken"] = {"train": [{"input": [[0, 77]]}], "test": [{"input": [[1, 2]]}, {"input": "?"}]}
    path.write_text(json.dumps(document))
    assert run(tmp_path, monkeypatch, *QUICK) == 0
    counts = expected_counts(TASKS) | {"broken": 2}
    answers = submission_json.read(tmp_path / "working" / "submission.json", counts)
    assert answers["broken"][0][0].tolist() == [[1, 2]]
    log = (tmp_path / "working" / "solve.log").read_text()
    assert [line for line in log.splitlines() if "'broken'" in line and "attempts that need no model" in line]


def test_challenges_that_cannot_be_read_leave_the_sample_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = kaggle_files(tmp_path / "input" / "arc-prize")
    (files / "arc-agi_test_challenges.json").write_text('{"mirror": ')
    sample = {task.id: [{"attempt_1": [[0]], "attempt_2": [[0]]} for _ in task.test] for task in TASKS}
    (files / "sample_submission.json").write_text(json.dumps(sample))
    assert run(tmp_path, monkeypatch) == 0
    assert set(checked(tmp_path)) == {"mirror", "tall"}
    better = {name: [{"attempt_1": [[5]], "attempt_2": [[6]]} for _ in entries] for name, entries in sample.items()}
    (tmp_path / "working" / "submission.json").write_text(json.dumps(better))
    assert run(tmp_path, monkeypatch) == 0
    assert checked(tmp_path)["tall"][0][0].tolist() == [[5]]  # an earlier run's answers stay
    (files / "sample_submission.json").unlink()
    (tmp_path / "working" / "submission.json").unlink()
    assert run(tmp_path, monkeypatch) == 1


@pytest.mark.slow
def test_a_file_that_is_no_submission_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle_files(tmp_path / "input" / "arc-prize")
    (tmp_path / "working").mkdir()
    (tmp_path / "working" / "submission.json").write_text('{"garbage": 1}')
    (tmp_path / "working" / "journal").touch()
    assert run(tmp_path, monkeypatch) == 0
    checked(tmp_path)
    assert "expected a folder to write to" in (tmp_path / "working" / "solve.log").read_text()


def test_no_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(tmp_path, monkeypatch) == 1
    error = capsys.readouterr().err
    assert "expected arc-agi_test_challenges.json" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("scored", [True, False])
def test_the_preflight_says_what_is_there_and_what_the_run_will_do(
    scored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle_files(tmp_path / "input" / "arc-prize")
    monkeypatch.setenv("PATH", str(tmp_path))  # where no nvidia-smi is
    weights = ["--weights", str(tmp_path / "mine"), "--devices", "cuda:0", "cuda:1"]
    assert run(tmp_path, monkeypatch, "--preflight", *weights, scored=scored) == 0
    printed = capsys.readouterr().out
    assert "numba 0." in printed
    assert "card none (nvidia-smi: FileNotFoundError)" in printed
    assert re.search(r"disk: \d+\.\d GiB free in ", printed)
    assert f"weights, best first: {tmp_path / 'mine'}; at the end a fresh model" in printed
    split, run_line = ("test", "the scored run: solves") if scored else ("evaluation", "is not set): solves")
    file = tmp_path / "input" / "arc-prize" / f"arc-agi_{split}_challenges.json"
    assert f"{run_line} 2 tasks with 3 test outputs of {file} on cuda:0, cuda:1" in printed
    assert ("ends after 11h30m" in printed) == scored
    assert ("ends after 9m00s" in printed) == (not scored)
    assert not (tmp_path / "working").exists()


def test_cards_are_listed_as_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho '0, NVIDIA L4, 23034 MiB, 580.1'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "card 0, NVIDIA L4, 23034 MiB, 580.1" in machine(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**29))
    assert machine(tmp_path)[-1] == f"disk: 0.5 GiB free in {tmp_path}: EXPECTED 1 or more"


def test_a_folder_that_another_run_is_using_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kaggle_files(tmp_path / "input" / "arc-prize")
    out = tmp_path / "working" / "submission.json"
    with own_folder(*lock_of(out)):
        out.write_text("of the other run")
        assert run(tmp_path, monkeypatch) == 0
    assert out.read_text() == "of the other run"
    assert "another run is using; " in caplog.text


def test_weights_are_looked_for_after_the_first_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tree of datasets that takes for ever."""
    kaggle_files(tmp_path / "input" / "arc-prize")

    def hang(attached: Path, clock: Clock) -> list[Path]:
        assert attached == tmp_path / "input"
        assert 0 < clock.left() <= 7200
        checked(tmp_path)
        raise TimeoutError("for ever")

    monkeypatch.setattr(kaggle, "find_weights", hang)
    assert run(tmp_path, monkeypatch, "--budget", "2h") == 0
    assert "for ever" in (tmp_path / "working" / "solve.log").read_text()


def test_a_full_disk_costs_the_log_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "solve.log").symlink_to("/dev/full")
    with log_beside(tmp_path / "submission.json") as faults:
        logging.getLogger("arc_trm").error("of the run")
    assert faults == ["of the run"]
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupted_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["kaggle"])
    assert run_command(interrupted, "submission.kaggle") == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_whatever_fails_the_submission_stays_and_the_exit_code_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle_files(tmp_path / "input" / "arc-prize")
    monkeypatch.setattr(kaggle, "find_devices", lambda *_: 1 // 0)
    assert run(tmp_path, monkeypatch) == 0
    checked(tmp_path)
    assert "ZeroDivisionError" in (tmp_path / "working" / "solve.log").read_text()


@pytest.mark.slow
def test_the_parent_killed_at_random_moments_never_loses_a_vote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = kaggle_files(tmp_path / "input" / "arc-prize")
    out, journal, kept = tmp_path / "working" / "submission.json", tmp_path / "working" / "journal", 0
    environment = os.environ | {"KAGGLE_ROOT": str(tmp_path), "KAGGLE_IS_COMPETITION_RERUN": "1"}
    command = [sys.executable, "-m", "submission.kaggle", "--devices", "cpu"]
    long = ["--fit-steps", "40", "--augmentations", "5000"]
    chance = random.Random(4)
    for number in range(KILLS):
        with subprocess.Popen([*command, *long], env=environment, stderr=subprocess.DEVNULL) as process:
            while not out.exists() or (number % 2 and journal_votes(journal).total <= kept):
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1))  # every other kill comes before the workers have begun to vote
            process.send_signal(signal.SIGKILL)
        checked(tmp_path)
        votes = journal_votes(journal).total
        assert votes >= kept
        kept = votes
    done = subprocess.run([*command, *QUICK], env=environment, capture_output=True, text=True, check=True)
    assert f"going on from {journal_votes_before(done.stderr)} votes of an earlier run" in done.stderr
    assert journal_votes_before(done.stderr) >= kept
    assert arc_trm(["score", str(out), str(files / "arc-agi_evaluation_solutions.json")]) == 0
    record = read_run(out.parent)
    assert sum(test["votes"] for task in record["tasks"] for test in task["test"]) >= kept  # empty grids are no votes


def journal_votes_before(text: str) -> int:
    return int(text.split("going on from ")[1].split()[0])


def test_what_is_kept_for_the_files_is_a_hundredth_but_no_more_than_a_minute() -> None:
    assert [reserve(budget) for budget in (10, 600, 12 * 3600, float("inf"))] == [1, 6, 60, 60]
