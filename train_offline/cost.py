"""The cost of a training run, printed before it starts: parameters, memory, FLOPs, and the time on known devices.

Evaluation is not included. What counts as a FLOP, and what as memory kept for backward: `train_offline.flops`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kernels.canvas import Canvas
from solver.common.clock import format_duration
from solver.learning.memory import TrainingMemory
from solver.tokens.packed_stream import PackedStream
from train_offline.flops import kept_bytes, train_flops, trunk_parameters
from train_offline.problems.problem import Stream
from train_offline.settings.config import TrainConfig

FLOAT = 4  # bytes of a float32 entry
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


# NVIDIA's data sheets. For the H100 (SXM) and the L4 they state rates with sparsity, 1979 and 242 TFLOP/s; dense
# products reach half of that. The T4 has no bfloat16 units; its 65 TFLOP/s are float16.
DEVICES = (
    Device("H100 SXM", "bfloat16", 989e12, 80e9),
    Device("L4", "bfloat16", 121e12, 24e9),
    Device("T4", "float16", 65e12, 16e9),
)


@dataclass(frozen=True)
class Work:
    """What a run needs. Activations and states are those of all ranks together; every rank holds the other bytes."""

    trunk_parameters: int
    table_entries: int  # rows * W of the puzzle embedding table
    weight_bytes: int  # the trunk in float32: weights, gradients, both moments, moving average
    table_bytes: int  # the table; where Adam updates it, also its gradient, moments and average
    activation_bytes: int  # kept for backward by the largest step
    half_activation_bytes: int  # the same with matrix products in 16 bits
    state_bytes: int  # y and z of all slots of all canvases, float32
    step_flops: float  # mean over the canvases, all ranks together
    run_flops: float

    def rank_bytes(self, ranks: int, half: bool = False) -> float:
        """Lower bound of one rank's memory, in the run's own precision or with matrix products in 16 bits."""
        activations = self.half_activation_bytes if half else self.activation_bytes
        return self.weight_bytes + self.table_bytes + (activations + self.state_bytes) / ranks


def estimate(
    config: TrainConfig,
    canvases: Mapping[Canvas, float],
    slots: Mapping[Canvas, int],
    table_rows: int,
    autocast: torch.dtype | None = None,
    packed: bool = False,
) -> Work:
    """What a configuration needs on its data.

    `canvases` gives each canvas its share of the steps, 1 in total; `slots` the slots of a step on it, all ranks
    together; `autocast` the precision of matrix products, None for float32. `packed` steps have examples of all
    canvases: memory is then that of a step of the mean.
    """
    model, learner = config.model, config.learner
    parameters, entries = trunk_parameters(model), table_rows * model.row_width
    tokens = {canvas: slots[canvas] * (model.puzzle_tokens + canvas[0] * canvas[1]) for canvas in canvases}
    carried = sum(canvases[canvas] * count if packed else count for canvas, count in tokens.items())
    step = sum(share * slots[canvas] * train_flops(model, canvas) for canvas, share in canvases.items())

    def activations(products: torch.dtype) -> int:
        kept = {canvas: slots[canvas] * kept_bytes(model, canvas, products) for canvas in canvases}
        return round(sum(canvases[c] * size for c, size in kept.items())) if packed else max(kept.values())

    return Work(
        trunk_parameters=parameters,
        table_entries=entries,
        weight_bytes=5 * FLOAT * parameters,
        table_bytes=FLOAT * entries * (5 if learner.row_optimizer == "adam_atan2" else 1),
        activation_bytes=activations(autocast or torch.float32),
        half_activation_bytes=activations(torch.bfloat16),
        state_bytes=round(2 * FLOAT * model.width * carried),
        step_flops=step,
        run_flops=config.steps * step,
    )


def training_memory(
    config: TrainConfig, stream: Stream, table_rows: int, ranks: int = 1, autocast: torch.dtype | None = None
) -> TrainingMemory:
    """What each of the ranks needs; packed steps count as some of the same size on their largest canvas."""

    def tokens(canvas: Canvas) -> int:
        return config.model.puzzle_tokens + canvas[0] * canvas[1]

    largest = max(stream.canvases, key=tokens)
    most = max(config.step_tokens, tokens(largest))  # in a step, of at least one slot
    packed = isinstance(stream, PackedStream)
    carried = most if packed else sum(stream.slot_count(canvas) * tokens(canvas) for canvas in stream.canvases)
    slots = -(-most // (tokens(largest) * ranks))
    return TrainingMemory(config.model, config.learner, table_rows, largest, slots, -(-carried // ranks), autocast)


def fitting_pass(memory: TrainingMemory, free: float, most_tokens: int) -> tuple[int, str]:
    """Tokens of a pass that fits into `free` bytes, and what is printed of it. Raises InputError if none does."""
    chunk = memory.fitting_chunk(free, most_tokens // memory.slot_tokens)
    (height, width), peak = memory.canvas, memory.peak(chunk)
    line = f"memory here: {si(peak, 'B')} of {si(free, 'B')} free, in passes of {chunk} samples on {height}x{width}"
    return chunk * memory.slot_tokens, line


def lines(work: Work, measured_gflops: float, device_name: str, ranks: int = 1) -> list[str]:
    """What is printed before a run: size, memory, FLOPs, and the time on this device and on `ranks` known cards.

    `measured_gflops`: the matrix-product rate of one rank in the run's precision, from `kernels.yardstick.gemm_gflops`.
    """

    def run_time(rate: float) -> str:  # at `rate` FLOP/s
        seconds = work.run_flops / rate
        if seconds < 3 * DAY:
            return format_duration(seconds)
        return f"{seconds / DAY:,.{1 if seconds < 100 * DAY else 0}f} days"

    parts = [
        f"{si(work.weight_bytes, 'B')} weights, gradients, moments and average",
        f"{si(work.table_bytes, 'B')} puzzle embeddings",
        f"{si(work.activation_bytes / ranks, 'B')} activations",
        f"{si(work.state_bytes / ranks, 'B')} carried states",
    ]
    of = "" if ranks == 1 else f" for each of {ranks} ranks"
    times = "" if ranks == 1 else f"{ranks} x "
    shown = [
        f"parameters: {si(work.trunk_parameters)} in the trunk, {si(work.table_entries)} in the puzzle embeddings",
        f"memory{of}, at least {si(work.rank_bytes(ranks), 'B')}: {', '.join(parts)}",
        f"work: {si(work.step_flops, 'FLOP')} per step, {si(work.run_flops, 'FLOP')} in total, without evaluation",
        f"about {run_time(ranks * measured_gflops * 1e9 * SHARE_OF_MEASURED)} here: {times}{device_name}, "
        f"{si(measured_gflops * 1e9, 'FLOP/s')} measured, {SHARE_OF_MEASURED:.0%} of it assumed",
    ]
    needed = work.rank_bytes(ranks, half=True)  # all of these cards compute products in 16 bits
    for card in DEVICES:
        line = (
            f"about {run_time(ranks * card.peak * SHARE_OF_PEAK)} of arithmetic on {times}{card.name}: "
            f"{si(card.peak, 'FLOP/s')} {card.precision} peak, {SHARE_OF_PEAK:.0%} of it assumed"
        )
        if needed > card.memory:
            line += f"; does not fit: {si(needed, 'B')} of {si(card.memory, 'B')}; use more ranks or smaller steps"
        shown.append(line)
    return shown


def si(number: float, unit: str = "") -> str:
    """Three digits, an SI prefix and a unit: 6.83 M, 512 GB."""
    power, prefixes = 0, ("", "k", "M", "G", "T", "P", "E", "Z")
    while number >= 999.5 and power < len(prefixes) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {prefixes[power]}{unit}".rstrip()
