"""Finds pairs that are nearly a held-out test pair: suspects, which only `--strict-leaks` drops.

A suspect has the input of a held-out test pair, up to symmetry and recolouring, and an output in which no more than a
few cells differ; or the output and nearly the input. Input and output may be recoloured separately, and either may have
a frame of one colour around it. Example, with 1x4 grids: [1 2 2 3] -> [3 3 3 1] is a suspect beside
[4 5 5 6] -> [1 1 1 2] (recoloured separately), [1 2 2 3] -> [3 3 0 1] (one cell) and [3 2 2 1] -> [1 3 3 3] (mirrored).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from kernels.symmetry import COLOURS, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid
from solver.tasks.task import Pair
from train_offline.problems.leak_guard import HeldOut, numbered

LEAST_CELLS = 9  # of a grid that is the same: smaller ones are often the same by chance


class NearCopies:
    """Recognizes near-copies of held-out test pairs, all with known outputs."""

    def __init__(self, held_out: Iterable[tuple[HeldOut, Pair]], cells: int) -> None:
        """`cells`: at most this many may differ in one of the two grids."""
        self._cells = cells
        self._alike: tuple[dict[bytes, list[tuple[HeldOut, Grid]]], ...] = (defaultdict(list), defaultdict(list))
        for name, pair in held_out:
            assert pair.output is not None
            for symmetry in range(SYMMETRIES):
                grids = apply_symmetry(pair.input, symmetry), apply_symmetry(pair.output, symmetry)
                for index, same, other in zip(self._alike, grids, grids[::-1], strict=True):
                    if _telling(same):
                        index[numbered(same)].append((name, other))

    def find(self, pair: Pair, demonstration_of: str | None = None) -> HeldOut | None:
        """The held-out test pair of which `pair` is nearly a copy, if any.

        A demonstration of a task is no suspect beside the task's own tests.
        """
        for grids in _without_frames(pair):
            for index, same, other in zip(self._alike, grids, grids[::-1], strict=True):
                for name, grid in index.get(numbered(same), ()):
                    if name.task_id != demonstration_of and differing(grid, other) <= self._cells:
                        return name
        return None


def differing(one: Grid, other: Grid) -> int:
    """How many cells differ, at the least, however the colours are renamed; all of them if the shapes differ."""
    if one.shape != other.shape:
        return max(one.size, other.size)
    counts = np.bincount(COLOURS * one.ravel().astype(int) + other.ravel(), minlength=COLOURS**2)
    together = counts.reshape(COLOURS, COLOURS)
    return one.size - int(min(together.max(axis=0).sum(), together.max(axis=1).sum()))


def _telling(grid: Grid) -> bool:
    """Whether a grid is unlikely to be the same as another by chance."""
    return grid.size >= LEAST_CELLS and len(np.unique(grid)) > 1


def _without_frames(pair: Pair) -> Iterator[tuple[Grid, Grid]]:
    """The grids of a pair as they are, and without a frame of one colour in one of them or both."""
    assert pair.output is not None
    for source in _with_and_without_frame(pair.input):
        for target in _with_and_without_frame(pair.output):
            yield source, target


def _with_and_without_frame(grid: Grid) -> list[Grid]:
    inner = grid[1:-1, 1:-1]
    frame = grid.copy()
    frame[1:-1, 1:-1] = grid[0, 0]
    return [grid, inner] if inner.size and (frame == grid[0, 0]).all() else [grid]
