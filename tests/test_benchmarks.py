"""Benchmarks print a table and end with one JSON document; test_gpu_check.py runs them."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cli, soak, unseen
from solver.__main__ import main
from solver.answers.journal import Journal
from solver.answers.outcome import Outcome
from solver.answers.run_json import write_record
from solver.answers.votes import Block, Candidate, Votes
from solver.common.checks import InputError
from solver.tasks.load import load_tasks, load_truths
from submission.challenges import Challenges
from tests.solver.samples import save_challenges


def test_bench_ends_with_one_json_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.BENCHES, "tally", lambda setup: iter([{"twin": "numpy", "per_second": 2.0}] * 2))
    monkeypatch.setattr(cli, "gemm_gflops", lambda device, dtype: 8.0)
    assert main(["bench", "tally", "--quick", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    document = json.loads(lines[-1])
    assert (document["bench"], document["gemm_gflops"]) == ("tally", 8.0)
    assert document["rows"] == [{"device": "cpu", "twin": "numpy", "per_second": 2.0, "gemm_gflop": 4.0}] * 2
    assert len(lines) == 1 + 2 + 1  # a heading, the rows, the document


def test_unseen_tasks_become_challenges_and_solutions(tmp_path: Path) -> None:
    pair = {"input": [["1", 0], [None, 2]], "output": [[2]]}
    for number in range(20):
        (tmp_path / f"task {number}.json").write_text(json.dumps({"train": [pair], "test": [pair]}))
    assert unseen.command(tmp_path, tmp_path / "out") == 0
    found = {part: load_tasks(str(tmp_path / "out" / f"{part}_challenges.json")) for part in ("dev", "test")}
    assert 0 < len(found["dev"]) < len(found["test"])
    assert len({task.id for tasks in found.values() for task in tasks}) == 20
    for part, tasks in found.items():
        truths = load_truths(str(tmp_path / "out" / f"{part}_solutions.json"))
        assert {task.id for task in tasks} == set(truths)
        for task in tasks:
            assert task.train[0].input.tolist() == task.test[0].input.tolist() == [[1, 0], [0, 2]]
            assert task.test[0].output is None
            assert truths[task.id][0].tolist() == [[2]]
    with pytest.raises(InputError, match="expected MiniARC's task files"):
        unseen.command(tmp_path / "nothing")


SLEEPS = "import time; print(time.time(), flush=True); open({ready!r}, 'w').close(); time.sleep(3600)"


@pytest.fixture
def soaked(tmp_path: Path) -> Iterator[soak.Soak]:
    """A soak whose run sleeps in place of solving."""
    save_challenges(tmp_path / "challenges.json")
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", SLEEPS.format(ready=str(ready))]
    made = soak.Soak(tmp_path, tmp_path / "challenges.json", 3600.0, command, random.Random(0))
    try:
        while not ready.exists():
            assert made.process.poll() is None
            time.sleep(0.01)
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def test_a_soak_does_what_it_says(soaked: soak.Soak, tmp_path: Path) -> None:
    """Every fault reaches its process, and those that pass are undone."""
    pid = soaked.process.pid

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    soak.FAULTS["stop"](soaked, pid, [])
    while state() != "T":
        time.sleep(0.01)
    soak.FAULTS["full disk"](soaked, pid, [])
    soak.FAULTS["little memory"](soaked, pid, [pid])
    assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0
    assert resource.prlimit(pid, resource.RLIMIT_AS)[0] > 0
    soaked.undo(now=1e9)
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_AS):
        assert resource.prlimit(pid, what)[0] == resource.RLIM_INFINITY
    while state() == "T":
        time.sleep(0.01)
    soak.FAULTS["clock jump"](soaked, pid, [])
    jumped = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=soaked.environment,
        capture_output=True,
        text=True,
    )
    assert abs(float(jumped.stdout) - time.time()) > 3600
    soak.FAULTS["kill"](soaked, pid, [])
    assert soaked.process.wait() == -signal.SIGKILL


def test_a_soak_sees_what_goes_wrong(
    soaked: soak.Soak, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "FLAT", 0.0)
    journal = soaked.out.parent / "journal"
    candidate = Candidate(np.zeros((1, 1), np.uint8), 5, 0.5)
    Journal(journal, soaked.tasks).append([Block((soaked.tasks[0].id, 0), 0, [candidate])])
    assert soaked.votes() == 5
    soak.FAULTS["broken line"](soaked, 0, [])
    assert soaked.votes() == 5
    soaked.look()
    assert soaked.looks == 0, "there is no file yet"
    Challenges(soaked.tasks).write_fallbacks(soaked.out)
    soaked.look()
    assert (soaked.looks, soaked.bad) == (1, [])
    soaked.out.write_text("{")
    soaked.look()
    assert "expected JSON" in soaked.bad[0]
    outcome = Outcome(Votes(soaked.tasks))
    write_record(soaked.out.parent, soaked.tasks, outcome, "tiny", "hand-made", 0)
    soaked.memory = [1.0, 1.0, 1.0, 2.0]
    wrong = soak.report(soaked, -10.0, 75)
    for words in ("the 5 of the journal, got 0", "memory: expected", "more", "exit code 0 of the run, got 75"):
        assert any(words in line for line in wrong), words
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["wrong"] == wrong
    outcome.votes.add(Block((soaked.tasks[0].id, 0), 0, [candidate]))
    write_record(soaked.out.parent, soaked.tasks, outcome, "tiny", "hand-made", 0)
    soaked.bad.clear()
    soaked.memory = [2.0, 1.0, 1.0, 1.0]
    assert soak.report(soaked, 3600.0, 0) == []
