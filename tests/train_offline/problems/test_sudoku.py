"""Sudoku: solutions counted against an enumeration, puzzles of our own, augmentations against orbits, the split."""

import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.common.checks import InputError
from train_offline.problems import sudoku
from train_offline.problems.puzzle_csv import read_sudokus
from train_offline.problems.puzzles import Puzzles, row_keys, split_families
from train_offline.problems.sudoku import (
    BLANK,
    BOXES,
    FIRST_DIGIT,
    augment_sudoku,
    families,
    generate_sudokus,
    is_solution,
)

QUICK = settings(max_examples=60)
sides = pytest.mark.parametrize("side", BOXES)
CLUES = {4: (4, 9), 6: (10, 16), 9: (26, 34)}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pattern(side: int) -> np.ndarray:
    """(S, S) tokens of a solved grid: every row is the one above, moved on by a box; a band's first by one."""
    rows, columns = BOXES[side]
    return np.array(
        [[(columns * (r % rows) + r // rows + c) % side + FIRST_DIGIT for c in range(side)] for r in range(side)],
        dtype=np.uint8,
    )


@cache
def all_of_side_4() -> np.ndarray:
    """(288, 4, 4) tokens: the solved grids of side 4, found by trying all rows."""
    rows = np.array(list(itertools.permutations(range(4))))
    grids = rows[np.indices((24,) * 4).reshape(4, -1).T]  # (24**4, 4, 4)
    powers = 10**grids
    columns = powers.sum(axis=1)
    boxes = powers.reshape(-1, 2, 2, 2, 2).sum(axis=(2, 4)).reshape(-1, 4)
    right = (columns == 1111).all(axis=1) & (boxes == 1111).all(axis=1)  # each of 0 to 3 once
    return (grids[right] + FIRST_DIGIT).astype(np.uint8)


def count_solutions(grids: np.ndarray, limit: int = 2) -> np.ndarray:
    """(K,) solutions of puzzles (K, S, S) up to `limit`, counted by the generator's own search."""
    units, in_order = sudoku._tables(grids.shape[-1])
    return np.array([sudoku._count(grid.ravel().copy(), units, in_order, limit) for grid in grids], np.int64)


def split(puzzles: Puzzles, test_count: int, generator: np.random.Generator) -> tuple[Puzzles, Puzzles]:
    return split_families(puzzles, families(puzzles, puzzles.inputs.shape[-1]), test_count, generator)


def as_puzzles(inputs: np.ndarray, labels: np.ndarray | None = None) -> Puzzles:
    return Puzzles(inputs, inputs if labels is None else labels, inputs.shape[-1] + FIRST_DIGIT)


@pytest.mark.slow
def test_the_grids_of_side_4_are_288() -> None:
    assert len(all_of_side_4()) == 288
    assert is_solution(all_of_side_4(), 4).all()
    blank = np.full((1, 4, 4), BLANK, dtype=np.uint8)
    assert count_solutions(blank, 1000).tolist() == [288]
    assert count_solutions(blank).tolist() == [2]


@QUICK
@given(
    solved=st.integers(0, 287),
    blanks=st.sets(st.integers(0, 15), min_size=4),
    changes=st.lists(st.tuples(st.integers(0, 15), st.integers(BLANK, 5)), max_size=2),
    limit=st.sampled_from([1, 2, 3, 300]),
)
def test_solutions_are_counted_as_by_enumeration(
    solved: int, blanks: set[int], changes: list[tuple[int, int]], limit: int
) -> None:
    cells = all_of_side_4()[solved].ravel().copy()
    cells[list(blanks)] = BLANK
    for cell, token in changes:
        cells[cell] = token
    given = cells != BLANK
    expected = (all_of_side_4().reshape(288, 16)[:, given] == cells[given]).all(axis=1).sum()
    puzzle = cells.reshape(1, 4, 4)
    assert count_solutions(puzzle, limit).tolist() == [min(expected, limit)]
    np.testing.assert_array_equal(puzzle[0].ravel(), cells)  # and is left as it was


@sides
def test_solutions_of_larger_grids(side: int) -> None:
    solved = pattern(side)
    assert count_solutions(solved[None]).tolist() == [1]
    a, b = np.argwhere(solved == FIRST_DIGIT), np.argwhere(solved == FIRST_DIGIT + 1)
    without = solved.copy()
    without[tuple(a.T)] = without[tuple(b.T)] = BLANK  # two digits gone: they can at least change places
    assert count_solutions(without[None], 2).tolist() == [2]
    wrong = solved.copy()
    wrong[0, 0] = wrong[0, 1]
    assert count_solutions(wrong[None]).tolist() == [0]
    assert count_solutions(np.empty((0, side, side), np.uint8)).tolist() == []


@sides
def test_what_is_a_solution(side: int) -> None:
    solved = pattern(side)
    rows, _ = BOXES[side]
    bad = [solved.copy() for _ in range(5)]
    bad[0][side - 1, 0] = BLANK
    bad[1][0, 0] = 0
    bad[2][1, 1] = side + FIRST_DIGIT
    bad[3][[0, rows]] = bad[3][[rows, 0]]  # rows and columns stay right: only boxes tell
    bad[4][:] = bad[4][::-1, ::-1]
    bad[4][0, 0] = bad[4][0, 1]
    assert is_solution(np.stack([solved, *bad]), side).tolist() == [True] + 5 * [False]
    assert is_solution(np.stack([solved, solved]).astype(np.int64) * [[[1]], [[-1]]], side).tolist() == [True, False]
    latin = np.add.outer(np.arange(side), np.arange(side)) % side + FIRST_DIGIT
    assert not is_solution(latin[None], side).any()
    rows_only = np.tile(np.arange(side) + FIRST_DIGIT, (side, 1))
    assert not is_solution(np.stack([rows_only, rows_only.T]), side).any()


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (np.zeros((2, 5, 5), np.uint8), "sudoku side: expected one of 4, 6, 9, got 5"),
        (np.zeros((2, 4), np.uint8), "sudokus: expected uint8 tokens of shape (K, 4, 4), got uint8 of shape (2, 4)"),
        (np.ones((2, 4, 4)), "got float64 of shape (2, 4, 4)"),
        (np.zeros((2, 4, 4), np.uint8), "sudokus: expected tokens 1 to 5, got 0 to 0"),
        (np.full((2, 4, 4), 6, np.uint8), "sudokus: expected tokens 1 to 5, got 6 to 6"),
    ],
)
def test_grids_that_are_none(grids: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        sudoku._cells(grids, grids.shape[-1])


@sides
def test_generated_puzzles_have_the_givens_asked_for_and_one_solution(side: int) -> None:
    low, high = CLUES[side]
    puzzles = generate_sudokus(side, (low, high), 60, rng())
    assert puzzles.inputs.shape == puzzles.labels.shape == (60, side, side)
    assert puzzles.vocabulary == side + 2
    given = puzzles.inputs != BLANK
    assert set(given.sum(axis=(1, 2))) == set(range(low, high + 1))
    np.testing.assert_array_equal(puzzles.inputs[given], puzzles.labels[given])
    assert is_solution(puzzles.labels, side).all()
    assert (count_solutions(puzzles.inputs) == 1).all()
    assert len(set(row_keys(puzzles.inputs))) == 60


def test_the_seed_decides() -> None:
    again = [generate_sudokus(6, 14, 20, rng(seed)).inputs for seed in (1, 1, 2)]
    np.testing.assert_array_equal(again[0], again[1])
    assert (again[0] != again[2]).any()


def test_all_solved_grids_come_up_and_no_more() -> None:
    puzzles = generate_sudokus(4, 16, 288, rng())
    assert set(row_keys(puzzles.inputs)) == set(row_keys(all_of_side_4()))
    with pytest.raises(InputError, match="4x4 sudokus with 16 clues: expected 1 more, unlike the 288 found, got none"):
        generate_sudokus(4, 16, 289, rng())


@pytest.mark.parametrize(
    ("side", "clues", "message"),
    [
        (4, 3, "4x4 sudokus with 3 clues: expected 5 more"),
        (4, (3, 8), "4x4 sudokus with 3 clues: expected"),
        (6, 7, "6x6 sudokus with 7 clues: expected 5 more"),
        (4, 17, "sudoku clues: expected 0 to 16, the lower number first, got 17"),
        (4, -1, "sudoku clues: expected 0 to 16, the lower number first, got -1"),
        (4, (8, 7), "sudoku clues: expected 0 to 16, the lower number first, got (8, 7)"),
        (5, 7, "sudoku side: expected one of 4, 6, 9, got 5"),
    ],
)
def test_impossible_wishes_are_refused(side: int, clues: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        generate_sudokus(side, clues, 5 if isinstance(clues, int) else 60, rng())


@sides
def test_augmented_puzzles_are_puzzles_still(side: int) -> None:
    puzzles = generate_sudokus(side, CLUES[side], 40, rng())
    before = puzzles.inputs.copy(), puzzles.labels.copy()
    inputs, labels = augment_sudoku(side)(puzzles.inputs, puzzles.labels, rng(1))
    assert inputs.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(puzzles.inputs, before[0])
    np.testing.assert_array_equal(puzzles.labels, before[1])
    given = inputs != BLANK
    np.testing.assert_array_equal(given.sum(axis=(1, 2)), (before[0] != BLANK).sum(axis=(1, 2)))
    np.testing.assert_array_equal(inputs[given], labels[given])
    assert is_solution(labels, side).all()
    assert (count_solutions(inputs) == 1).all()
    again = augment_sudoku(side)(puzzles.inputs, puzzles.labels, rng(1))
    np.testing.assert_array_equal(again[0], inputs)


def test_augmentation_reaches_the_whole_orbit() -> None:
    """The 288 grids of side 4 are known to fall into two orbits, of 96 and 192."""
    sizes = set()
    for grid in all_of_side_4()[[0, *range(1, 288, 41)]]:
        many = np.tile(grid, (4000, 1, 1))
        sizes.add(len(set(row_keys(augment_sudoku(4)(many, many, rng())[1]))))
    assert sizes == {96, 192}


@sides
def test_rows_and_columns_change_places_only_where_boxes_are_square(side: int) -> None:
    grid = np.full((side, side), BLANK, dtype=np.uint8)
    grid[0] = np.arange(side) + FIRST_DIGIT
    many = np.tile(grid, (2000, 1, 1))
    given = augment_sudoku(side)(many, many, rng())[0] != BLANK
    in_a_row = given.all(axis=2).any(axis=1)
    assert (in_a_row | given.all(axis=1).any(axis=1)).all()
    if side == 6:
        assert in_a_row.all()
    else:
        assert 900 < in_a_row.sum() < 1100
    places = np.argwhere(given.all(axis=2))[:, 1]
    assert np.bincount(places, minlength=side).min() > len(places) / side / 2  # every row, about as often


@pytest.mark.parametrize("side", [4, 6])
def test_canonical_forms_survive_augmentation(side: int) -> None:
    puzzles = generate_sudokus(side, CLUES[side], 50, rng())
    keys = families(puzzles, side)
    for seed in range(3):
        inputs, labels = augment_sudoku(side)(puzzles.inputs, puzzles.labels, rng(seed))
        np.testing.assert_array_equal(families(as_puzzles(inputs, labels), side), keys)


def test_canonical_forms_tell_apart_what_is_known_to_be_different() -> None:
    """Known numbers: 2 grids of side 4, 13 puzzles of it with the least number of givens, 4; 49 grids of side 6."""
    assert len(set(families(as_puzzles(all_of_side_4()), 4))) == 2
    assert len(set(families(generate_sudokus(4, 4, 1500, rng()), 4))) == 13
    assert len(set(families(generate_sudokus(6, 36, 6000, rng()), 6))) == 49
    with pytest.raises(InputError, match="sudokus: expected tokens 1 to 5, got 10 to 10"):
        families(Puzzles(*np.full((2, 1, 4, 4), 10, np.uint8), 11), 4)


def test_families_of_side_9_share_a_solution() -> None:
    puzzles = generate_sudokus(9, (30, 34), 20, rng())
    solved = as_puzzles(puzzles.labels)
    digits = np.append([0, BLANK], rng(1).permutation(9) + FIRST_DIGIT).astype(np.uint8)
    renamed = Puzzles(digits[puzzles.inputs], digits[puzzles.labels], 11)
    keys = families(puzzles, 9)
    assert len(set(keys)) == 20
    np.testing.assert_array_equal(families(solved, 9), keys)
    np.testing.assert_array_equal(families(renamed, 9), keys)
    with pytest.raises(InputError, match="sudokus: expected labels that are solutions, got others"):
        families(as_puzzles(puzzles.inputs), 9)


@sides
def test_test_puzzles_are_akin_to_no_training_puzzle(side: int) -> None:
    base = generate_sudokus(side, CLUES[side], 40, rng())
    if side == 9:  # other puzzles of the same solutions
        inputs = np.where(rng(1).random(base.inputs.shape) < 0.5, base.labels, base.inputs)
        twins = Puzzles(inputs, base.labels, 11)
    else:
        twins = as_puzzles(*augment_sudoku(side)(base.inputs, base.labels, rng(1)))
    inputs = np.concatenate([base.inputs, twins.inputs])
    both = as_puzzles(inputs, np.concatenate([base.labels, twins.labels]))
    train, test = split(both, 15, rng(2))
    assert len(test) == 15
    assert 80 - 40 <= len(train) <= 80 - 15
    assert not set(families(train, side)) & set(families(test, side))
    whole = set(row_keys(both.inputs + both.labels))
    assert set(row_keys(train.inputs + train.labels)) | set(row_keys(test.inputs + test.labels)) <= whole
    other = split(both, 15, rng(3))[1]
    assert (other.inputs != test.inputs).any()


def test_splits_that_cannot_be() -> None:
    puzzles = generate_sudokus(4, 6, 5, rng())
    for count in (5, 6):
        with pytest.raises(InputError, match=f"split: expected puzzles for a test of {count} and some to train on"):
            split(puzzles, count, rng())
    one = all_of_side_4()[:1].repeat(9, axis=0)
    with pytest.raises(InputError, match="got 9 of 1 families"):
        split(as_puzzles(one), 1, rng())
    with pytest.raises(InputError, match="test-count: expected 1 or more, got 0"):
        split(puzzles, 0, rng())
    blank = np.full((2, 9, 9), BLANK, np.uint8)
    answers = np.stack([pattern(9), pattern(9).T])
    with pytest.raises(InputError, match="split: expected one answer to every question, got two to the same one"):
        split(as_puzzles(blank, answers), 1, rng())


def text(grid: np.ndarray, blank: str = ".") -> str:
    return "".join(blank if token == BLANK else str(token - BLANK) for token in grid.ravel())


def lines(puzzles: Puzzles, blank: str = ".") -> str:
    pairs = zip(puzzles.inputs, puzzles.labels, strict=True)
    return "source,question,answer,rating\n" + "".join(f"s,{text(q, blank)},{text(a)},7\n" for q, a in pairs)


@sides
@pytest.mark.parametrize("blank", [".", "0"])
def test_a_file_comes_back_as_it_was_written(tmp_path: Path, side: int, blank: str) -> None:
    puzzles = generate_sudokus(side, CLUES[side], 10, rng())
    path = tmp_path / "s.csv"
    path.write_text(lines(puzzles, blank))
    result = read_sudokus(path, side=side)
    np.testing.assert_array_equal(result.inputs, puzzles.inputs)
    np.testing.assert_array_equal(result.labels, puzzles.labels)
    assert result.vocabulary == side + 2
    assert len(read_sudokus(path, limit=3, side=side)) == 3


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("2" + 80 * ".", "", "line 2, column answer, character 1: expected the digit that the question gives, got '1'"),
        (81 * ".", 81 * "1", "line 2, column answer: expected every digit once in each row, column and box, got '111"),
        (80 * "." + "x", "", "line 2, column question, character 81: expected one of '.0123456789', got 'x'"),
        (81 * ".", 80 * "1" + "0", "line 2, column answer, character 81: expected one of '123456789', got '0'"),
        (16 * ".", "", "line 2, column question: expected 81 characters, got 16"),
    ],
)
def test_answers_are_held_to_their_questions(tmp_path: Path, question: str, answer: str, message: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(f"source,question,answer,rating\ns,{question},{answer or text(pattern(9))},0\n")
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        read_sudokus(path)
