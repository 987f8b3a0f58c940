"""What a training run costs, before it starts: parameters, memory, FLOPs, and the time that leaves on known cards.

Arithmetic from shapes alone; nothing runs. A FLOP is one addition or multiplication of a matrix product, so 2 for each
multiply-add; norms, rotary angles, activations, depthwise convolutions (0.2 % of a layer of the published width),
losses and optimizers are not counted, nor is evaluation.
Letters: N tokens (puzzle tokens and canvas), S canvas tokens, D width, I inner width of a SwiGLU, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kernels.canvas import Canvas
from solver.common.clock import format_duration
from solver.model.layers import swiglu_width
from solver.model.mamba import BLOCKS, EXPANSION, chunks_of, state_size
from solver.model.trm import TRM, trainable_parameters
from solver.settings.config import TRMConfig
from train_offline.settings.config import TrainConfig

FLOAT = 4  # bytes of a float32 entry
DAY = 86_400.0  # seconds
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")

SHARE_OF_PEAK = 0.25
"""Of a card's stated rate that a whole training step is assumed to reach.

By this module's count the published runs are 1.6e20 FLOP (ARC-AGI-1) and 2.2e20 (ARC-AGI-2). Their authors give about
3 days on 4 H100 for either, shares of 0.16 and 0.22; arXiv 2511.02886 gives 48 hours for 700,000 steps, 0.31.
"""

SHARE_OF_MEASURED = 0.5
"""Of a device's own matrix product of 2048 x 2048 (`kernels.yardstick`) that a whole training step is assumed to reach.

On a CPU wide networks do better: RESULTS.md has 0.9 at width 128 and 1.2 at 512, where oneDNN beats the yardstick.
"""


@dataclass(frozen=True)
class Device:
    """A card as its maker states it."""

    name: str
    precision: str  # of the stated rate
    peak: float  # FLOP/s of dense products
    memory: float  # bytes


# NVIDIA's data sheets: H100 (SXM) and L4 state rates with sparsity, 1979 and 242 TFLOP/s; dense products have half of
# that. The T4 has no bfloat16 units; its 65 TFLOP/s are float16.
DEVICES = (
    Device("H100 SXM", "bfloat16", 989e12, 80e9),
    Device("L4", "bfloat16", 121e12, 24e9),
    Device("T4", "float16", 65e12, 16e9),
)


def forward_flops(model: TRMConfig, canvas: Canvas) -> float:
    """FLOPs of one supervision step of one sample, without gradient."""
    return model.layer_passes * _layer_flops(model, canvas) + _head_flops(model, canvas)


def train_flops(model: TRMConfig, canvas: Canvas) -> float:
    """FLOPs of one supervision step of one sample in training.

    Backward costs twice the forward of what carries gradient: a product has two factors to differentiate. Q-learning
    looks one whole supervision step ahead to learn when to halt.
    """
    forward = forward_flops(model, canvas)
    backward = 2 * (model.graded_layer_passes * _layer_flops(model, canvas) + _head_flops(model, canvas))
    return forward + backward + (forward if model.halting == "q_learning" else 0)


def trunk_parameters(model: TRMConfig) -> int:
    """Trainable entries of a trunk, built without storage; the puzzle embedding table is not part of it."""
    with torch.device("meta"):
        return trainable_parameters(TRM(model))


def _tokens(model: TRMConfig, canvas: Canvas) -> int:
    return model.puzzle_tokens + canvas[0] * canvas[1]


def _layer_flops(model: TRMConfig, canvas: Canvas) -> float:
    """FLOPs of one layer, once, on one sample."""
    tokens, width = _tokens(model, canvas), model.width
    swiglu = 6 * tokens * width * swiglu_width(width, model.expansion)  # gate, up and down
    if model.mixer == "mlp":
        return float(6 * width * tokens * swiglu_width(tokens, model.expansion) + swiglu)
    attention = 8 * tokens * width**2 + 4 * tokens**2 * width  # qkv and out; scores and values
    mamba = BLOCKS * _mamba_flops(model, tokens) if model.mixer == "mamba2_hybrid" else 0
    return float(mamba + attention + swiglu)


def _mamba_flops(model: TRMConfig, tokens: int) -> int:
    inner, state, heads = EXPANSION * model.width, state_size(model.width), EXPANSION * model.heads
    chunks, length = chunks_of(tokens)
    outside = 2 * tokens * model.width * (2 * inner + 2 * state + heads + inner)  # of the scan: into it, and out
    within = 2 * chunks * length**2 * (state + inner)  # scores, and what they weigh
    between = 4 * (chunks - 1) * length * state * inner  # states written and read
    return outside + within + between


def _head_flops(model: TRMConfig, canvas: Canvas) -> float:
    return 2.0 * model.width * (canvas[0] * canvas[1] * model.vocabulary + 2)


def _kept(model: TRMConfig, canvas: Canvas) -> tuple[float, float]:
    """What one sample keeps for backward: entries in the precision of products, and float32 entries.

    Of each layer and graded pass, and each token: what attention keeps (its input, qkv, its output, and where rotary
    positions turn them queries and keys once more: 7 D or 5 D) or what a token MLP keeps (its input, and of its inner
    width gate, up, silu(gate) and their product, for each channel); the SwiGLU's D + 4 I likewise, and 2 I more for a
    convolution and its activation; and the inputs of the norms, D each, in float32 whatever the precision. Once, the
    input of the output head. Left out: rotary tables, logits, losses, and what lives only within one operation.
    """
    tokens, width = _tokens(model, canvas), model.width
    norms, wide = 2, 0
    if model.mixer == "mlp":
        mixer = width * (tokens + 4 * swiglu_width(tokens, model.expansion))
    else:
        mixer = (7 if model.positions in ("rope", "rope2d") else 5) * tokens * width
    if model.mixer == "mamba2_hybrid":
        kept, wide = _mamba_kept(model, tokens)
        mixer, wide, norms = mixer + BLOCKS * kept, BLOCKS * wide, norms + BLOCKS
    swiglu = tokens * (width + (6 if model.convolution else 4) * swiglu_width(width, model.expansion))
    layers = model.graded_layer_passes
    head = canvas[0] * canvas[1] * width
    return float(layers * (mixer + swiglu) + head), float(layers * (norms * tokens * width + wide))


def _mamba_kept(model: TRMConfig, tokens: int) -> tuple[int, int]:
    """What a Mamba-2 block keeps of one sample, as `_kept`, but for the norm after its residual.

    For each token: its input; gate, x, write, read and steps; x, write and read once more convolved and once more
    activated; x in steps, y, silu(gate), and the last product's input; and against each token of its chunk a score,
    and for each head a weight and, in float32, the decay in it. In float32 also the inner norm's input and what the
    steps go through. With several chunks: x in steps before it is sorted by heads, x as written, what was read, and
    the states between.
    """
    inner, state, heads = EXPANSION * model.width, state_size(model.width), EXPANSION * model.heads
    chunks, length = chunks_of(tokens)
    held = chunks * length
    kept = tokens * (model.width + 4 * inner + 6 * state + heads + 3 * inner)
    kept += held * (inner + length * (1 + heads))
    wide = tokens * (inner + 2 * heads) + held * length * heads
    if held > tokens:
        kept += held * 2 * state  # padded copies of write and read
    if chunks > 1:
        later = held - length
        kept += held * inner + 2 * later * inner + (chunks - 1) * state * inner
        wide += 2 * later * heads + (chunks - 2) * state * inner
    return kept, wide


@dataclass(frozen=True)
class Work:
    """What a run needs. Bytes of activations and states are of all ranks together, the others of each rank."""

    trunk_parameters: int
    table_entries: int  # rows * W of the puzzle embedding table
    weight_bytes: int  # of the trunk, float32
    optimizer_bytes: int  # its gradients and both moments
    average_bytes: int  # its moving average
    table_bytes: int  # the table; where Adam moves it, also its gradient, moments and average
    kept_entries: float  # for backward, of the largest step: in the precision of products
    kept_wide_entries: float  # likewise, always float32
    state_bytes: int  # y and z of all slots of all canvases, float32
    entry_bytes: int  # of an entry in this run's precision of products
    step_flops: float  # mean over the canvases, all ranks together
    run_flops: float

    def activation_bytes(self, entry_bytes: int | None = None) -> float:
        """What the largest step keeps for backward, with products in this run's precision or another."""
        return self.kept_entries * (entry_bytes or self.entry_bytes) + self.kept_wide_entries * FLOAT

    def rank_bytes(self, ranks: int, entry_bytes: int | None = None) -> float:
        """Memory of one rank of so many. A lower bound: allocators and operations take more for themselves."""
        shared = self.activation_bytes(entry_bytes) + self.state_bytes
        own = self.weight_bytes + self.optimizer_bytes + self.average_bytes + self.table_bytes
        return own + shared / ranks


def estimate(
    config: TrainConfig,
    canvases: Mapping[Canvas, float],
    slots: Mapping[Canvas, int],
    table_rows: int,
    autocast: torch.dtype | None = None,
) -> Work:
    """What a configuration needs on its data.

    `canvases` holds the share of the steps that each canvas gets, 1 in all; `slots` how many slots a step on it has,
    all ranks together; `autocast` the precision of products, None for float32.
    """
    model, learner = config.model, config.learner
    parameters, entries = trunk_parameters(model), table_rows * model.row_width
    kept = [tuple(slots[canvas] * part for part in _kept(model, canvas)) for canvas in canvases]
    carried = sum(slots[canvas] * _tokens(model, canvas) for canvas in canvases)
    # one move of the weights takes `accumulation` steps of the learner
    step = learner.accumulation * sum(
        share * slots[canvas] * train_flops(model, canvas) for canvas, share in canvases.items()
    )
    largest = max(kept, key=sum)
    return Work(
        trunk_parameters=parameters,
        table_entries=entries,
        weight_bytes=FLOAT * parameters,
        optimizer_bytes=3 * FLOAT * parameters,
        average_bytes=FLOAT * parameters,
        table_bytes=FLOAT * entries * (5 if learner.row_optimizer == "adam_atan2" else 1),
        kept_entries=largest[0],
        kept_wide_entries=largest[1],
        state_bytes=2 * FLOAT * model.width * carried,
        entry_bytes=FLOAT if autocast is None else autocast.itemsize,
        step_flops=step,
        run_flops=config.steps * step,
    )


def lines(work: Work, measured_gflops: float, device_name: str, ranks: int = 1) -> list[str]:
    """What is printed before a run: size, memory, work, and the time on this device and on `ranks` of known cards.

    `measured_gflops` is one rank's matrix product in the run's precision, as from `kernels.yardstick.gemm_gflops`.
    """
    here = _seconds(work, ranks * measured_gflops * 1e9 * SHARE_OF_MEASURED)
    own = work.weight_bytes + work.optimizer_bytes + work.average_bytes
    parts = [
        f"{_si(own, 'B')} weights, gradients, moments and average",
        f"{_si(work.table_bytes, 'B')} puzzle embeddings",
        f"{_si(work.activation_bytes() / ranks, 'B')} activations",
        f"{_si(work.state_bytes / ranks, 'B')} carried states",
    ]
    of = "" if ranks == 1 else f" for each of {ranks} ranks"
    return [
        f"parameters: {_si(work.trunk_parameters)} in the trunk, {_si(work.table_entries)} in the puzzle embeddings",
        f"memory{of}, at least {_si(work.rank_bytes(ranks), 'B')}: {', '.join(parts)}",
        f"work: {_si(work.step_flops, 'FLOP')} a step, {_si(work.run_flops, 'FLOP')} in all, evaluation not counted",
        f"about {here} here: {_times(ranks)}{device_name}, "
        f"{_si(measured_gflops * 1e9, 'FLOP/s')} measured, {SHARE_OF_MEASURED:.0%} of it assumed",
        *(_card_line(work, card, ranks) for card in DEVICES),
    ]


def _card_line(work: Work, card: Device, ranks: int) -> str:
    time = _seconds(work, ranks * card.peak * SHARE_OF_PEAK)
    needed = work.rank_bytes(ranks, entry_bytes=2)  # all these cards compute products in 2 bytes
    line = (
        f"about {time} of arithmetic on {_times(ranks)}{card.name}: "
        f"{_si(card.peak, 'FLOP/s')} {card.precision} at its peak, {SHARE_OF_PEAK:.0%} of it assumed"
    )
    if needed > card.memory:
        line += f"; does not fit: {_si(needed, 'B')} of {_si(card.memory, 'B')}, so take more ranks or smaller steps"
    return line


def _times(ranks: int) -> str:
    return "" if ranks == 1 else f"{ranks} x "


def _seconds(work: Work, rate: float) -> str:
    """The time of a run at so many FLOP/s, as people write it."""
    seconds = work.run_flops / rate
    if seconds < 3 * DAY:
        return format_duration(seconds)
    return f"{seconds / DAY:,.{1 if seconds < 100 * DAY else 0}f} days"


def _si(number: float, unit: str = "") -> str:
    """Three digits, a prefix and a unit: 6.83 M, 512 GB."""
    power = 0
    while number >= 999.5 and power < len(_PREFIXES) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {_PREFIXES[power]}{unit}".rstrip()
