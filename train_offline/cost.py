"""The cost of a training run, printed before it starts: parameters, memory, FLOPs, and the time on known devices.

Evaluation is not included. What counts as a FLOP: `train_offline.flops`. What needs memory: `solver.learning.memory`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.common.clock import format_duration
from solver.learning.memory import TrainingMemory
from solver.model.device import pass_tokens
from train_offline.flops import train_flops, trunk_parameters
from train_offline.settings.config import TrainConfig

CARD = torch.device("cuda")
DAY = 86_400.0  # seconds

SHARE_OF_PEAK = 0.19
"""Share of a card's stated rate that a whole training step is assumed to reach: the middle of the authors' runs.

By this module's count the published runs are 1.6e20 FLOP (ARC-AGI-1) and 2.2e20 (ARC-AGI-2). Their authors report
about 3 days on 4 H100 for each, shares of 0.16 and 0.22; arXiv 2511.02886 reports 48 hours for 700,000 steps, 0.31."""

SHARE_OF_MEASURED = 0.5
"""Share of a device's measured rate (`kernels.yardstick`) that a whole training step is assumed to reach. Wide networks
reach more on a CPU: 0.9 was measured at width 128 and 1.2 at 512, where oneDNN beats the yardstick."""


@dataclass(frozen=True)
class Device:
    """A card as its maker specifies it."""

    name: str
    precision: str  # of the peak rate
    peak: float  # FLOP/s of dense products
    memory: float  # bytes


# NVIDIA's data sheets. For the H100 (SXM), the RTX 5090 and the L4 they state rates with sparsity, 1979, 419 (with
# sums in float32) and 242 TFLOP/s; dense products reach half of that. The T4 has no bfloat16 units; its 65 TFLOP/s are
# float16.
DEVICES = (
    Device("H100 SXM", "bfloat16", 989e12, 80e9),
    Device("RTX 5090", "bfloat16", 209.5e12, 32e9),
    Device("L4", "bfloat16", 121e12, 24e9),
    Device("T4", "float16", 65e12, 16e9),
)


@dataclass(frozen=True)
class Work:
    """What a run computes, all ranks together."""

    trunk_parameters: int
    table_entries: int  # rows * W of the puzzle embedding table
    step_flops: float  # mean over the canvases
    run_flops: float


def estimate(
    config: TrainConfig, canvases: Mapping[Canvas, float], slots: Mapping[Canvas, int], table_rows: int
) -> Work:
    """What a configuration needs on its data.

    `canvases` gives each canvas its share of the steps, 1 in total; `slots` the slots of a step on it, all ranks
    together.
    """
    model = config.model
    step = sum(share * slots[canvas] * train_flops(model, canvas) for canvas, share in canvases.items())
    return Work(trunk_parameters(model), table_rows * model.row_width, step, config.steps * step)


def memory_line(where: str, memory: TrainingMemory, free: float, chunk: int) -> str:
    """The peak in passes of `chunk` samples."""
    (height, width), peak = memory.canvas, memory.peak(chunk)
    return f"memory {where}: {si(peak, 'B')} of {si(free, 'B')}, in passes of {chunk} samples on {height}x{width}"


def lines(work: Work, memory: TrainingMemory, measured_gflops: float, device_name: str, ranks: int = 1) -> list[str]:
    """What is printed before a run: size, FLOPs, and time and memory on known cards.

    `memory` is that of a rank, `measured_gflops` the matrix-product rate of one rank in the run's precision, from
    `kernels.yardstick.gemm_gflops`.
    """

    def run_time(rate: float) -> str:  # at `rate` FLOP/s
        seconds = work.run_flops / rate
        if seconds < 3 * DAY:
            return format_duration(seconds)
        return f"{seconds / DAY:,.{1 if seconds < 100 * DAY else 0}f} days"

    times = "" if ranks == 1 else f"{ranks} x "
    shown = [
        f"parameters: {si(work.trunk_parameters)} in the trunk, {si(work.table_entries)} in the puzzle embeddings",
        f"work: {si(work.step_flops, 'FLOP')} per step, {si(work.run_flops, 'FLOP')} in total, without evaluation",
        f"about {run_time(ranks * measured_gflops * 1e9 * SHARE_OF_MEASURED)} here: {times}{device_name}, "
        f"{si(measured_gflops * 1e9, 'FLOP/s')} measured, {SHARE_OF_MEASURED:.0%} of it assumed",
    ]
    half = replace(memory, autocast=torch.bfloat16)  # all of these cards compute products in 16 bits
    for card in DEVICES:
        shown.append(
            f"about {run_time(ranks * card.peak * SHARE_OF_PEAK)} of arithmetic on {times}{card.name}: "
            f"{si(card.peak, 'FLOP/s')} {card.precision} peak, {SHARE_OF_PEAK:.0%} of it assumed"
        )
        try:
            chunk = half.fitting_chunk(card.memory, pass_tokens(CARD, memory.model.width))
            shown.append(memory_line("there", half, card.memory, chunk))
        except InputError:
            needed = f"{si(half.peak(1), 'B')} of {si(card.memory, 'B')}"
            shown.append(f"does not fit there: {needed}; use more ranks or a smaller model")
    return shown


def si(number: float, unit: str = "") -> str:
    """Three digits, an SI prefix and a unit: 6.83 M, 512 GB."""
    power, prefixes = 0, ("", "k", "M", "G", "T", "P", "E", "Z")
    while number >= 999.5 and power < len(prefixes) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {prefixes[power]}{unit}".rstrip()
