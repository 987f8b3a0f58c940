"""Answers without a model, where every demonstration obeys one of a few simple rules."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid
from solver.tasks.task import Pair

Rule = Callable[[Grid], Grid | None]
"""From an input to its output; None if it does not apply."""

Pairs = Sequence[tuple[Grid, Grid]]


def guesses(demonstrations: Sequence[Pair], grid: Grid) -> Iterator[Grid]:
    """The outputs of `grid` by the rules that explain every demonstration, of which there must be two or more.

    The rules: a constant output; a mosaic of symmetries of the input (one tile: a symmetry); then, up to a fixed change
    of colours, a symmetry, cells enlarged, one tile of the input, and the part of it that is not background.
    """
    pairs = [(pair.input, pair.output) for pair in demonstrations if pair.output is not None]
    if len(pairs) < 2:
        return
    for rule in (*_constant(pairs), *_mosaic(pairs), *_recoloured(pairs)):
        answer = rule(grid)
        if answer is not None and max(answer.shape) <= MAX_SIDE:
            yield answer


def _constant(pairs: Pairs) -> Iterator[Rule]:
    first = pairs[0][1]
    if all(np.array_equal(output, first) for _, output in pairs):
        yield lambda _: first


def _mosaic(pairs: Pairs) -> Iterator[Rule]:
    """Outputs of (a, b) tiles, more than one, each of which is the same symmetry of the input in all pairs."""
    (height, width), (high, wide) = pairs[0][0].shape, pairs[0][1].shape
    a, b = high // height, wide // width
    if a * b < 2 or any(output.shape != (a * source.shape[0], b * source.shape[1]) for source, output in pairs):
        return
    fits = [set(range(SYMMETRIES)) for _ in range(a * b)]  # symmetries that a tile may be
    for source, output in pairs:
        images = [apply_symmetry(source, s) for s in range(SYMMETRIES)]
        for tile, possible in zip(_tiles(output, a, b), fits, strict=True):
            possible.intersection_update([s for s in possible if np.array_equal(tile, images[s])])
        if not all(fits):
            return

    def rule(grid: Grid) -> Grid | None:
        parts = [apply_symmetry(grid, min(possible)) for possible in fits]
        if any(part.shape != grid.shape for part in parts):
            return None
        return np.block([[parts[row * b + column] for column in range(b)] for row in range(a)])

    yield rule


def _recoloured(pairs: Pairs) -> Iterator[Rule]:
    for shape in _shapes(pairs[0]):
        colours = _colours(shape, pairs)
        if colours is not None:

            def rule(grid: Grid, shape: Rule = shape, colours: np.ndarray = colours) -> Grid | None:
                image = shape(grid)
                return None if image is None else colours[image]

            yield rule


def _colours(shape: Rule, pairs: Pairs) -> np.ndarray | None:
    """The change of colours (10,) after `shape`; colours that no pair shows stay. None if no change explains all."""
    colours, seen = np.arange(COLOURS, dtype=np.uint8), np.zeros(COLOURS, bool)
    for source, output in pairs:
        image = shape(source)
        if image is None or image.shape != output.shape:
            return None
        known = colours.copy()
        known[image] = output
        if not np.array_equal(known[image], output) or np.any((known != colours) & seen):
            return None
        colours, seen[image] = known, True
    return colours


def _shapes(pair: tuple[Grid, Grid]) -> Iterator[Rule]:
    """What the first pair allows by its sizes."""
    (height, width), (high, wide) = pair[0].shape, pair[1].shape
    for symmetry in range(SYMMETRIES):
        yield lambda grid, symmetry=symmetry: apply_symmetry(grid, symmetry)  # type: ignore[misc]
    if high % height == 0 and wide % width == 0 and high * wide > height * width:
        yield lambda grid: grid.repeat(high // height, axis=0).repeat(wide // width, axis=1)
    if height % high == 0 and width % wide == 0 and high * wide < height * width:
        a, b = height // high, width // wide
        for place in range(a * b):
            yield lambda grid, place=place: _tile(grid, a, b, place) if _divides(grid, a, b) else None  # type: ignore[misc]
    if high <= height and wide <= width:
        yield _content


def _content(grid: Grid) -> Grid | None:
    """The smallest rectangle with all cells that are not of the most common colour."""
    rows, columns = np.nonzero(grid != np.bincount(grid.ravel()).argmax())
    if not len(rows):
        return None
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _divides(grid: Grid, a: int, b: int) -> bool:
    return grid.shape[0] % a == 0 and grid.shape[1] % b == 0


def _tile(grid: Grid, a: int, b: int, place: int) -> Grid:
    """One of the (a, b) equal parts of a grid, counted row by row."""
    (height, width), (row, column) = (grid.shape[0] // a, grid.shape[1] // b), divmod(place, b)
    return grid[row * height : (row + 1) * height, column * width : (column + 1) * width]


def _tiles(grid: Grid, a: int, b: int) -> list[Grid]:
    """The (a, b) equal parts of a grid, row by row."""
    return [_tile(grid, a, b, place) for place in range(a * b)]
