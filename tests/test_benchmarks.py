"""Benchmarks print a table and end with one JSON document; what they measure is left to `arc-trm bench` itself."""

import json
from pathlib import Path

import pytest

from benchmarks import unseen
from solver.__main__ import main
from solver.common.checks import InputError
from solver.tasks.load import load_tasks, load_truths

ROWS = {
    "train": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "predict": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "augment": {("twin", "numpy"), ("twin", "numba"), ("twin", "torch")},
    "tally": {("twin", "numba"), ("decoder", "robust"), ("decoder", "published")},
}


@pytest.mark.slow
@pytest.mark.parametrize("bench", ROWS)
def test_bench_ends_with_one_json_line(bench: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", bench, "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    document = json.loads(lines[-1])
    assert document["bench"] == bench
    assert document["gemm_gflops"] > 0
    assert len(lines) == 1 + len(document["rows"]) + 1  # a heading, the rows, the document
    seen = {item for row in document["rows"] for item in row.items() if isinstance(item[1], str | int)}
    assert ROWS[bench] <= seen
    for row in document["rows"]:
        assert row["per_second"] > 0
        assert bench in ("augment", "tally") or row["gemm_gflop"] > 0


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
