"""Benchmarks print a table and end with one JSON document; what they measure is left to `arc-trm bench` itself."""

import json

import pytest

from solver.cli import main

ROWS = {
    "train": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "predict": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "augment": {("twin", "numpy"), ("twin", "numba"), ("twin", "torch")},
    "tally": {("twin", "numba"), ("decoder", "robust"), ("decoder", "published")},
}


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
