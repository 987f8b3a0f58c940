"""Grids as pictures: SVG that says in words what it shows, and stays small where a page shows much that is alike.

A picture's unit is a cell; rows lie at whole numbers, so that a run of equal cells is a stroke `M3 5h2` of width 1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

from kernels.symmetry import MAX_SIDE

Cells = Sequence[Sequence[int]]  # a grid as JSON holds it

COLOUR_CODES = (
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),  # black, blue, red, green, yellow
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),  # grey, pink, orange, light blue, dark red
)
GRID_PIXELS = 190  # the longest side of the largest grid of a task; the others are drawn to the same scale
LARGEST_CELL = 22  # pixels, so that a 3x3 grid is no poster
ALIKE = 0.5  # of the cells: a grid that shares so many with another is drawn as that one and its changes


def draw_grid(grid: Cells, label: str, cell: float) -> str:
    """A grid as a picture by itself, `cell` pixels a cell; `label` is text, said before its size."""
    height, width = len(grid), len(grid[0])
    return _picture(grid, label, cell, f'{_painted(grid)}<path class="lines" d="{_lines(height, width)}"/>')


def size_of(grid: Cells) -> str:
    """Rows×columns."""
    return f"{len(grid)}×{len(grid[0])}"


def scale_of(grids: Iterable[Cells]) -> int:
    """Pixels of a cell, the same for all of `grids`, so that sizes can be compared by eye."""
    side = max((max(len(grid), len(grid[0])) for grid in grids), default=MAX_SIDE)
    return min(GRID_PIXELS // side, LARGEST_CELL)


class _Painted(NamedTuple):
    """A grid that a page has."""

    name: str
    on: str  # the name of the grid that it is painted on: itself, or one that is whole
    whole: Cells  # that grid


class Album:
    """The pictures of one page.

    A grid is painted once and referred to when it is shown again; one that is like another refers to that one and
    paints its changes; the lines between cells are in the page once for every size (`shared`).
    """

    def __init__(self) -> None:
        self._painted: dict[tuple[int, bytes], _Painted] = {}
        self._sizes: set[tuple[int, int]] = set()

    def draw(self, grid: Cells, label: str, cell: float, like: Cells | None = None) -> str:
        """A grid as a picture; `like`: one that the page shows already and that may have much in common with it."""
        return _picture(grid, label, cell, self._reference(grid, like) + self._line_reference(grid))

    def draw_difference(self, grid: Cells, truth: Cells, label: str, cell: float) -> str:
        """Where `grid` differs from `truth`, of the same size: those cells are framed and hold the true colour."""
        wrong = [[a != b for a, b in zip(ours, theirs, strict=True)] for ours, theirs in zip(grid, truth, strict=True)]
        places = [(row, column) for row, cells in enumerate(wrong) for column, cell in enumerate(cells) if cell]
        frames = "".join(f"M{column} {row - 0.5:g}h1v1h-1z" for row, column in places)
        veil = "".join(_runs(wrong, False))
        dots = []
        for colour in sorted({truth[row][column] for row, column in places}):
            path = "".join(f"M{c}.3 {r}h.4" for r, c in places if truth[r][c] == colour)
            dots.append(f'<path stroke="{COLOUR_CODES[colour]}" class="dot" d="{path}"/>')
        drawn = f'{self._reference(grid, truth)}<path class="veil" d="{veil}"/>{self._line_reference(grid)}'
        frame = f'<path class="frame" d="{frames}"/><path class="frame inner" d="{frames}"/>'
        return _picture(grid, label, cell, f"{drawn}{frame}{''.join(dots)}")

    def shared(self) -> str:
        """What the pictures refer to: an element of no size, to be put anywhere into the page."""
        paths = "".join(
            f'<path id="l{height}x{width}" class="lines" d="{_lines(height, width)}"/>'
            for height, width in sorted(self._sizes)
        )
        return f'<svg width="0" height="0" class="shared" aria-hidden="true"><defs>{paths}</defs></svg>'

    def _reference(self, grid: Cells, like: Cells | None) -> str:
        known = self._painted.get(_key(grid))
        if known is not None:
            return f'<use href="#{known.name}"/>'
        name, base = f"g{len(self._painted)}", self._painted.get(_key(like)) if like is not None else None
        if base is not None and _share_alike(grid, base.whole) >= ALIKE:
            self._painted[_key(grid)] = base._replace(name=name)
            return f'<g id="{name}"><use href="#{base.on}"/>{_painted(grid, base.whole)}</g>'
        self._painted[_key(grid)] = _Painted(name, name, grid)
        return f'<g id="{name}">{_painted(grid)}</g>'

    def _line_reference(self, grid: Cells) -> str:
        size = len(grid), len(grid[0])
        self._sizes.add(size)
        return f'<use href="#l{size[0]}x{size[1]}"/>'


def _picture(grid: Cells, label: str, cell: float, content: str) -> str:
    height, width = len(grid), len(grid[0])
    size = f'width="{width * cell:.0f}" height="{height * cell:.0f}" viewBox="0 -.5 {width} {height}"'
    words = escape(f"{label}, {height} rows by {width} columns")
    return f'<svg role="img" aria-label="{words}" {size}>{content}</svg>'


def _key(grid: Cells) -> tuple[int, bytes]:
    return len(grid), b"".join(map(bytes, grid))


def _share_alike(one: Cells, other: Cells) -> float:
    """Of their cells; 0 for grids of two sizes."""
    if (len(one), len(one[0])) != (len(other), len(other[0])):
        return 0.0
    same = sum(a == b for ours, theirs in zip(one, other, strict=True) for a, b in zip(ours, theirs, strict=True))
    return same / (len(one) * len(one[0]))


def _painted(grid: Cells, base: Cells | None = None) -> str:
    """The commonest colour as ground and a path for each other one; on a base, paths of what differs from it."""
    height, width = len(grid), len(grid[0])
    if base is not None:
        changed = [
            [a if a != b else -1 for a, b in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(grid, base, strict=True)
        ]
        return _strokes(changed, {value for row in changed for value in row} - {-1})
    ground = Counter(value for row in grid for value in row).most_common(1)[0][0]
    strokes = _strokes(grid, {value for row in grid for value in row} - {ground})
    return f'<path fill="{COLOUR_CODES[ground]}" d="M0-.5h{width}v{height}H0z"/>{strokes}'


def _strokes(grid: Cells, colours: Iterable[int]) -> str:
    return "".join(
        f'<path stroke="{COLOUR_CODES[colour]}" d="{"".join(_runs(grid, colour))}"/>' for colour in sorted(colours)
    )


def _runs(grid: Cells, colour: int) -> Iterable[str]:
    """A stroke for every run of equal cells in a row."""
    for row, cells in enumerate(grid):
        if colour not in cells:
            continue
        column = 0
        for value, run in groupby(cells):
            length = len(list(run))
            if value == colour:
                yield f"M{column} {row}h{length}"
            column += length


def _lines(height: int, width: int) -> str:
    """Between the cells."""
    rows = "".join(f"M0 {row}.5h{width}" for row in range(height - 1))
    return rows + "".join(f"M{column}-.5v{height}" for column in range(1, width))
