"""Runs that are stopped or killed: what is on the disk is valid, and a resumed run goes on with all of its votes."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solver.__main__ import main
from solver.answers import submission_json
from solver.answers.journal import Journal, JournalReader
from solver.answers.outcome import LEAK_WARNING, Outcome
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.answers.votes import Block, Candidate
from solver.common.clock import Clock
from solver.model.weights import WEIGHTS, Knowledge, fresh_knowledge, load_knowledge, save_knowledge
from solver.run import console, solve
from solver.run.console import solve_to_files
from solver.run.events import Counted, Event, RoundDone
from solver.run.restart import Keeper
from solver.settings import presets
from solver.tasks.task import Task
from tests.solver.run.simulated import square_task, tick
from tests.solver.samples import MIRROR, TALL, TASKS, config, make_fitting, make_run, save_challenges

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
STOPPED = "stopped before its time"


def run(folder: Path, clock: Clock | None = None, tasks: list[Task] = TASKS, **fit: Any) -> Outcome:
    going = make_run(clock, tasks, **fit)
    keeper = Keeper(folder / "journal", tasks, "fitted" if len(going.config.fit.groups(tasks)) == 1 else None)
    return solve_to_files(going, folder / "submission.json", "hand-made", keeper, show=False)[0]


def counted(folder: Path, tasks: list[Task] = TASKS) -> Counter[Any]:
    """The votes in the journal of each grid of each test input in each round."""
    votes: Counter[Any] = Counter()
    for block in JournalReader(folder / "journal", tasks).new_blocks():
        for candidate in block.candidates:
            votes[block.test, block.round, candidate.grid.shape, candidate.grid.tobytes()] += candidate.votes
    return votes


def stop_after(patch: pytest.MonkeyPatch, rounds: int, clock: Clock) -> None:
    real, done = console._show, []

    def show(event: Event, *given: Any) -> None:
        real(event, *given)
        done.extend([event] if isinstance(event, RoundDone) else [])
        if len(done) == rounds:
            clock.stop()

    patch.setattr(console, "_show", show)


def stopped(folder: Path, patch: pytest.MonkeyPatch, rounds: int = 2, **fit: Any) -> Counter[Any]:
    """The journal of a run that was stopped after some rounds."""
    with patch.context() as here:
        tick(here)
        clock = Clock(20)
        here.setattr("solver.run.schedule.ROUND_ENDS", (0.005, 0.01, 0.5, 1.0))
        stop_after(here, rounds, clock)
        outcome = run(folder, clock, steps=None, **fit)
    assert STOPPED in outcome.notes
    assert STOPPED in read_run(folder)["notes"]
    submission_json.check(folder / "submission.json", expected_counts(TASKS))
    votes = counted(folder)
    assert {key[1] for key in votes} == set(range(rounds))
    return votes


def see_starts(patch: pytest.MonkeyPatch) -> list[tuple[str, Knowledge]]:
    """The first task of each fit that is made, and what it starts from."""
    starts, real = [], solve.Fitting

    def see(tasks: Any, variants: Any, start: Knowledge, *rest: Any) -> Any:
        starts.append((tasks[0].id, start))
        return real(tasks, variants, start, *rest)

    patch.setattr("solver.run.solve.Fitting", see)
    return starts


def test_a_resumed_run_has_all_votes_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stopped(tmp_path, monkeypatch)
    fitted = load_knowledge(tmp_path / "journal" / "fitted", CPU)
    starts = see_starts(monkeypatch)
    outcome = run(tmp_path)
    after = counted(tmp_path)
    assert all(after[key] == votes for key, votes in before.items())
    assert sum(after.values()) > sum(before.values())
    assert {key[1] for key in after} == {0, 1, 2}
    assert outcome.votes.total == sum(after.values())
    votes = [test["votes"] for task in read_run(tmp_path)["tasks"] for test in task["test"]]
    assert sum(votes) == sum(after.values())
    assert torch.equal(starts[0][1].table, fitted.table)
    assert starts[0][1].rows == fitted.rows
    assert STOPPED not in outcome.notes
    assert not (tmp_path / "journal" / "fitted").exists()  # the run is over


def test_what_other_weights_or_other_code_made_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    going, folder = make_run(), tmp_path / "journal"
    first = Keeper(folder, TASKS, "fitted", going.start)
    first.keep(Counted([Block((TALL.id, 0), 0, [Candidate(np.ones((1, 1), np.uint8), 1, 0.5)])]))
    fitting = make_fitting(TASKS, going.start, config())
    next(fitting.run(Clock()))
    first.keep(RoundDone(fitting))
    again = Keeper(folder, TASKS, "fitted", going.start)
    assert again.outcome().votes.total == 1
    assert again.knowledge(going.start) is not None
    assert not caplog.records
    other = fresh_knowledge(config().model, 1, CPU)
    keeper = Keeper(folder, TASKS, "fitted", other)
    assert keeper.outcome().votes.total == 1
    assert keeper.knowledge(other) is None
    monkeypatch.setattr("solver.run.restart.code_digest", lambda: "another")
    assert Keeper(folder, TASKS, "fitted", going.start).knowledge(going.start) is not None
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "some of the votes were made by other weights or other code; they count too",
        "expected a fit of these weights, got one of others; fitting begins again",
        "fitted by other code; fitting goes on from there",
    ]


def test_the_first_submission_of_a_resumed_run_has_its_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path, monkeypatch)
    expected = (tmp_path / "submission.json").read_bytes()
    (tmp_path / "submission.json").unlink()
    run(tmp_path, Clock(0))
    assert (tmp_path / "submission.json").read_bytes() == expected


def test_votes_of_other_tasks_in_the_folder_are_ignored(tmp_path: Path) -> None:
    other = Task(MIRROR.id, TALL.train, MIRROR.test)
    run(tmp_path / "other", tasks=[other, square_task("more", 3)])
    (tmp_path / "other" / "journal").rename(tmp_path / "journal")
    outcome = run(tmp_path)
    run(tmp_path / "alone")
    assert outcome.votes.total == 24
    assert (tmp_path / "submission.json").read_bytes() == (tmp_path / "alone" / "submission.json").read_bytes()


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "puzzles.json"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_truncated_weights_cost_one_warning(file: str, share: float, tmp_path: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "journal" / "fitted"
    save_knowledge(folder, fresh_knowledge(config().model, 0, CPU))
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: int(share * len(data))])
    outcome = run(tmp_path)
    (record,) = caplog.records
    assert "fitting begins again" in record.message
    assert file in record.message
    assert outcome.votes.total == 24


def test_a_disk_that_takes_no_votes_costs_warnings_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    outcome = run(tmp_path)
    assert "journal: expected to write votes" in caplog.text
    assert "fitted" in caplog.text
    assert outcome.votes.total == 24
    submission_json.check(tmp_path / "submission.json", expected_counts(TASKS))


def test_votes_wait_until_the_journal_can_be_made(tmp_path: Path) -> None:
    keeper, blocker = Keeper(tmp_path / "journal", TASKS, "fitted"), tmp_path / "journal"
    run(tmp_path / "source")
    blocks = list(JournalReader(tmp_path / "source" / "journal", TASKS).new_blocks())
    blocker.write_text("")
    keeper.keep(Counted(blocks[:1]))
    blocker.unlink()
    keeper.keep(Counted(blocks[1:]))
    assert counted(tmp_path) == counted(tmp_path / "source")


def test_tasks_that_are_fitted_on_their_own_resume_on_their_own(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    settings = config()
    last = make_fitting([TALL], fresh_knowledge(settings.model, 0, CPU), settings)
    Keeper(tmp_path / "journal", TASKS, "fitted").keep(RoundDone(last))
    starts = see_starts(monkeypatch)
    run(tmp_path, together=1)
    assert len(starts) == 2
    assert all({name for name, _ in start.rows} <= {task_id} for task_id, start in starts)


def test_weights_of_other_tasks_in_the_folder_are_ignored(tmp_path: Path) -> None:
    other = fresh_knowledge(config().model, seed=9, device=CPU)
    other = Knowledge(other.model, torch.ones(1, 16), {("another", "digest"): 0})
    save_knowledge(tmp_path / "journal" / "fitted", other)
    run(tmp_path)
    run(tmp_path / "alone")
    assert (tmp_path / "submission.json").read_bytes() == (tmp_path / "alone" / "submission.json").read_bytes()


@pytest.mark.parametrize("resume", [False, True])
def test_the_command_forgets_votes_unless_it_resumes(resume: bool, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(presets, "PRESETS", {"tiny": config})
    challenges, out = save_challenges(tmp_path / "challenges.json"), tmp_path / "out" / "submission.json"
    before = stopped(out.parent, monkeypatch)
    given = ["solve", str(challenges), "--out", str(out), "--fit-steps", "2", "--preset", "tiny"]
    assert main([*given, "--resume" if resume else "--no-resume"]) == 0
    after = counted(out.parent)
    assert (before - after == Counter()) == resume
    assert sum(after.values()) == 24 + resume * sum(before.values())
    assert not (out.parent / "journal" / "fitted").exists()


def start_child(folder: Path) -> subprocess.Popen[str]:
    """A run of an hour whose first round is over after a second of fitting."""
    challenges, out = save_challenges(folder / "challenges.json"), folder / "submission.json"
    arguments = ["--preset", "tiny", "--budget", "1h", "--augmentations", "8", "--device", "cpu"]
    program = (
        "import sys, solver.__main__, solver.run.schedule as schedule\n"
        "schedule.ROUND_ENDS = (0.0004, 1.0)\n"
        "sys.exit(solver.__main__.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "solve", str(challenges), "--out", str(out), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_votes(child: subprocess.Popen[str], folder: Path) -> Counter[Any]:
    """The votes on the disk as soon as there are some."""
    while child.poll() is None:
        if votes := counted(folder):
            return votes
        time.sleep(0.02)
    raise AssertionError(f"it ended without a vote: {child.communicate()}")


@pytest.mark.slow
def test_sigterm_leaves_a_submission_and_a_record_that_says_so(tmp_path: Path) -> None:
    child = start_child(tmp_path)
    seen = wait_for_votes(child, tmp_path)
    child.terminate()
    out, err = child.communicate(timeout=600)  # most of the hour was left
    assert child.returncode == 130, err
    assert STOPPED in err
    assert "2 tasks" in out
    record, answers = read_run(tmp_path), submission_json.read(tmp_path / "submission.json", expected_counts(TASKS))
    assert STOPPED in record["notes"]
    for task in record["tasks"]:
        for test, kept in zip(task["test"], answers[task["id"]], strict=True):
            assert test["attempts"] == [grid.tolist() for grid in kept]
            assert not test["candidates"] or test["candidates"][0]["grid"] == kept[0].tolist()  # empty grids: no votes
    after = counted(tmp_path)
    assert seen - after == Counter()
    assert sum(after.values()) == sum(test["votes"] for task in record["tasks"] for test in task["test"])


@pytest.mark.slow
def test_a_kill_leaves_a_submission_and_all_votes_to_resume_with(tmp_path: Path) -> None:
    child = start_child(tmp_path)
    seen = wait_for_votes(child, tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    submission_json.check(tmp_path / "submission.json", expected_counts(TASKS))
    assert not (tmp_path / "run.json").exists()
    before = counted(tmp_path)
    assert seen - before == Counter()
    given = ["solve", str(tmp_path / "challenges.json"), "--out", str(tmp_path / "submission.json")]
    more = ["--preset", "tiny", "--augmentations", "8", "--fit-steps", "2", "--resume"]
    assert main([*given, *more]) == 0
    after = counted(tmp_path)
    assert before - after == Counter()
    assert sum(after.values()) >= sum(before.values())  # empty grids are no votes
    record = read_run(tmp_path)
    assert sum(test["votes"] for task in record["tasks"] for test in task["test"]) == sum(after.values())


def test_two_processes_share_a_journal_and_keep_weights_of_their_own(tmp_path: Path) -> None:
    for name, task in (("one", MIRROR), ("two", TALL)):
        keeper = Keeper(tmp_path / "journal", [task], name)
        solve_to_files(make_run(tasks=[task]), tmp_path / name, "hand-made", keeper, show=False)
    votes = Keeper(tmp_path / "journal", TASKS, "fitted").outcome().votes
    assert votes.total == 24
    ranked = votes.ranked()
    assert all(ranked[task.id][index] for task in TASKS for index in range(len(task.test)))
    assert np.all([path.suffix == ".jsonl" for path in (tmp_path / "journal").iterdir()])


@pytest.mark.parametrize("leaks", [False, True])
def test_votes_of_weights_that_saw_the_outputs_stay_marked(leaks: bool, tmp_path: Path) -> None:
    block = Block((MIRROR.id, 0), 0, [Candidate(np.ones((1, 1), np.uint8), 1, 0.5)])
    Journal(tmp_path / "journal", TASKS, leaks).append([block])
    Journal(tmp_path / "journal", TASKS).append([block])
    outcome = run(tmp_path)
    assert outcome.votes.total > 2
    assert (LEAK_WARNING in outcome.notes) == leaks
