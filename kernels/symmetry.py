"""The eight symmetries of the square and colour permutations, as tables and arithmetic.

Symmetries are numbered as in the published code: 0 identity; 1, 2, 3 rotation by 90, 180, 270 degrees
counter-clockwise; 4 left-right flip; 5 up-down flip; 6 transpose; 7 left-right flip of rotation 1. A colour permutation
p maps colour c to p[c].

Every symmetry flips the rows or not, flips the columns or not, then transposes or not. With (h, w) the shape of the
source, out[i, j] = grid[r, c] where

    (a, b) = (j, i) if TRANSPOSES[s] else (i, j)
    r = h - 1 - a if FLIPS_ROWS[s] else a
    c = w - 1 - b if FLIPS_COLUMNS[s] else b
"""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # a numpy array or a torch tensor, in functions that work on both

SYMMETRIES = 8
COLOURS = 10
PERMUTED = tuple(range(1, COLOURS))  # colours that variants may permute; black never is
MAX_SIDE = 30  # of a grid, in cells

#                                0  1  2  3  4  5  6  7
TRANSPOSES = np.array([0, 1, 0, 1, 0, 0, 1, 1], dtype=bool)
FLIPS_ROWS = np.array([0, 0, 1, 1, 0, 1, 0, 1], dtype=bool)
FLIPS_COLUMNS = np.array([0, 1, 1, 0, 1, 0, 0, 1], dtype=bool)
BITS = np.stack([TRANSPOSES, FLIPS_ROWS, FLIPS_COLUMNS]).astype(np.int64)  # (3, 8), for arithmetic


INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])  # only two rotations differ from their inverses


def turned_size(bits: Array, height: Array, width: Array) -> tuple[Array, Array]:
    """(height, width) after the symmetries with these BITS columns (3, B): swapped where they transpose."""
    transposes = bits[0]
    return height + transposes * (width - height), width + transposes * (height - width)


def walk(bits: Array, height: Array, width: Array, pitch: Array | int) -> tuple[Array, Array, Array]:
    """Index arithmetic for reading a transformed grid directly from the source: (origin, down, right), in cells.

    out[i, j] = source.flat[origin + i * down + j * right]. `bits` are BITS columns (3, B), (height, width) is the shape
    of the source and `pitch` the distance between the starts of its rows. Integer arrays or tensors.
    """
    transposes, flips_rows, flips_columns = bits
    row_step = (1 - 2 * flips_rows) * pitch
    column_step = 1 - 2 * flips_columns
    origin = flips_rows * (height - 1) * pitch + flips_columns * (width - 1)
    down = row_step + transposes * (column_step - row_step)
    right = column_step + transposes * (row_step - column_step)
    return origin, down, right


def apply_symmetry(grid: np.ndarray, s: int) -> np.ndarray:
    """The 2-D `grid` after symmetry `s` (0 to 7), as a new array."""
    if FLIPS_ROWS[s]:
        grid = grid[::-1]
    if FLIPS_COLUMNS[s]:
        grid = grid[:, ::-1]
    return (grid.T if TRANSPOSES[s] else grid).copy()


# The annotation is quoted because evaluating it would load numpy.random, a tenth of the start-up of `arc-trm score`.
def random_permutations(count: int, rng: "np.random.Generator", keep_black: bool = True) -> np.ndarray:
    """Uniform random colour permutations uint8 (count, 10); colour 0 (black) is fixed unless `keep_black` is False."""
    permutations = np.tile(np.arange(COLOURS, dtype=np.uint8), (count, 1))
    moving = permutations[:, 1:] if keep_black else permutations
    rng.permuted(moving, axis=1, out=moving)
    return permutations
