"""Slots: the examples in work on one canvas and how far they are (adaptive halting, arXiv 2510.04871 section 2).

Letters: B slots (this rank's), K new examples, S canvas tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from solver.models.trm import State


class Batch(NamedTuple):
    """Examples for some slots, on one canvas."""

    inputs: Tensor  # (B, S) int64 tokens
    labels: Tensor  # (B, S) int64 tokens, IGNORE where nothing is scored
    ids: Tensor  # (B,) rows of the puzzle embedding table
    symmetry: Tensor  # (B,) int64
    permutation: Tensor  # (B, 10) int64

    def at(self, slots: Tensor | slice) -> "Batch":
        """The examples of some slots."""
        return Batch(*(part[slots] for part in self))


Draw = Callable[[Tensor, slice], Batch]
"""(slots of all ranks that need an example, which of those are this rank's) -> a batch for this rank's."""


@dataclass
class Slots:
    """The examples in work on one canvas and how far they are."""

    batch: Batch
    state: State
    steps: Tensor  # (B,) supervision steps done
    halted: Tensor  # (B,) bool

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "Slots":
        """Slots that all wait for an example."""
        nothing = torch.empty(0, device=device)
        steps = torch.zeros(count, dtype=torch.int64, device=device)
        halted = torch.ones_like(steps, dtype=torch.bool)
        return cls(Batch(*[nothing] * 5), State(nothing, nothing), steps, halted)

    def refill(self, free: Tensor, new: Batch, fresh: State) -> None:
        """Give the slots `free` (K,) new examples (K) and fresh states, in order; the others keep theirs."""
        if len(free) == len(self.halted):
            self.batch, self.state = new, fresh
            self.steps = torch.zeros_like(self.steps)
        elif len(free):
            for mine, added in zip((*self.batch, *self.state), (*new, *fresh), strict=True):
                mine[free] = added.to(mine.dtype)
            self.steps[free] = 0
