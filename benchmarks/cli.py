"""`arc-trm bench`: run one benchmark, print its table, then one JSON document as the last line."""

import statistics
from functools import partial
from typing import Any, Literal

import orjson
import torch
import tyro

from benchmarks import augment, learner, tally
from kernels.yardstick import gemm_gflops

BENCHES = {
    "train": partial(learner.rows, "train"),
    "predict": partial(learner.rows, "predict"),
    "augment": augment.rows,
    "tally": tally.rows,
}


def command(what: tyro.conf.Positional[Literal["train", "predict", "augment", "tally"]], quick: bool = False) -> int:
    """Measure this machine: a table, then one JSON document as the last line.

    The document names the CPU's widest instructions that torch uses, such as AVX512. Costs are also given in units of
    this machine's matrix product (2048^3 float32 torch.mm, measured in the same run): seconds x GFLOP/s = GEMM-GFLOP,
    which compares across machines.

    Args:
        what: train, predict: supervision steps times samples; augment: pairs encoded; tally: predictions counted.
        quick: Fewer repetitions and the small width only, as a smoke test.
    """
    rows, speeds = [], [gemm_gflops()]
    for row in BENCHES[what](quick):
        rows.append(row)
        speeds.append(gemm_gflops())  # after every row, because shared machines drift
    gflops = statistics.median(speeds)
    rows = [{**row, "gemm_gflop": gflops / row["per_second"]} for row in rows]
    print(format_rows(rows))
    instructions = torch.backends.cpu.get_cpu_capability()
    print(orjson.dumps({"bench": what, "gemm_gflops": round(gflops, 1), "cpu": instructions, "rows": rows}).decode())
    return 0


def format_rows(rows: list[dict[str, Any]]) -> str:
    """A table, numbers with four digits."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return str(value)
