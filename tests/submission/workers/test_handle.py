"""A worker that cannot be started, or stops without a word, costs itself and not the run. No worker loads torch."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from solver.answers.run_json import FILE_NAME
from solver.common import files
from submission.workers import handle
from submission.workers.job import Job
from tests.submission.runs import supervised

BEAT = """print('{"beat": {"steps": 1, "agreed": 0, "loss": null}}', flush=True)"""
AT_ONCE = (sys.executable, "-c", """print('{"done": {"steps": 1, "preset": "tiny"}}')""")


def test_a_worker_whose_log_is_a_folder_or_a_pipe_works_without_one(tmp_path: Path) -> None:
    (tmp_path / "journal" / "worker-1-of-2.log").mkdir(parents=True)
    os.mkfifo(tmp_path / "journal" / "worker-0-of-2.log")
    supervisor, outcome = supervised(tmp_path / "submission.json", devices=("cpu", "cpu"), command=AT_ONCE)
    assert [worker.starts for worker in supervisor.workers] == [1, 1]
    assert outcome.fit_steps == 2


def test_a_worker_that_cannot_be_started_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, made = subprocess.Popen, []

    def scarce(*arguments: Any, **named: Any) -> Any:
        made.append(arguments)
        if len(made) > 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*arguments, **named)

    monkeypatch.setattr(handle.subprocess, "Popen", scarce)
    monkeypatch.setattr(handle, "PATIENCE", 0.0)
    supervisor, outcome = supervised(tmp_path / "submission.json", devices=("cpu", "cpu"), command=AT_ONCE)
    assert (supervisor.workers[0].starts, supervisor.workers[1].starts) == (1, handle.MOST_STARTS)
    assert outcome.fit_steps == 1
    assert "worker 1 (cpu) could not be started ([Errno 11] Resource temporarily unavailable)" in caplog.text
    assert (tmp_path / FILE_NAME).is_file()


def test_a_record_that_cannot_be_written_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).mkdir()
    _, outcome = supervised(tmp_path / "submission.json", command=AT_ONCE)
    assert outcome.fit_steps == 1
    assert "run.json: expected to write" in caplog.text


def test_a_disk_that_is_full_after_the_first_submission_keeps_no_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(source: str, target: str) -> None:
        if not str(target).endswith("submission.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    _, outcome = supervised(tmp_path / "submission.json", command=AT_ONCE)
    assert outcome.fit_steps == 1


def test_only_starts_that_bring_no_votes_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process ends with one vote more than the one before it, until there are ten."""
    monkeypatch.setattr(handle, "MOST_STARTS", 2)
    file = tmp_path / "votes"
    code = f"""open({str(file)!r}, "a").write("."); votes = len(open({str(file)!r}).read())
print('{{"beat": {{"steps": 1, "agreed": 0, "loss": null, "votes": %d}}}}' % min(10, votes))"""
    supervisor, _ = supervised(tmp_path / "submission.json", command=(sys.executable, "-c", code))
    assert supervisor.workers[0].given_up
    assert len(file.read_text()) == 12


def test_a_folder_whose_name_is_no_unicode_reaches_the_worker(tmp_path: Path) -> None:
    looks = "import json, os, sys; assert os.path.exists(json.loads(sys.stdin.buffer.readline())['journal'])"
    command = (sys.executable, "-c", f"{looks}; {AT_ONCE[2]}")
    _, outcome = supervised(tmp_path / os.fsdecode(b"caf\xe9") / "submission.json", command=command)
    assert outcome.fit_steps == 1


@pytest.mark.parametrize("spoke", [True, False])
def test_a_worker_that_is_stopped_is_noticed_also_in_a_short_run(spoke: bool, tmp_path: Path) -> None:
    """A process that has not reported yet may still be loading, so it gets longer."""
    job = Job(tasks={"large": "0" * 10**6}, journal="", name="", device="cpu", deadline=0.0, options={})
    speak = f"sys.stdin.readline(); {BEAT}" if spoke else None
    command = (sys.executable, "-c", f"import sys, time; {speak}; time.sleep(1000)")
    worker = handle.WorkerHandle(0, job, tmp_path / "log", silence=20.0, command=command)
    worker.start()
    assert worker._process is not None
    first = worker._process
    while spoke and not worker.progress:
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    worker._heard -= 30.0
    worker.look(time.monotonic() + 1000)
    assert worker.starts == (2 if spoke else 1)
    worker.stop()
    assert first.poll() == (-signal.SIGKILL)
