"""Each fault is injected. Afterwards the submission is valid, the votes are kept, and the log has a line about it."""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from solver.answers import submission_json
from solver.answers.journal import JournalReader, own_folder
from solver.answers.outcome import LEAK_WARNING
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.answers.votes import Votes
from solver.common import files
from solver.common.checks import InputError
from solver.model.weights import fresh_knowledge, save_knowledge
from solver.settings.config import TRMConfig
from submission.challenges import Challenges
from submission.workers import handle, worker
from submission.workers.job import ORPHANED, Job
from tests.solver.run.simulated import square_task
from tests.solver.samples import TASKS
from tests.submission.runs import options, supervised

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
VOTES = 3 * 8  # three test outputs, eight variants


def journal_votes(folder: Path) -> Votes:
    votes = Votes(TASKS)
    for block in JournalReader(folder, TASKS).new_blocks():
        votes.add(block)
    return votes


@pytest.fixture
def out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO, "arc_trm")
    return tmp_path / "submission.json"


def test_runs_without_faults_vote_on_everything_and_one_at_a_time(out: Path) -> None:
    with own_folder(out.parent / "journal", "lock-0"), pytest.raises(InputError, match="another run is using"):
        supervised(out)
    supervisor, outcome = supervised(out, devices=("cpu", "cpu"))
    assert len(supervisor.workers) == 2
    assert all(worker.done and worker.starts == 1 for worker in supervisor.workers)
    assert outcome.votes.total == VOTES
    record = read_run(out.parent)
    assert [test["votes"] for task in record["tasks"] for test in task["test"]] == [8, 8, 8]
    assert record["preset"] == "tiny"
    assert not list((out.parent / "journal").glob("fitted-*"))
    assert supervised(out)[1].votes.total == 2 * VOTES  # a further run goes on from the votes of the first


def test_workers_share_the_cores_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert "OMP_NUM_THREADS" not in handle._environment(None)
    assert handle._environment(3)["OMP_NUM_THREADS"] == handle._environment(3)["NUMBA_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert handle._environment(3)["OMP_NUM_THREADS"] == "7"


def test_the_last_message_of_a_dead_worker_is_read_before_it_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the thread that reads the messages may be late."""
    talk = handle.WorkerHandle._talk

    def late(self: handle.WorkerHandle, process: Any, job: Job) -> None:
        process.wait()
        time.sleep(0.3)
        talk(self, process, job)

    monkeypatch.setattr(handle.WorkerHandle, "_talk", late)
    refuses = 'print(\'{"refused": {"weights": "too old"}}\')'
    job = Job(tasks={}, journal="", name="", device="cpu", deadline=0.0, options={})
    worker = handle.WorkerHandle(0, job, tmp_path / "log", silence=1e9, command=(sys.executable, "-c", refuses))
    worker.start()
    assert worker._process is not None
    worker._process.wait()
    worker.look(deadline=time.monotonic() + 1e9)
    worker.stop()
    assert worker.refused == {"weights": "too old"}
    assert worker.starts == 1


@pytest.mark.parametrize("said", [b"", b'{"tasks": {"a'])
def test_a_worker_whose_supervisor_ends_before_the_job_is_sent_ends(said: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(said)))
    assert worker.main() == ORPHANED


def test_workers_find_the_project_from_any_folder() -> None:
    first = Path(handle._environment(None)["PYTHONPATH"].split(os.pathsep)[0])
    assert (first / "submission" / "workers" / "worker.py").is_file()


def test_four_workers_one_of_them_killed_have_the_votes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, on a CPU and where every task is fitted alone: tasks that are fitted together share a network."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    challenges, found = Challenges([*TASKS, square_task("two", 2), square_task("three", 3)]), []
    for folder, fault, count in (("one", None, 1), ("four", "is killed", 4)):
        (tmp_path / folder).mkdir()
        supervisor, outcome = supervised(
            tmp_path / folder / "submission.json",
            fault,
            devices=("cpu",) * count,
            settings=options(fit_together=1),
            challenges=challenges,
        )
        tests = {task: [[vars(c) for c in test] for test in tests] for task, tests in outcome.votes.ranked().items()}
        found.append(json.dumps(tests, default=np.ndarray.tolist))
    assert sorted(worker.starts for worker in supervisor.workers) == [1, 1, 1, 2]
    assert found[0] == found[1]
    assert outcome.votes.total == 5 * 8


@pytest.mark.parametrize(
    ("fault", "words"),
    [("dies after its first votes", "was killed by signal 9"), ("crashes", "ended with exit code 1")],
)
def test_a_worker_that_dies_is_started_again_and_its_votes_are_kept(
    out: Path, fault: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor, outcome = supervised(out, fault)
    assert supervisor.workers[0].starts == 2
    assert outcome.votes.total == (2 * VOTES if "votes" in fault else VOTES)
    (line,) = [record.getMessage() for record in caplog.records if words in record.getMessage()]
    assert "starting it again" in line
    assert ("ZeroDivisionError" in line) == (fault == "crashes")


def test_a_worker_that_dies_again_and_again_is_given_up(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("submission.workers.handle.MOST_STARTS", 2)
    supervisor, outcome = supervised(out, "dies always")
    assert supervisor.workers[0].given_up
    assert supervisor.workers[0].starts == 2
    assert outcome.votes.total == 0
    assert "its tasks keep the votes they have" in caplog.records[-1].getMessage()


def test_a_worker_that_hangs_is_killed_and_started_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor's clock jumps by more than the silence that it allows once the worker hangs."""
    real, hangs = time.monotonic, out.parent / "flag.hangs"
    monkeypatch.setattr("time.monotonic", lambda: real() + (10_000 if hangs.exists() else 0))
    supervisor, outcome = supervised(out, "hangs", seconds=100_000)
    assert supervisor.workers[0].starts == 2
    assert outcome.votes.total == VOTES
    assert re.search(r"said nothing for 10\d\d\d s and was killed", caplog.text)


@pytest.mark.parametrize("fault", ["little memory", "no memory at all"])
def test_out_of_memory_costs_a_batch_not_the_run(out: Path, fault: str) -> None:
    supervisor, outcome = supervised(out, fault)
    assert supervisor.workers[0].starts == 1
    assert outcome.votes.total == (0 if fault == "no memory at all" else VOTES)
    log = next((out.parent / "journal").glob("worker-*.log")).read_text()
    assert "fit: out of memory" in log
    assert ("predict: out of memory with one sample" in log) == (fault == "no memory at all")


def test_a_full_disk_delays_the_journal(out: Path) -> None:
    more = options(augmentations=32, fit_steps=100)  # a network that knows a little does not agree after 8 votes
    _, outcome = supervised(out, "disk full", settings=more)
    assert outcome.votes.total == journal_votes(out.parent / "journal").total > VOTES  # though two writes failed
    assert next((out.parent / "journal").glob("worker-*.log")).read_text().count("No space left") == 2


def test_a_full_disk_leaves_the_submission_of_before(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = os.replace, []

    def full(*paths: object) -> None:
        calls.append(paths)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        submission_json.check(out, expected_counts(TASKS))
        real(*paths)  # type: ignore[arg-type]

    Challenges(TASKS).write_fallbacks(out)
    monkeypatch.setattr(files.os, "replace", full)
    _, outcome = supervised(out)
    assert "No space left" in caplog.text
    assert outcome.votes.total == VOTES


def small_weights(folder: Path, manifest: dict[str, Any] | None = None, **config: Any) -> Path:
    model = TRMConfig(width=16, heads=2, row_tokens=1, row_width=16, embedding="per_cell", **config)
    save_knowledge(folder, replace(fresh_knowledge(model, 0, CPU), manifest=manifest or {}))
    return folder


@pytest.mark.parametrize("fault", ["truncated", "another vocabulary", "another canvas", "none there"])
def test_weights_that_are_no_good_are_done_without(out: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = out.parent / "weights"
    if fault != "none there":
        config = {"another vocabulary": {"vocabulary": 6}, "another canvas": {"canvas": (9, 9)}}
        small_weights(folder, **config.get(fault, {}))
    if fault == "truncated":
        os.truncate(folder / "model.safetensors", 1000)
    others = [small_weights(out.parent / "next", positions="rope2d")] if fault == "truncated" else []
    supervisor, outcome = supervised(out, weights=[folder, *others], forgiving=True)
    assert outcome.votes.total == VOTES
    assert supervisor.workers[0].job.weights == (str(others[0]) if others else None)
    instead = others[0] if others else "a fresh model"
    (line,) = [record.getMessage() for record in caplog.records if f"continues with {instead}" in record.getMessage()]
    assert str(folder) in line


def test_a_score_of_weights_that_saw_the_outputs_says_so_even_if_its_worker_dies(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submission.workers.handle.MOST_STARTS", 1)
    weights = small_weights(out.parent / "weights", {"leaks_allowed": True})
    _, outcome = supervised(out, "dies always", weights=[weights], settings=options(canvas="full"))
    assert outcome.notes == [LEAK_WARNING]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder to write to"):
        supervised(tmp_path / "file" / "submission.json")


def test_weights_that_are_no_good_end_a_run_that_does_not_forgive(out: Path) -> None:
    with pytest.raises(InputError, match="weights"):
        supervised(out, weights=[out.parent / "nowhere"])
    submission_json.check(out, expected_counts(TASKS))


def test_a_card_that_is_not_there_is_replaced_by_the_cpu(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = small_weights(out.parent / "weights", positions="rope2d")
    supervisor, outcome = supervised(out, devices=("cuda:99",), forgiving=True, weights=[weights])
    assert (supervisor.workers[0].job.device, supervisor.workers[0].job.weights) == ("cpu", str(weights))
    assert outcome.votes.total == VOTES
    assert "(cuda:99) continues with cpu instead" in caplog.text


def test_a_signal_ends_the_run_with_what_has_been_voted(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()

    def send_after_the_first_vote() -> None:
        while not over.wait(0.05):
            if journal_votes(out.parent / "journal").total:
                for _ in range(2):  # as a scheduler does that signals a process and its group
                    os.kill(os.getpid(), signal.SIGTERM)
                return

    sender = threading.Thread(target=send_after_the_first_vote)
    sender.start()
    try:
        _, outcome = supervised(out, settings=options(fit_steps=40, augmentations=5000))
    finally:
        over.set()
        sender.join()
    assert "signal 15: stopping" in caplog.text
    assert 0 < outcome.votes.total < 3 * 5000
    assert read_run(out.parent)["source"] == "hand-made"
    assert outcome.votes.total == journal_votes(out.parent / "journal").total


def test_wall_clock_jumps_and_a_numba_cache_that_cannot_be_written_do_not_matter(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    jumps = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("time.time", lambda: next(jumps))
    supervisor, outcome = supervised(out, "clock jumps")
    assert supervisor.workers[0].starts == 1
    assert outcome.votes.total == VOTES
