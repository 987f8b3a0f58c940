"""One training step with a function in place of a stream."""

from collections.abc import Callable

from torch import Tensor

from kernels.canvas import Canvas
from solver.learning.learner import Learner, Metrics
from solver.tokens.encode import Batch


def train_step(learner: Learner, canvas: Canvas, slot_count: int, draw: Callable[[int], Batch]) -> Metrics:
    """Fill the free slots with what `draw` returns for their number, then step."""
    free, mine = learner.free(canvas, slot_count)
    assert mine == slice(0, free)
    if free:
        learner.refill(canvas, draw(free))
    return learner.step(canvas)


def some(batch: Batch, slots: Tensor | slice) -> Batch:
    """Some of the examples."""
    inputs, labels, ids, symmetry = (part[slots] for part in batch[:-1])
    return Batch(inputs, labels, ids, symmetry)
