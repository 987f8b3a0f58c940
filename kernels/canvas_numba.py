"""canvas.py in numba, parallel over samples. Same names, arguments, results and errors.

Numba's threads do not survive a fork: after a call, start processes with spawn.
"""

import numpy as np
from numba import prange

from kernels.canvas import END_OF_GRID, FIRST_COLOUR, PAD, PackedGrids, check_tokens, integers, placement
from kernels.jit import jit
from kernels.symmetry import BITS


def encode(
    grids: PackedGrids,
    index: np.ndarray,
    symmetry: np.ndarray,
    permutation: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    canvas: tuple[int, int],
    padding: int = PAD,
) -> np.ndarray:
    index, symmetry, permutation, row, column = integers(index, symmetry, permutation, row, column)
    place = placement(BITS, grids, index, symmetry, permutation, row, column, canvas)
    origin, down, right, height, width = integers(*place)
    tokens = np.empty((len(index), *canvas), dtype=np.int8)
    token_of = (permutation + FIRST_COLOUR).astype(np.int8)
    cells = np.ascontiguousarray(grids.cells)
    _encode(cells, origin, down, right, height, width, token_of, row, column, padding, tokens)
    return tokens


def published_sizes(tokens: np.ndarray) -> np.ndarray:
    check_tokens(tokens)
    sizes = np.empty((len(tokens), 2), dtype=np.int32)
    _published(np.ascontiguousarray(tokens, dtype=np.int8), sizes)
    return sizes


def robust_sizes(tokens: np.ndarray) -> np.ndarray:
    check_tokens(tokens)
    best = np.empty(len(tokens), dtype=np.int64)
    _robust(np.ascontiguousarray(tokens, dtype=np.int8), best)
    height = best & 31
    width = (1023 - ((best >> 5) & 1023)) // np.maximum(height, 1)
    return (np.stack([height, width], axis=1) * (best < _NO_RECTANGLE)[:, None]).astype(np.int32)


@jit()
def _encode_one(cells, origin, down, right, height, width, token_of, row, column, padding, tokens):  # type: ignore[no-untyped-def]
    tokens[:] = padding
    for i in range(height):
        address, line = origin + i * down, tokens[row + i, column:]
        for j in range(width):  # an unsigned index needs no check for negative values: twice as fast
            line[j] = token_of[cells[np.uint64(address + j * right)]]
        if width < len(line):
            line[width] = END_OF_GRID
    if row + height < tokens.shape[0]:
        tokens[row + height, column : column + width] = END_OF_GRID


@jit(parallel=True)
def _encode(cells, origin, down, right, height, width, token_of, row, column, padding, tokens):  # type: ignore[no-untyped-def]
    for b in prange(len(tokens)):
        _encode_one(
            cells, origin[b], down[b], right[b], height[b], width[b], token_of[b], row[b], column[b], padding, tokens[b]
        )


@jit()
def _published_one(tokens, size):  # type: ignore[no-untyped-def]
    size[:] = 0
    width, largest = tokens.shape[1], 0
    for i in range(tokens.shape[0]):
        run = 0
        while run < width and tokens[i, run] >= FIRST_COLOUR:
            run += 1
        width = run
        if (i + 1) * width > largest:
            largest = (i + 1) * width
            size[0], size[1] = i + 1, width


@jit(parallel=True)
def _published(tokens, sizes):  # type: ignore[no-untyped-def]
    for b in prange(len(tokens)):
        _published_one(tokens[b], sizes[b])


_LANES = 32  # widths ranked at a time, 1 to 32: whole vector registers; 30 would not vectorise
_NO_RECTANGLE = 1 << 30  # above every rank


@jit()  # a single function: split in two it runs at two thirds of the speed
def _least_rank(tokens, inside, below, right):  # type: ignore[no-untyped-def]
    """One pass over the rows. Entry j of the scratch arrays belongs to the rectangle of width j + 1 down to this row.

    Bits of a rank, from the highest: side denied (1), contradictions (10), 1023 - area (10), height (5).
    """
    canvas_height, canvas_width = tokens.shape
    inside[:canvas_width] = 0
    inside[canvas_width:] = 2 * _LANES**2  # no rectangle is wider than the canvas
    below[:] = 0
    right[:] = 0
    best = _NO_RECTANGLE
    for i in range(canvas_height):
        height, more = i + 1, int(i + 1 < canvas_height)
        seen = 0
        for j in range(canvas_width):
            seen += tokens[i, j] < FIRST_COLOUR
            inside[j] += seen
        for j in range(1, canvas_width):
            right[j - 1] += tokens[i, j] != END_OF_GRID
        seen = 0
        for j in range(canvas_width):
            seen += more & (tokens[i + more, j] != END_OF_GRID)
            below[j] = seen
        for j in range(_LANES):
            width = j + 1
            length_below, length_right = more * width, height * (width < canvas_width)
            beside = below[j] + right[j]
            denied = (
                (2 * below[j] >= max(4, length_below))  # 4 = 2 * 2 tokens: a single one never denies
                | (2 * right[j] >= max(4, length_right))
                | (2 * beside >= max(4, length_below + length_right))
            )
            rank = (((((denied << 10) + inside[j] + beside) << 10) + 1023 - height * width) << 5) + height
            best = min(best, rank if 2 * inside[j] <= height * width else _NO_RECTANGLE)
    return best


@jit(parallel=True)
def _robust(tokens, best):  # type: ignore[no-untyped-def]
    for b in prange(len(tokens)):
        scratch = np.empty((3, _LANES), dtype=np.int32)
        best[b] = _least_rank(tokens[b], scratch[0], scratch[1], scratch[2])
