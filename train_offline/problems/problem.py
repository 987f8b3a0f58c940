"""What a training run needs of its data, whatever it is: a stream of examples, rows of the table, and a score.

Letters: K samples.
"""

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
    """Training examples in an order that depends on the seed and the position alone."""

    canvases: list[Canvas]

    def slot_count(self, canvas: Canvas) -> int:
        """How many slots a step on this canvas has, on all ranks together."""

    def shares(self) -> dict[Canvas, float]:
        """How often a step is on each canvas."""

    def next_step(self) -> tuple[Canvas, int]:
        """The canvas of the next step, and its slots over all ranks."""

    def draw(self, canvas: Canvas, count: int, mine: slice) -> Batch:
        """The next `count` examples of a canvas, of which only `mine`, this rank's, are returned."""

    def position(self) -> dict[str, Any]:
        """Where the stream is, as JSON."""

    def seek(self, position: Mapping[str, Any]) -> None:
        """Go to a position."""


Evaluate = Callable[[TRM, Tensor, Ranks, torch.dtype | None], dict[str, float]]
"""(averaged trunk, table, ranks, precision) -> named shares and, as integers, counts; the same on every rank."""


@dataclass(frozen=True)
class Problem:
    """A stream, the puzzle embedding table it needs, and how a model is scored on what the stream never shows."""

    stream: Stream
    rows: dict[tuple[str, str], int]  # (variant name, task digest) -> row of the table
    row_count: int
    evaluate: Evaluate
    manifest: dict[str, Any]  # what was trained on, as JSON; stored with the weights
    lines: list[str]  # the same for people
