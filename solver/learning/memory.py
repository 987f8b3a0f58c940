"""Peak memory of a training step before anything is allocated: the learner runs on tensors without data.

torch's FakeTensorMode gives every tensor its shape and no memory, and a dispatch mode adds up what is alive. What an
operator needs only while it runs, and what an allocator wastes, is not seen: hence `ROOM`.
"""

import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.learning.learner import Learner, Slots
from solver.model.trm import TRM
from solver.settings.config import LearnerConfig, TRMConfig
from solver.tokens.encode import Batch

ROOM = 0.9  # share of the free memory that is planned with


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._known = set[int]()

    def __torch_dispatch__(self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self.live)
        return made

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.live -= size


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

    @property
    def slot_tokens(self) -> int:
        return self.model.puzzle_tokens + self.canvas[0] * self.canvas[1]

    @cache  # noqa: B019 (a frozen value)
    def peak(self, chunk: int) -> int:
        """Bytes at the peak of a step in chunks of `chunk` slots."""
        with torch.device("meta"):
            trunk = TRM(self.model)
        with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # copying a tensor without data looks for its data
            table = nn.Parameter(torch.zeros(self.table_rows, self.model.row_width))
            autocast = None if self.autocast is None else torch.bfloat16  # float16 has the same size
            learner = Learner(trunk.to_empty(device="cpu"), table, self.learner, torch.Generator(), autocast)
            parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            learner.optimizer.step()  # which makes the moments
            learner.optimizer.zero_grad()
            tokens = torch.zeros(chunk, self.canvas[0] * self.canvas[1], dtype=torch.int64)
            ids = torch.zeros(chunk, dtype=torch.int64)
            learner.slots[self.canvas] = Slots(chunk, ids.clone(), torch.ones(chunk, dtype=torch.bool))
            before = live.live
            learner.refill(self.canvas, Batch(tokens, tokens.clone(), ids, ids.clone()))
            each = (live.live - before) / chunk
            live.peak = live.live
            learner.advance(self.canvas)
        # Beyond that: the other slots of the step, with their states before and after it, the slots of other canvases,
        # and the gradients of earlier chunks
        others = each * (self.slots - chunk + self.carried_tokens / self.slot_tokens - chunk)
        return round(live.peak + others) + (sum(p.nbytes for p in parameters) if chunk < self.slots else 0)

    def fitting_chunk(self, free: float, most: int) -> int:
        """Slots per chunk, `most` at most, so that a step fits into `free` bytes. Raises InputError if none is."""
        chunk = max(1, min(most, self.slots))
        while (needed := self.peak(chunk) / ROOM) > free:
            if chunk == 1:
                hint = "smaller --step-tokens, more ranks or a smaller model need less"
                raise InputError(f"memory: expected {needed / 1e9:.3g} GB, got {free / 1e9:.3g} GB free: {hint}")
            chunk = -(-chunk // 2)
        return chunk
