"""The interface between a training run and its data: a stream of examples, rows of the table, and a score."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kernels.canvas import Canvas
from solver.learning.ranks import Ranks
from solver.model.trm import TRM
from solver.tokens.encode import Batch


class Stream(Protocol):
    """Training examples in an order that depends only on the seed and the position."""

    packed: bool  # whether a step has examples of all canvases
    canvases: list[Canvas]

    def slot_count(self, canvas: Canvas) -> int:
        """Slots of a step on this canvas, all ranks together."""

    def shares(self) -> dict[Canvas, float]:
        """The share of steps on each canvas."""

    def next_step(self) -> tuple[Canvas, int]:
        """The canvas of the next step, and its slots over all ranks."""

    def draw(self, canvas: Canvas, count: int, mine: slice) -> Batch:
        """The next `count` examples of a canvas, of which only `mine`, this rank's, are returned."""

    def position(self) -> dict[str, Any]:
        """The current position, as JSON."""

    def seek(self, position: Mapping[str, Any]) -> None:
        """Continue from a position."""


Evaluate = Callable[[TRM, Tensor, Ranks, torch.dtype | None], dict[str, float]]
"""(averaged trunk, table, ranks, precision) -> named shares (float) and counts (int), the same on every rank."""


@dataclass(frozen=True)
class Problem:
    """A stream, the puzzle embedding table it needs, and the score on data that the stream never shows."""

    stream: Stream
    rows: dict[tuple[str, str], int]  # (variant name, task digest) -> row of the table
    row_count: int
    evaluate: Evaluate
    manifest: dict[str, Any]  # what was trained on, as JSON; stored with the weights
    lines: list[str]  # the same as text
