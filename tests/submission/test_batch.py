"""`python -m submission.batch`: several files, scores, bad files, and two ranks under torchrun."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from solver.answers import submission_json
from solver.answers.attempts import _without_model
from solver.answers.journal import own_folder
from solver.answers.outcome import Outcome
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.answers.votes import Votes
from solver.common.checks import InputError
from solver.common.clock import Clock
from submission import batch
from submission.challenges import Challenges
from submission.summary import Summary
from submission.workers.supervisor import Plan, lock_of
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
    of = summary(tmp_path / "out")
    assert {name: facts["status"] for name, facts in of.items()} == {
        "mirror": "solved",
        "tall": "solved",
        "bad": "invalid",
    }
    assert of["mirror"]["score"]["total"] == 2
    assert of["tall"]["score"] is None
    figures = ("tasks", "test_outputs", "voted", "fallbacks", "votes", "fit_steps", "faults")
    assert [of["mirror"][name] for name in figures] == [1, 2, 2, 0, 16, 10, []]
    assert of["mirror"]["seconds"] > 0
    assert "bad.json" in of["bad"]["faults"][0]


class Stub:
    """In place of the supervisor: every file is solved at once, without votes, unless its name says otherwise."""

    workers = ()

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self.plan, self.clock = plan, clock

    def run(self) -> Outcome:
        name = self.plan.out.parent.name
        if name == "crashes":
            raise RuntimeError("of this file")
        if name == "disk-full":
            raise InputError("run.json: expected to write it") from OSError(28, "No space left on device")
        if name == "weights":
            raise InputError("weights: expected them, got none")
        if name == "given-up":
            self.workers = (SimpleNamespace(given_up=True),)  # type: ignore[assignment]
        if name == "interrupted":
            self.clock.stop()
        return Outcome(Votes(self.plan.challenges.tasks))


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a batch of files of these names with `Stub`, or with what replaces its `run`."""

    def stubbed(*names: str, run_file: Callable[[Stub], Outcome] = Stub.run, anew: bool = False) -> int:
        monkeypatch.setattr(batch, "Supervisor", type("Stubbed", (Stub,), {"run": run_file}))
        for name in names:
            (tmp_path / f"{name}.json").write_text(json.dumps({"mirror": as_json(MIRROR)}))
        files = [str(tmp_path / f"{name}.json") for name in names]
        more = ["--anew"] if anew else []
        return run(monkeypatch, *files, "--out", str(tmp_path / "out"), "--devices", "cpu", "--budget", "1h", *more)

    return stubbed


def summary(out: Path) -> dict[str, Any]:
    document = json.loads((out / "summary.json").read_text())
    assert document["format"] == 1
    return document["files"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "status", "code", "words"),
    [
        ("crashes", "failed", 75, "RuntimeError('of this file')"),
        ("disk-full", "failed", 75, "run.json: expected to write it"),
        ("given-up", "failed", 75, None),
        ("weights", "invalid", 1, "weights: expected them"),
        ("interrupted", "stopped", 130, None),
    ],
)
def test_a_fault_in_one_file_does_not_stop_the_next(
    stub: Callable[..., int], tmp_path: Path, name: str, status: str, code: int, words: str | None
) -> None:
    assert stub("before", name, "after") == code
    files = summary(tmp_path / "out")
    after = "waiting" if name == "interrupted" else "solved"
    assert [files[file]["status"] for file in ("before", name, "after")] == ["solved", status, after]
    assert [words in fault for fault in files[name]["faults"]] == [True] if words else not files[name]["faults"]
    for file in ("before", name, "after"):
        submission_json.check(tmp_path / "out" / file / "submission.json", expected_counts([MIRROR]))


def test_a_folder_that_cannot_be_written_costs_its_file_alone(stub: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "first").touch()
    assert stub("first", "second") == 75
    assert {name: facts["status"] for name, facts in summary(tmp_path / "out").items()} == {
        "first": "failed",
        "second": "solved",
    }


def test_the_first_submission_waits_for_no_guesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_model.cache_clear()
    out = tmp_path / "submission.json"

    def check(*_: object) -> list[Any]:
        submission_json.check(out, expected_counts([MIRROR]))
        return []

    monkeypatch.setattr("solver.answers.attempts.guesses", check)
    Challenges([MIRROR]).write_fallbacks(out)


def test_a_file_whose_name_is_no_unicode_is_in_the_summary(stub: Callable[..., int], tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    assert stub(name) == 0
    assert summary(tmp_path / "out")["caf-"]["file"] == str(tmp_path / f"{name}.json")


def test_the_file_to_solve_is_not_replaced(stub: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "out" / "linked").mkdir(parents=True)
    (tmp_path / "out" / "linked" / "submission.json").symlink_to(tmp_path / "linked.json")
    assert stub("linked", "other") == 1
    assert {name: facts["status"] for name, facts in summary(tmp_path / "out").items()} == {
        "linked": "invalid",
        "other": "solved",
    }
    assert json.loads((tmp_path / "linked.json").read_text()) == {"mirror": as_json(MIRROR)}


@pytest.mark.parametrize("name", [".runs", ".turn", "first/solve.log"])
def test_a_pipe_that_nobody_reads_costs_what_it_stands_for(
    name: str, stub: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "out" / name
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    assert stub("first") == 0
    submission_json.check(tmp_path / "out" / "first" / "submission.json", expected_counts([MIRROR]))
    assert ("expected to" in caplog.text) == (name != "first/solve.log")


def test_the_folder_of_another_run_is_left_alone(stub: Callable[..., int], tmp_path: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    """It solves other tasks under the same name."""
    out = tmp_path / "out" / "same" / "submission.json"
    with own_folder(*lock_of(out)):
        Challenges([TALL]).write_fallbacks(out)
        before = out.read_bytes()

        def busy(self: Stub) -> Outcome:
            with own_folder(*lock_of(self.plan.out)):
                raise AssertionError("the folder is locked")

        assert stub("same", run_file=busy) == 75
    assert out.read_bytes() == before
    assert "another run is using" in caplog.text


def test_what_another_run_solves_meanwhile_is_not_solved_again(stub: Callable[..., int], tmp_path: Path) -> None:
    """The other run finishes a file before this one looks, and a second one while this one waits."""
    theirs, ours, begun = Summary(tmp_path / "out"), [], threading.Event()
    journal = tmp_path / "out" / "second" / "journal"

    def solve_both() -> None:
        with theirs.shared(), own_folder(journal, "claim-0"):
            Challenges([MIRROR]).write_fallbacks(tmp_path / "out" / "first" / "submission.json")
            theirs.update("first", status="solved")
            theirs.update("second", status="solving")
            begun.set()
            assert solved_third.wait(60)
            Challenges([MIRROR]).write_fallbacks(tmp_path / "out" / "second" / "submission.json")
            theirs.update("second", status="solved")

    def note(self: Stub) -> Outcome:
        ours.append(self.plan.out.parent.name)
        solved_third.set()
        return Stub.run(self)

    solved_third, other = threading.Event(), threading.Thread(target=solve_both)
    other.start()
    assert begun.wait(60)
    assert stub("first", "second", "third", run_file=note) == 0
    other.join()
    assert ours == ["third"]
    assert {facts["status"] for facts in summary(tmp_path / "out").values()} == {"solved"}
    assert stub("first", run_file=note) == 0
    assert ours == ["third", "first"], "a run that comes after all others goes on with what is there"


KILLED = """
import sys, time
from submission import batch
from solver.answers.journal import Journal, own_folder
from solver.answers.votes import Block, Candidate
from submission.workers.supervisor import lock_of
import numpy as np

class Hangs:
    def __init__(self, plan, clock):
        self.plan = plan
    def run(self):
        with own_folder(*lock_of(self.plan.out)):
            tasks = self.plan.challenges.tasks
            blocks = [Block((tasks[0].id, 0), 0, [Candidate(np.zeros((1, 1), np.uint8), 5, 0.5)])]
            Journal(self.plan.journal, tasks).append(blocks)
            time.sleep(3600)

batch.Supervisor = Hangs
sys.exit(batch.main())
"""


@pytest.mark.slow
def test_of_two_runs_that_share_a_folder_one_takes_over_when_the_other_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "arc_trm")
    for task in TASKS:
        (tmp_path / f"{task.id}.json").write_text(json.dumps(as_json(task)))
    given = [str(tmp_path / "mirror.json"), str(tmp_path / "tall.json"), "--out", str(tmp_path / "out"), *QUICK]
    with subprocess.Popen([sys.executable, "-c", KILLED, *given]) as other:
        try:
            while not list((tmp_path / "out").glob("mirror/journal/votes-*")):
                assert other.poll() is None
                time.sleep(0.05)

            def kill_later() -> None:
                while summary(tmp_path / "out")["tall"]["status"] != "solved":
                    time.sleep(0.05)
                other.kill()

            killer = threading.Thread(target=kill_later)
            killer.start()
            assert run(monkeypatch, *given, "--anew") == 0
            killer.join()
        finally:
            other.kill()
    assert "going on from 5 votes of an earlier run" in caplog.text
    files = summary(tmp_path / "out")
    assert [(name, files[name]["status"], files[name]["votes"]) for name in ("mirror", "tall")] == [
        ("mirror", "solved", 16 + 5),
        ("tall", "solved", 8),
    ]


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
