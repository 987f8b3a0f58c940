"""The symmetry tables against numpy's own rotations and flips, their inverses, and colour permutations."""

from collections.abc import Callable

import numpy as np
import pytest

from kernels.symmetry import (
    BITS,
    COLOURS,
    FLIPS_COLUMNS,
    FLIPS_ROWS,
    INVERSE,
    SYMMETRIES,
    TRANSPOSES,
    apply_symmetry,
    random_permutations,
    turned_size,
    walk,
)

GRID = np.arange(15).reshape(3, 5)  # no two cells alike, no two sides alike
PUBLISHED: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda grid: grid,
    lambda grid: np.rot90(grid, 1),
    lambda grid: np.rot90(grid, 2),
    lambda grid: np.rot90(grid, 3),
    np.fliplr,
    np.flipud,
    np.transpose,
    lambda grid: np.fliplr(np.rot90(grid, 1)),
]


@pytest.mark.parametrize("s", range(SYMMETRIES))
def test_symmetries_are_the_published_ones(s: int) -> None:
    np.testing.assert_array_equal(apply_symmetry(GRID, s), PUBLISHED[s](GRID))


@pytest.mark.parametrize("s", range(SYMMETRIES))
def test_tables_mean_what_they_say(s: int) -> None:
    h, w = GRID.shape
    out = apply_symmetry(GRID, s)
    for i, j in np.ndindex(out.shape):
        a, b = (j, i) if TRANSPOSES[s] else (i, j)
        assert out[i, j] == GRID[h - 1 - a if FLIPS_ROWS[s] else a, w - 1 - b if FLIPS_COLUMNS[s] else b]


@pytest.mark.parametrize("s", range(SYMMETRIES))
def test_a_walk_reads_the_transformed_grid_from_the_source(s: int) -> None:
    h, w = GRID.shape
    source = np.full((h, 9), -1)  # rows 9 apart, of which the grid fills 5
    source[:, :w] = GRID
    origin, down, right = walk(BITS[:, s], h, w, 9)
    height, width = turned_size(BITS[:, s], h, w)
    i, j = np.indices((height, width))
    np.testing.assert_array_equal(source.ravel()[origin + i * down + j * right], apply_symmetry(GRID, s))


def test_inverses_undo_symmetries() -> None:
    for s in range(SYMMETRIES):
        np.testing.assert_array_equal(apply_symmetry(apply_symmetry(GRID, s), int(INVERSE[s])), GRID)


def test_applying_a_symmetry_leaves_the_source_alone() -> None:
    for s in range(SYMMETRIES):
        assert not np.shares_memory(apply_symmetry(GRID, s), GRID)


@pytest.mark.parametrize("keep_black", [True, False])
def test_random_permutations_are_uniform(keep_black: bool) -> None:
    draws = 9000
    drawn = random_permutations(draws, np.random.default_rng(0), keep_black)
    assert drawn.shape == (draws, COLOURS)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(COLOURS), (draws, 1)))
    black = int(keep_black)
    assert (drawn[:, :black] == 0).all()
    frequency = (drawn[:, black:, None] == np.arange(black, COLOURS)).sum(axis=0)  # [colour, becomes]
    share = 1 / (COLOURS - black)
    assert np.abs(frequency - draws * share).max() < 5 * np.sqrt(draws * share)
