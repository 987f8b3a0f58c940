"""Choice of the canvas for a pair: the full one as published, or the smallest bucket that holds the pair.

Work is proportional to the canvas, and ARC pairs fill a sixth to a third of the published 30x30 cells.
"""

import math
from fractions import Fraction

from kernels.canvas import Canvas
from kernels.symmetry import MAX_SIDE
from solver.settings.config import CanvasConfig, Size
from solver.tasks.task import Pair, Task


def larger(a: Size, b: Size) -> Size:
    return max(a[0], b[0]), max(a[1], b[1])


def pair_size(pair: Pair) -> Size:
    """The smallest size that holds both grids of a demonstration."""
    assert pair.output is not None, "a demonstration has an output"
    return larger(pair.input.shape, pair.output.shape)


def fit_canvas(pair: Pair, config: CanvasConfig) -> Canvas:
    """The canvas of a demonstration pair, upright."""
    return config.bucket(pair_size(pair), config.fit_margin)


def predict_canvas(task: Task, test_index: int, config: CanvasConfig) -> Canvas:
    """The canvas of a test input, upright: room for the input, its largest expected output and the end-of-grid row."""
    size = task.test[test_index].input.shape
    return config.bucket(larger(size, output_bound(task, size)), 1)


def output_bound(task: Task, size: Size) -> Size:
    """The largest output size to expect for an input of a size, from the demonstrations.

    Three rules are tried: constant size, a fixed ratio to the input, a fixed ratio to the transposed input. A rule
    counts if it holds for every demonstration. The bound is the largest height and the largest width by any rule that
    counts, or the full canvas if none does.
    """
    pairs = [(pair.input.shape, pair.output.shape) for pair in task.train if pair.output is not None]
    bounds = []
    if len({output for _, output in pairs}) == 1:
        bounds.append(pairs[0][1])
    for transposed in (False, True):
        ratios = {tuple(map(Fraction, output, source[::-1] if transposed else source)) for source, output in pairs}
        if len(ratios) == 1:  # same size is the ratio 1
            ratio, source = ratios.pop(), size[::-1] if transposed else size
            bounds.append((math.ceil(ratio[0] * source[0]), math.ceil(ratio[1] * source[1])))
    if not bounds:
        return (MAX_SIDE, MAX_SIDE)
    return min(MAX_SIDE, max(b[0] for b in bounds)), min(MAX_SIDE, max(b[1] for b in bounds))
