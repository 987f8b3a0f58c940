"""`arc-trm bench`: run one benchmark, print its table, then one JSON document as the last line."""

import statistics
from functools import partial
from typing import Any, Literal

import orjson
import torch
import tyro

from benchmarks import augment, learner, solve, tally
from benchmarks.measure import Setup
from kernels.yardstick import gemm_gflops
from solver.model.device import pick_device, pick_precision
from solver.settings.config import DeviceName, Precision

Bench = Literal["train", "predict", "augment", "tally", "solve"]
BENCHES = {
    "train": partial(learner.rows, "train"),
    "predict": partial(learner.rows, "predict"),
    "augment": augment.rows,
    "tally": tally.rows,
    "solve": solve.rows,
}


def command(
    what: tyro.conf.Positional[Bench],
    quick: bool = False,
    device: DeviceName = "auto",
    precision: Precision = "auto",
) -> int:
    """Measure this machine: a table, then one JSON document as the last line.

    The document names the CPU's widest instructions that torch uses, such as AVX512. Costs are also given in units of
    this machine's matrix product (2048^3 torch.mm on a CPU, 8192^3 on a card, measured in the same run): seconds x
    GFLOP/s = GEMM-GFLOP, which compares across machines, and as a share of its rate. `launches` are those of one step
    or call, `bytes` cross between host and device per sample.

    Args:
        what: train, predict: supervision steps times samples; augment: pairs encoded; tally: predictions counted;
            solve: votes, from the grids of tasks to counted grids.
        quick: Fewer repetitions and the small width only, as a smoke test.
        device: Device to measure.
        precision: Type of the forward pass; auto: bfloat16 on new GPUs, float16 on older ones, float32 on CPUs.
    """
    where = pick_device(device)
    document = measured(what, Setup(where, pick_precision(where, precision), quick))
    print(format_rows(document["rows"]))
    print(orjson.dumps(document).decode())
    return 0


def measured(what: Bench, setup: Setup) -> dict[str, Any]:
    """The document of a benchmark."""
    cuda = setup.device.type == "cuda"
    product = partial(gemm_gflops, setup.device, setup.dtype if cuda else torch.float32)
    rows, speeds = [], [product()]
    for row in BENCHES[what](setup):
        rows.append(row)
        if not setup.quick:
            speeds.append(product())  # after every row, because shared machines drift
    gflops = statistics.median(speeds)
    name = torch.cuda.get_device_name(setup.device) if cuda else setup.device.type
    return {
        "bench": what,
        "gemm_gflops": round(gflops, 1),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "rows": [{"device": name, **_with_shares(row, gflops)} for row in rows],
    }


def _with_shares(row: dict[str, Any], gflops: float) -> dict[str, Any]:
    """A row with its costs in matrix products and, where FLOPs are counted, its share of their rate."""
    share = {"peak_share": row["flops"] * row["per_second"] / (gflops * 1e9)} if "flops" in row else {}
    return {**row, **share, "gemm_gflop": gflops / row["per_second"]}


def format_rows(rows: list[dict[str, Any]]) -> str:
    """A table, numbers with four digits."""
    cells = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def cell(value: object) -> str:
    """A value of a table, numbers with four digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:.4g}"
    return str(value)
