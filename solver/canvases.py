"""Which canvas a pair is computed on: the full one as published, or the smallest bucket that holds it.

Work is in proportion to the canvas, and ARC pairs fill a sixth to a third of the published 30x30 cells.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from kernels.canvas import MAX_SIDE, Canvas
from solver.checks import within
from solver.errors import InputError
from solver.tasks import Pair, Task

CanvasMode = Literal["full", "tight"]
Size = tuple[int, int]  # (height, width) of a grid


@dataclass(frozen=True)
class CanvasConfig:
    """How canvases are chosen."""

    mode: CanvasMode = "full"
    sides: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16, 18, 21, 25, 30)  # buckets of each side, ascending
    fit_margin: int = 1  # room beside a pair in fitting: with 0 a pair that fills its canvas shows no end of grid

    def __post_init__(self) -> None:
        """Raise InputError for sides that are no list of sides."""
        within("canvases.fit_margin", self.fit_margin, 0, MAX_SIDE)
        if not self.sides or list(self.sides) != sorted(set(self.sides)) or not 1 <= self.sides[0] <= MAX_SIDE:
            raise InputError(f"canvases.sides: expected ascending sides of 1 to {MAX_SIDE}, got {self.sides}")
        within("canvases.sides", self.sides[-1], 1, MAX_SIDE)

    def bucket(self, size: Size, margin: int) -> Canvas:
        """The smallest canvas that holds a grid and `margin` cells more on each side, cut off at the full canvas."""
        if self.mode == "full":
            return (MAX_SIDE, MAX_SIDE)
        return (self._side(size[0] + margin), self._side(size[1] + margin))

    def _side(self, length: int) -> int:
        place = bisect_left(self.sides, length)
        return self.sides[place] if place < len(self.sides) else MAX_SIDE


def larger(a: Size, b: Size) -> Size:
    """The smallest size that holds both."""
    return max(a[0], b[0]), max(a[1], b[1])


def pair_size(pair: Pair) -> Size:
    """The smallest size that holds both grids of a demonstration."""
    assert pair.output is not None, "a demonstration has an output"
    return larger(pair.input.shape, pair.output.shape)


def fit_canvas(pair: Pair, config: CanvasConfig) -> Canvas:
    """The canvas of a demonstration pair, upright."""
    return config.bucket(pair_size(pair), config.fit_margin)


def predict_canvas(task: Task, test_index: int, config: CanvasConfig) -> Canvas:
    """The canvas of a test input, upright: room for it, its largest possible output and its end-of-grid row."""
    size = task.test[test_index].input.shape
    return config.bucket(larger(size, output_bound(task, size)), 1)


def output_bound(task: Task, size: Size) -> Size:
    """The largest output that the demonstrations allow for an input of a size.

    A rule allows a size if it holds for every demonstration: same size as the input, constant, a fixed ratio to the
    input, a fixed ratio to the transposed input. Several may hold: the bound is the largest height and the largest
    width among them. When none does, it is the full canvas.
    """
    pairs = [(pair.input.shape, pair.output.shape) for pair in task.train if pair.output is not None]
    bounds = []
    if len({output for _, output in pairs}) == 1:
        bounds.append(pairs[0][1])
    for transposed in (False, True):
        ratios = {_ratio(source[::-1] if transposed else source, output) for source, output in pairs}
        if len(ratios) == 1:  # same size is the ratio 1
            ratio, source = ratios.pop(), size[::-1] if transposed else size
            bounds.append((math.ceil(ratio[0] * source[0]), math.ceil(ratio[1] * source[1])))
    if not bounds:
        return (MAX_SIDE, MAX_SIDE)
    return min(MAX_SIDE, max(b[0] for b in bounds)), min(MAX_SIDE, max(b[1] for b in bounds))


def _ratio(source: Size, output: Size) -> tuple[Fraction, Fraction]:
    return Fraction(output[0], source[0]), Fraction(output[1], source[1])
