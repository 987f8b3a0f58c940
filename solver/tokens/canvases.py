"""Choice of the canvas for a pair: the full one as published, the smallest bucket that holds it, or its exact size.

Work is proportional to the canvas, and ARC pairs fill a sixth to a third of the published 30x30 cells.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from kernels.canvas import Canvas
from kernels.symmetry import MAX_SIDE
from solver.settings.config import CanvasConfig, Size
from solver.tasks.task import Pair, StoredPairs, Task


def larger(a: Size, b: Size) -> Size:
    return max(a[0], b[0]), max(a[1], b[1])


def pair_size(pair: Pair) -> Size:
    """The smallest size that holds both grids of a demonstration."""
    assert pair.output is not None, "a demonstration has an output"
    return larger(pair.input.shape, pair.output.shape)


def fit_canvas(pair: Pair, demonstrations: Sequence[Pair], config: CanvasConfig) -> Canvas:
    """The canvas of a demonstration pair, upright."""
    if config.mode == "exact":
        return _exact_canvas(pair.input.shape, demonstrations, config)
    return config.bucket(pair_size(pair), config.fit_margin)


def fit_canvases(pairs: Sequence[Pair], demonstrations: Sequence[Pair], config: CanvasConfig) -> np.ndarray:
    """(N, 2): the canvas of each of N pairs, upright. The demonstrations decide how large an output is expected."""
    kinds, kind = StoredPairs.of(pairs).of_each_size()
    return np.array([fit_canvas(pair, demonstrations, config) for pair in kinds])[kind]


def predict_canvas(task: Task, test_index: int, config: CanvasConfig) -> Canvas:
    """The canvas of a test input, upright: room for the input, its largest expected output and the end-of-grid row."""
    size = task.test[test_index].input.shape
    if config.mode == "exact":
        return _exact_canvas(size, task.train, config)
    sizes = output_sizes(task.train, size) or [_largest_output(task.train)]
    return config.bucket(functools.reduce(larger, sizes, size), 1)


def known_output(task: Task, test_index: int, config: CanvasConfig) -> Size:
    """The size of a test output, where exact canvases rely on it; otherwise (0, 0)."""
    if config.mode != "exact":
        return 0, 0
    size, margin = expected_output(task.test[test_index].input.shape, task.train)
    return size if margin == 0 else (0, 0)


def _exact_canvas(size: Size, demonstrations: Sequence[Pair], config: CanvasConfig) -> Canvas:
    """Just room for an input and its output where its size is known; else for the largest output and an end of grid.

    The same for demonstrations and test inputs, so that the canvas of a demonstration tells no more about its output
    than that of a test input will.
    """
    output, margin = expected_output(size, demonstrations)
    return config.bucket(larger(size, output), margin)


def expected_output(size: Size, demonstrations: Sequence[Pair]) -> tuple[Size, int]:
    """The size of the output of an input of a size and a margin of 0; with no rule, the largest to expect and 1."""
    sizes = output_sizes(demonstrations, size)
    if sizes and (len(demonstrations) > 1 or sizes[0] == size):  # any rule holds for one pair
        return sizes[0], 0
    return larger(size, _largest_output(demonstrations)), 1


def _shapes(demonstrations: Sequence[Pair]) -> list[tuple[Size, Size]]:
    return [(pair.input.shape, pair.output.shape) for pair in demonstrations if pair.output is not None]


def _largest_output(demonstrations: Sequence[Pair]) -> Size:
    return functools.reduce(larger, (output for _, output in _shapes(demonstrations)))


def output_sizes(demonstrations: Sequence[Pair], size: Size) -> list[Size]:
    """The sizes to expect of the output of an input of a size: one for each rule that all demonstrations obey.

    In this order: as large as the input, constant, a fixed ratio to the input, a fixed ratio to the transposed input.
    Of 419 test outputs of ARC-AGI-1 evaluation, 359 have a rule, and it is right for 355 (docs/results.md).
    """
    pairs = _shapes(demonstrations)
    sizes = [size] if all(source == output for source, output in pairs) else []
    if len({output for _, output in pairs}) == 1:
        sizes.append(pairs[0][1])
    for transposed in (False, True):
        ratios = {tuple(map(Fraction, output, source[::-1] if transposed else source)) for source, output in pairs}
        if len(ratios) == 1:
            ratio, source = ratios.pop(), size[::-1] if transposed else size
            height, width = (min(MAX_SIDE, math.ceil(part * side)) for part, side in zip(ratio, source, strict=True))
            sizes.append((height, width))
    return sizes
