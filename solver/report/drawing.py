"""Grids as SVG pictures with a text label. Pictures on one page share what they have in common, to keep it small.

The unit is a cell. Rows are at whole numbers, so that a run of equal cells is a stroke of width 1, such as `M3 5h2`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from kernels.symmetry import MAX_SIDE

Cells = Sequence[Sequence[int]]  # a grid as JSON holds it

COLOUR_CODES = (
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),  # black, blue, red, green, yellow
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),  # grey, pink, orange, light blue, dark red
)
GRID_PIXELS = 190  # most pixels of the longest side of a task's largest grid; the task's other grids share its scale
LARGEST_CELL = 22  # pixels, so that a 3x3 grid is not huge
ALIKE = 0.5  # a grid that shares this part of its cells with another is drawn as the other and its changes


def draw_grid(grid: Cells, label: str, cell: float) -> str:
    """A stand-alone picture of a grid, `cell` pixels per cell. `label`: text, put before the size."""
    height, width = len(grid), len(grid[0])
    return _picture(grid, label, cell, f'{_painted(grid)}<path class="lines" d="{_lines(height, width)}"/>')


def size_of(grid: Cells) -> str:
    """Rows×columns."""
    return f"{len(grid)}×{len(grid[0])}"


def scale_of(grids: Iterable[Cells]) -> int:
    """Pixels per cell, the same for all `grids`, so that their sizes can be compared."""
    side = max((max(len(grid), len(grid[0])) for grid in grids), default=MAX_SIDE)
    return min(GRID_PIXELS // side, LARGEST_CELL)


def changed_cells(grid: Cells, other: Cells) -> list[tuple[int, int]] | None:
    """(row, column) of every cell in which two grids differ; None if their sizes differ."""
    if (len(grid), len(grid[0])) != (len(other), len(other[0])):
        return None
    return [
        (row, column)
        for row, (ours, theirs) in enumerate(zip(grid, other, strict=True))
        for column, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if a != b
    ]


class Album:
    """The pictures of one page.

    A grid is painted once, and referred to when it is shown again. A grid similar to another refers to it and paints
    the changes. The lines between cells are on the page once per size (`shared`).
    """

    def __init__(self) -> None:
        # By grid: its name, and name and cells of the completely painted grid on which it is painted (maybe itself).
        self._painted: dict[tuple[int, bytes], tuple[str, str, Cells]] = {}
        self._sizes: set[tuple[int, int]] = set()

    def draw(self, grid: Cells, label: str, cell: float, like: Cells | None = None) -> str:
        """A picture of a grid. `like`: a grid that is on the page already and may be similar."""
        return _picture(grid, label, cell, self._reference(grid, like) + self._line_reference(grid))

    def draw_difference(self, grid: Cells, truth: Cells, label: str, cell: float) -> str:
        """`grid` with its wrong cells framed, the true colour inside; `truth` has the same size."""
        places = changed_cells(grid, truth) or []
        wrong = set(places)
        right = [[(row, column) not in wrong for column in range(len(grid[0]))] for row in range(len(grid))]
        frames = "".join(f"M{column} {row - 0.5:g}h1v1h-1z" for row, column in places)
        dots = []
        for colour in sorted({truth[row][column] for row, column in places}):
            path = "".join(f"M{c}.3 {r}h.4" for r, c in places if truth[r][c] == colour)
            dots.append(f'<path stroke="{COLOUR_CODES[colour]}" class="dot" d="{path}"/>')
        veil = f'<path class="veil" d="{"".join(_runs(right, True))}"/>'
        frame = f'<path class="frame" d="{frames}"/><path class="frame inner" d="{frames}"/>'
        drawn = f"{self._reference(grid, truth)}{veil}{self._line_reference(grid)}{frame}{''.join(dots)}"
        return _picture(grid, label, cell, drawn)

    def shared(self) -> str:
        """The element that the pictures refer to. It has no size and may be anywhere on the page."""
        sizes = sorted(self._sizes)
        paths = "".join(f'<path id="l{h}x{w}" class="lines" d="{_lines(h, w)}"/>' for h, w in sizes)
        return f'<svg width="0" height="0" class="shared" aria-hidden="true"><defs>{paths}</defs></svg>'

    def _reference(self, grid: Cells, like: Cells | None) -> str:
        if _key(grid) in self._painted:
            return f'<use href="#{self._painted[_key(grid)][0]}"/>'
        name = f"g{len(self._painted)}"
        if like is not None and _key(like) in self._painted:
            _, base, cells = self._painted[_key(like)]
            changes = changed_cells(grid, cells)
            if changes is not None and len(changes) <= (1 - ALIKE) * len(grid) * len(grid[0]):
                self._painted[_key(grid)] = name, base, cells
                kept = set(changes)
                changed = [[v if (r, c) in kept else -1 for c, v in enumerate(row)] for r, row in enumerate(grid)]
                return f'<g id="{name}"><use href="#{base}"/>{_strokes(changed, -1)}</g>'
        self._painted[_key(grid)] = name, name, grid
        return f'<g id="{name}">{_painted(grid)}</g>'

    def _line_reference(self, grid: Cells) -> str:
        self._sizes.add((len(grid), len(grid[0])))
        return f'<use href="#l{len(grid)}x{len(grid[0])}"/>'


def _picture(grid: Cells, label: str, cell: float, content: str) -> str:
    height, width = len(grid), len(grid[0])
    size = f'width="{width * cell:.0f}" height="{height * cell:.0f}" viewBox="0 -.5 {width} {height}"'
    words = escape(f"{label}, {height} rows by {width} columns")
    return f'<svg role="img" aria-label="{words}" {size}>{content}</svg>'


def _key(grid: Cells) -> tuple[int, bytes]:
    return len(grid), b"".join(map(bytes, grid))


def _painted(grid: Cells) -> str:
    """The most common colour as the background, and a path for each other colour."""
    height, width = len(grid), len(grid[0])
    ground = Counter(value for row in grid for value in row).most_common(1)[0][0]
    return f'<path fill="{COLOUR_CODES[ground]}" d="M0-.5h{width}v{height}H0z"/>{_strokes(grid, ground)}'


def _strokes(grid: Cells, but: int) -> str:
    """A path for each colour except `but`."""
    colours = sorted({value for row in grid for value in row} - {but})
    return "".join(f'<path stroke="{COLOUR_CODES[c]}" d="{"".join(_runs(grid, c))}"/>' for c in colours)


def _runs(grid: Cells, colour: int) -> Iterable[str]:
    """A stroke for every run of cells of this colour in a row."""
    for row, cells in enumerate(grid):
        column = 0
        for value, run in groupby(cells):
            length = len(list(run))
            if value == colour:
                yield f"M{column} {row}h{length}"
            column += length


def _lines(height: int, width: int) -> str:
    """The lines between cells."""
    rows = "".join(f"M0 {row}.5h{width}" for row in range(height - 1))
    return rows + "".join(f"M{column}-.5v{height}" for column in range(1, width))
