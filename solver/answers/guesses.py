"""Answers without a model, where every demonstration obeys one of a few simple rules."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, apply_symmetry
from solver.common.checks import Grid
from solver.tasks.task import Pair

Rule = Callable[[Grid], Grid | None]
"""From an input to its output; None if it does not apply."""

View = Callable[[Grid], np.ndarray | None]
"""From an input to what each cell of the output may depend on: (height, width, values)."""

Pairs = Sequence[tuple[Grid, Grid]]


def guesses(demonstrations: Sequence[Pair], grid: Grid) -> Iterator[Grid]:
    """The outputs of `grid` by the rules that explain every demonstration, of which there must be two or more.

    The rules: a constant output; a mosaic of symmetries of the input (one tile: a symmetry); then, up to a fixed change
    of colours, a symmetry, cells enlarged, one tile of the input, the part of it that is not background, and the part
    with its rarest colour; last, cells looked up by what the input has at their place in each of its tiles, around
    them, in their row and column, next to the left and right or above and below, or by the region that they are in.
    """
    pairs = [(pair.input, pair.output) for pair in demonstrations if pair.output is not None]
    if len(pairs) < 2:
        return
    for rule in (*_constant(pairs), *_mosaic(pairs), *_recoloured(pairs), *_looked_up(pairs)):
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
        yield _rarest


def _looked_up(pairs: Pairs) -> Iterator[Rule]:
    """Output cells that depend on one view of the input alone: the demonstrations are the table.

    A grid with a key that no demonstration shows has no answer.
    """
    for view in _views(pairs[0]):
        table = _table(view, pairs)
        if table is not None:

            def rule(grid: Grid, view: View = view, table: dict[bytes, int] = table) -> Grid | None:
                keys = view(grid)
                cells = [None] if keys is None else [table.get(key) for key in _bytes(keys)]
                return None if keys is None or None in cells else np.array(cells, np.uint8).reshape(keys.shape[:2])

            yield rule


def _table(view: View, pairs: Pairs) -> dict[bytes, int] | None:
    """The colour of every key that the pairs show; None if one key has two colours."""
    table: dict[bytes, int] = {}
    for source, output in pairs:
        keys = view(source)
        if keys is None or keys.shape[:2] != output.shape:
            return None
        cells = zip(_bytes(keys), output.ravel().tolist(), strict=True)
        if any(table.setdefault(key, cell) != cell for key, cell in cells):
            return None
    return table


def _bytes(keys: np.ndarray) -> list[bytes]:
    return [key.tobytes() for key in keys.reshape(-1, keys.shape[2])]


def _views(pair: tuple[Grid, Grid]) -> Iterator[View]:
    """What the sizes of the first pair allow: tiles on top of each other, with or without lines between, or cells."""
    (height, width), (high, wide) = pair[0].shape, pair[1].shape
    if (height, width) == (high, wide):
        yield from (_around, _lines, _between, _largest_regions, _open_regions)
        return
    for line in (0, 1):
        a, b = (height + line) // (high + line), (width + line) // (wide + line)
        if a * b > 1:
            yield lambda grid, a=a, b=b, line=line: _stacked(grid, a, b, line)  # type: ignore[misc]


def _stacked(grid: Grid, a: int, b: int, line: int) -> np.ndarray | None:
    """The (a, b) tiles of a grid on top of each other (high, wide, a * b); `line` cells lie between two tiles."""
    padded = np.pad(grid, ((0, line), (0, line)))
    if not _divides(padded, a, b) or grid.shape[0] < a or grid.shape[1] < b:
        return None
    tiles = np.stack(_tiles(padded, a, b), axis=2)
    return tiles[: tiles.shape[0] - line, : tiles.shape[1] - line]


def _around(grid: Grid) -> np.ndarray:
    """Every cell with the sorted colours of its eight neighbours (height, width, 9)."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(grid, 1, constant_values=COLOURS), (3, 3))
    neighbours = np.delete(windows.reshape(*grid.shape, 9), 4, axis=2)
    return np.dstack([grid, np.sort(neighbours, axis=2)])


def _lines(grid: Grid) -> np.ndarray:
    """Every cell with the colours that its row has, and its column (height, width, 1 + 2 x 10)."""
    has = grid[:, :, None] == np.arange(COLOURS)
    rows, columns = has.any(axis=1, keepdims=True), has.any(axis=0, keepdims=True)
    return np.dstack([grid, np.broadcast_to(rows, has.shape), np.broadcast_to(columns, has.shape)])


def _between(grid: Grid) -> np.ndarray:
    """Every cell with the colour that encloses it in its row, and in its column: (height, width, 3).

    A colour encloses a cell if the nearest cells on both sides that are not 0 have it; 0 stands for none.
    """

    def before(lines: Grid) -> np.ndarray:
        """The nearest colour other than 0 to the left of each cell."""
        last = np.maximum.accumulate(np.where(lines > 0, np.arange(lines.shape[1]), -1), axis=1)
        last = np.pad(last, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
        return np.where(last < 0, 0, np.take_along_axis(lines, np.maximum(last, 0), axis=1))

    def enclosing(lines: Grid) -> np.ndarray:
        left, right = before(lines), before(lines[:, ::-1])[:, ::-1]
        return np.where(left == right, left, 0)

    return np.dstack([grid, enclosing(grid), enclosing(grid.T).T])


def _largest_regions(grid: Grid) -> np.ndarray:
    """Every cell with whether its region is a largest of its colour, and a smallest (height, width, 3)."""
    _, region, sizes = np.unique(_regions(grid), return_inverse=True, return_counts=True)
    size = sizes[region.reshape(grid.shape)]
    of_colour = [size[grid == colour] for colour in range(COLOURS)]
    largest = np.array([cells.max(initial=0) for cells in of_colour])
    smallest = np.array([cells.min(initial=grid.size) for cells in of_colour])
    return np.dstack([grid, size == largest[grid], size == smallest[grid]])


def _open_regions(grid: Grid) -> np.ndarray:
    """Every cell with whether its region touches the border (height, width, 2)."""
    regions = _regions(grid)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.dstack([grid, np.isin(regions, border)])


def _regions(grid: Grid) -> np.ndarray:
    """The number of the region of every cell; regions are cells of one colour that share sides."""
    regions = np.arange(grid.size).reshape(grid.shape)
    rows, columns = grid[1:] == grid[:-1], grid[:, 1:] == grid[:, :-1]
    sides = ((regions[:-1], regions[1:], rows), (regions[:, :-1], regions[:, 1:], columns))
    before = np.full_like(regions, -1)
    while not np.array_equal(before, regions):  # the lowest number spreads over its region
        before[:] = regions
        for one, other, same in sides:
            lowest = np.minimum(one, other)
            np.minimum(one, lowest, out=one, where=same)
            np.minimum(other, lowest, out=other, where=same)
    return regions


def _content(grid: Grid) -> Grid | None:
    """The smallest rectangle with all cells that are not of the most common colour."""
    return _rectangle(grid, grid != np.bincount(grid.ravel()).argmax())


def _rarest(grid: Grid) -> Grid | None:
    """The smallest rectangle with all cells of the least common colour."""
    colours, counts = np.unique(grid, return_counts=True)
    if len(counts) < 2 or np.count_nonzero(counts == counts.min()) > 1:
        return None
    return _rectangle(grid, grid == colours[counts.argmin()])


def _rectangle(grid: Grid, cells: np.ndarray) -> Grid | None:
    rows, columns = np.nonzero(cells)
    return grid[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if len(rows) else None


def _divides(grid: Grid, a: int, b: int) -> bool:
    return grid.shape[0] % a == 0 and grid.shape[1] % b == 0


def _tile(grid: Grid, a: int, b: int, place: int) -> Grid:
    """One of the (a, b) equal parts of a grid, counted row by row."""
    (height, width), (row, column) = (grid.shape[0] // a, grid.shape[1] // b), divmod(place, b)
    return grid[row * height : (row + 1) * height, column * width : (column + 1) * width]


def _tiles(grid: Grid, a: int, b: int) -> list[Grid]:
    """The (a, b) equal parts of a grid, row by row."""
    return [_tile(grid, a, b, place) for place in range(a * b)]
