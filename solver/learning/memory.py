"""The peak memory of a training step, and passes that fit, before anything is allocated."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import nn

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.learning.learner import Learner, Slots
from solver.model.without_data import ROOM, without_data
from solver.settings.config import LearnerConfig, TRMConfig
from solver.tokens.encode import Batch


class Stream(Protocol):
    """What decides how large steps are."""

    packed: bool  # whether a step has examples of all canvases

    def shares(self) -> dict[Canvas, float]: ...
    def slot_count(self, canvas: Canvas) -> int: ...


class _Step(NamedTuple):
    """Bytes of one training step without other slots."""

    held: int  # by the learner before its first step
    peak: int
    slot: float  # of an example and its state
    gradients: int


@cache
def _measured(
    model: TRMConfig, config: LearnerConfig, rows: int, canvas: Canvas, slots: int, autocast: torch.dtype | None
) -> _Step:
    with without_data(model) as (trunk, live):
        table = nn.Parameter(torch.zeros(rows, model.row_width))
        autocast = None if autocast is None else torch.bfloat16  # float16 has the same size
        learner = Learner(trunk, table, config, torch.Generator(), autocast)
        held = live.live
        parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        learner.optimizer.step()  # which makes the moments
        learner.optimizer.zero_grad()
        tokens = torch.zeros(slots, canvas[0] * canvas[1], dtype=torch.int64)
        ids = torch.zeros(slots, dtype=torch.int64)
        learner.slots[canvas] = Slots(slots, ids.clone(), torch.ones(slots, dtype=torch.bool))
        before = live.live
        learner.refill(canvas, Batch(tokens, tokens.clone(), ids, ids.clone()))
        each = (live.live - before) / slots
        live.peak = live.live
        learner.advance(canvas)
    return _Step(held, live.peak, each, sum(p.nbytes for p in parameters))


@dataclass(frozen=True)
class TrainingMemory:
    """What training needs on one rank. The largest step has `slots` on `canvas`; steps on other canvases are smaller.

    `carried_tokens`: tokens, puzzle tokens included, of the slots of all canvases. Their states wait for the next step.
    """

    model: TRMConfig
    learner: LearnerConfig
    table_rows: int
    canvas: Canvas
    slots: int
    carried_tokens: int
    autocast: torch.dtype | None = None

    @classmethod
    def of(
        cls,
        model: TRMConfig,
        learner: LearnerConfig,
        table_rows: int,
        stream: Stream,
        autocast: torch.dtype | None = None,
        ranks: int = 1,
    ) -> "TrainingMemory":
        """What each of the ranks needs. Packed steps count as some of the same size on their largest canvas."""

        def tokens(canvas: Canvas) -> int:
            return model.puzzle_tokens + canvas[0] * canvas[1]

        drawn = [canvas for canvas, share in stream.shares().items() if share]
        largest = max(drawn, key=tokens)
        shares = stream.shares()
        each = {canvas: stream.slot_count(canvas) * tokens(canvas) for canvas in drawn}
        mean = round(sum(shares[canvas] * each[canvas] for canvas in drawn))
        most, carried = (max(mean, tokens(largest)),) * 2 if stream.packed else (max(each.values()), sum(each.values()))
        slots = -(-most // (tokens(largest) * ranks))
        return cls(model, learner, table_rows, largest, slots, -(-carried // ranks), autocast)

    @property
    def slot_tokens(self) -> int:
        return self.model.puzzle_tokens + self.canvas[0] * self.canvas[1]

    @property
    def held(self) -> int:
        """Bytes of weights, table and moving average, which a learner holds before its first step."""
        return self._step(1).held

    def peak(self, chunk: int) -> int:
        """Bytes at the peak of a step in chunks of `chunk` slots."""
        step = self._step(chunk)
        # Beyond that: the other slots of the step, with their states before and after it, the slots of other canvases,
        # and the gradients of earlier chunks
        others = step.slot * (self.slots - chunk + self.carried_tokens / self.slot_tokens - chunk)
        return round(step.peak + others) + (step.gradients if chunk < self.slots else 0)

    def _step(self, chunk: int) -> _Step:
        return _measured(self.model, self.learner, self.table_rows, self.canvas, chunk, self.autocast)

    def fitting_chunk(self, free: float, most_tokens: int) -> int:
        """Slots per chunk, of `most_tokens` at most, so that a step fits into `free` bytes. Raises InputError."""
        chunk = max(1, min(most_tokens // self.slot_tokens, self.slots))
        while (needed := self.peak(chunk) / ROOM) > free:
            if chunk == 1:
                hint = "smaller --step-tokens, more ranks or a smaller model need less"
                raise InputError(f"memory: expected {needed / 1e9:.3g} GB, got {free / 1e9:.3g} GB free: {hint}")
            chunk = -(-chunk // 2)
        return chunk
