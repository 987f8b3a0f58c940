"""Sudoku of side 4, 6 and 9: generated puzzles, the paper's augmentations, a split without related puzzles.

Tokens: 0 padding, 1 blank, 2 the digit 1, 3 the digit 2, and so on; 11 tokens at side 9, as published.
Letters: K puzzles, S the side, C = S * S cells. `train_offline.problems.puzzle_csv` reads the published file.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from kernels.jit import jit
from solver.common.checks import InputError
from train_offline.problems.puzzles import Augment, Puzzles, draw_distinct, row_keys

BLANK = 1
FIRST_DIGIT = 2
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # side -> (rows, columns) of a box


def box_of(side: int) -> tuple[int, int]:
    """(rows, columns) of a box. Raises InputError for a side that is not 4, 6 or 9."""
    if side not in BOXES:
        raise InputError(f"sudoku side: expected one of {', '.join(map(str, BOXES))}, got {side}")
    return BOXES[side]


def is_solution(grids: np.ndarray, side: int) -> np.ndarray:
    """(K,) bool: whether grids (K, S, S) of any integers have every digit once in each row, column and box."""
    members = np.argsort(_tables(side)[0], axis=0, kind="stable").T.reshape(3 * side, side)  # the cells of each unit
    units = np.sort(grids.reshape(-1, side * side)[:, members], axis=2)  # (K, 3S, S)
    return (units == np.arange(FIRST_DIGIT, FIRST_DIGIT + side)).all(axis=(1, 2))


def generate_sudokus(side: int, clues: int | tuple[int, int], count: int, generator: np.random.Generator) -> Puzzles:
    """`count` distinct puzzles with exactly one solution each. Raises InputError as `draw_distinct`.

    `clues` is the number of givens, or a range (lowest, highest) from which each puzzle draws its number uniformly.
    Cells of a random solved grid, not drawn uniformly, are cleared in random order, except those whose loss would allow
    a second solution.
    """
    box_of(side)
    low, high = clues if isinstance(clues, tuple) else (clues, clues)
    if not 0 <= low <= high <= side * side:
        raise InputError(f"sudoku clues: expected 0 to {side * side}, the lower number first, got {clues}")
    wanted = generator.integers(low, high + 1, max(count, 0))
    units, in_order = _tables(side)

    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # see puzzles.Attempt
        shape = (len(slots), side * side)
        preference = generator.permuted(np.tile(np.arange(side), (*shape, 1)), axis=2)  # (n, C, S) digits, best first
        order = generator.permuted(np.tile(np.arange(side * side), (len(slots), 1)), axis=1)
        questions, answers = np.full((2, *shape), BLANK, dtype=np.uint8)
        usable = np.zeros(len(slots), dtype=bool)  # not usable: a puzzle that keeps more givens than wanted
        _dig_all(preference, order, wanted[slots], units, in_order, questions, answers, usable)
        return questions.reshape(-1, side, side), answers.reshape(-1, side, side), usable

    name = f"{side}x{side} sudokus"
    inputs, labels = draw_distinct(count, side, attempt, lambda slots: f"{name} with {wanted[slots].min()} clues")
    return Puzzles(inputs, labels, side + FIRST_DIGIT)


def augment_sudoku(side: int) -> Augment:
    """The paper's augmentations: a random one per sample, the same for its input and its label.

    Digits are renamed; bands of boxes, rows within a band, stacks of boxes and columns within a stack are permuted;
    half of the samples are transposed if boxes are square (not at side 6).
    """
    rows, columns = box_of(side)

    def augment(inputs: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
        count = len(inputs)
        row = _line_orders(count, side, rows, generator)[:, :, None]
        column = _line_orders(count, side, columns, generator)[:, None, :]
        transposes = generator.integers(0, 2, (count, 1, 1), dtype=np.uint8) if rows == columns else np.zeros(1)
        token_of = np.tile(np.arange(side + FIRST_DIGIT, dtype=np.uint8), (count, 1))
        generator.permuted(token_of[:, FIRST_DIGIT:], axis=1, out=token_of[:, FIRST_DIGIT:])
        sample = np.arange(count)[:, None, None]

        moved = [token_of[sample, _checked(grids, side)[sample, row, column]] for grids in (inputs, labels)]
        return [np.where(transposes, grids.swapaxes(1, 2), grids) for grids in moved]

    return augment


def _line_orders(count: int, side: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """(count, side): random orders of rows (or columns) that keep every band of `size` together."""
    bands = generator.permuted(np.tile(np.arange(side // size), (count, 1)), axis=1)
    within = generator.permuted(np.tile(np.arange(size), (count, side // size, 1)), axis=2)
    return (bands[:, :, None] * size + within).reshape(count, side)


def families(puzzles: Puzzles, side: int) -> np.ndarray:
    """(K,) byte strings, equal for related puzzles: having seen one gives away the other.

    Sides 4 and 6: equal exactly for questions that `augment_sudoku` maps to one another. It is the lexicographically
    smallest of all rearrangements of the question (128 or 3456), with digits renamed in order of first appearance.
    Side 9, which has 3,359,232 rearrangements: solutions that are equal up to renamed digits. That includes equal
    questions, as each has one answer.
    """
    if side == 9:
        if not is_solution(puzzles.labels, side).all():
            raise InputError("sudokus: expected labels that are solutions, got others")
        digits = puzzles.labels.reshape(-1, side * side).astype(np.int64) - FIRST_DIGIT
        new = np.argsort(digits[:, :side], axis=1)  # the inverse of the first row: there, digits stand in order
        return row_keys((np.take_along_axis(new, digits, axis=1) + FIRST_DIGIT).astype(np.uint8))
    cells = _cells(puzzles.inputs, side)
    least = np.full_like(cells, 255)
    _canonical_all(cells, _rearrangements(side), least)
    return row_keys(least)


def _cells(grids: np.ndarray, side: int) -> np.ndarray:
    """(K, C) tokens of puzzles (K, S, S). Raises InputError for tokens that no puzzle has."""
    cells = _checked(grids, side).reshape(-1, side * side)
    last = side + FIRST_DIGIT - 1
    if cells.size and not BLANK <= cells.min() <= cells.max() <= last:
        raise InputError(f"sudokus: expected tokens {BLANK} to {last}, got {cells.min()} to {cells.max()}")
    return cells


def _checked(grids: np.ndarray, side: int) -> np.ndarray:
    box_of(side)
    if grids.ndim != 3 or grids.shape[1:] != (side, side) or grids.dtype != np.uint8:
        got = f"{grids.dtype} of shape {grids.shape}"
        raise InputError(f"sudokus: expected uint8 tokens of shape (K, {side}, {side}), got {got}")
    return grids


@lru_cache
def _tables(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, 3) the units of each cell, rows from 0, columns from S, boxes from 2S; (C, S) ascending digits, per depth."""
    rows, columns = box_of(side)
    row, column = np.divmod(np.arange(side * side), side)
    box = row // rows * rows + column // columns  # a band holds side / columns = rows boxes
    return np.stack([row, side + column, 2 * side + box], axis=1), np.tile(np.arange(side), (side * side, 1))


@lru_cache
def _rearrangements(side: int) -> np.ndarray:
    """(T, C): the source cell of each place under every rearrangement; T = 128 at side 4, 3456 at side 6."""
    rows, columns = box_of(side)
    row = np.array(list(_band_orders(side, rows)))[:, None, :, None]
    column = np.array(list(_band_orders(side, columns)))[None, :, None, :]
    upright = (row * side + column).reshape(-1, side, side)
    both = np.concatenate([upright, upright.swapaxes(1, 2)]) if rows == columns else upright
    return both.reshape(-1, side * side)


def _band_orders(side: int, size: int) -> Iterator[list[int]]:
    """All orders that `_line_orders` can draw."""
    for bands in permutations(range(side // size)):
        for within in product(permutations(range(size)), repeat=side // size):
            yield [band * size + line for band, lines in zip(bands, within, strict=True) for line in lines]


@jit()
def _possible(cell, units, used):  # type: ignore[no-untyped-def]
    """The digits, as bits, that no unit of the cell has yet. All bits from S on are set."""
    return ~(used[units[cell, 0]] | used[units[cell, 1]] | used[units[cell, 2]])


@jit()
def _toggle(cell, bit, units, used):  # type: ignore[no-untyped-def]
    for k in range(3):
        used[units[cell, k]] ^= bit


@jit()
def _choose(depth, empty, units, used, side):  # type: ignore[no-untyped-def]
    """Move the cell of empty[depth:] with the fewest possible digits to empty[depth]; returns these digits, as bits."""
    best, fewest, bits = depth, side + 1, 0
    for k in range(depth, len(empty)):
        free = _possible(empty[k], units, used) & ((1 << side) - 1)
        size, rest = 0, free
        while rest and size < fewest:
            rest &= rest - 1
            size += 1
        if size < fewest:
            best, fewest, bits = k, size, free
            if size <= 1:
                break
    empty[best], empty[depth] = empty[depth], empty[best]
    return bits


@jit()  # iterative: a recursive function crashes when numba loads it from its cache
def _search(empty, units, used, preference, limit, cells):  # type: ignore[no-untyped-def]
    """Number of ways, up to `limit`, to fill the cells `empty`; when `limit` is reached the last one is left in cells.

    `preference` (C, S): the digits in the order in which each depth tries them.
    """
    side, left = preference.shape[1], np.empty(len(empty), dtype=np.int64)  # left: the digits to try at each depth
    if len(empty) == 0:
        return 1
    depth, found = 0, 0
    left[0] = _choose(0, empty, units, used, side)
    while depth >= 0 and found < limit:
        if left[depth] == 0:
            depth -= 1
            if depth >= 0:
                _toggle(empty[depth], 1 << (cells[empty[depth]] - FIRST_DIGIT), units, used)
            continue
        k = 0
        while not left[depth] >> preference[depth, k] & 1:
            k += 1
        bit = 1 << preference[depth, k]
        left[depth] ^= bit
        cells[empty[depth]] = preference[depth, k] + FIRST_DIGIT
        if depth + 1 == len(empty):
            found += 1
            continue
        _toggle(empty[depth], bit, units, used)
        depth += 1
        left[depth] = _choose(depth, empty, units, used, side)
    return found


@jit()
def _count(cells, units, preference, limit):  # type: ignore[no-untyped-def]
    """Number of solutions, up to `limit`; when `limit` is reached the last one is left in cells."""
    used = np.zeros(3 * preference.shape[1], dtype=np.int64)
    empty, blanks = np.empty(len(cells), dtype=np.int64), 0
    for cell in range(len(cells)):
        if cells[cell] < FIRST_DIGIT:
            empty[blanks], blanks = cell, blanks + 1
            continue
        bit = 1 << (cells[cell] - FIRST_DIGIT)
        if not _possible(cell, units, used) & bit:
            return 0
        _toggle(cell, bit, units, used)
    return _search(empty[:blanks], units, used, preference, limit, cells)


@jit()
def _dig_all(preference, order, wanted, units, in_order, questions, answers, usable):  # type: ignore[no-untyped-def]
    """Fill answers (n, C) at random, clear cells to get questions (n, C); usable if `wanted` givens are left."""
    for k in range(len(questions)):
        givens = len(units)
        _count(answers[k], units, preference[k], 1)
        for cell in range(len(units)):  # a loop, since numba takes seconds to compile a slice assignment
            questions[k, cell] = answers[k, cell]
        for cell in order[k]:
            if givens == wanted[k]:
                break
            questions[k, cell] = BLANK
            if _count(questions[k].copy(), units, in_order, 2) == 1:
                givens -= 1
            else:
                questions[k, cell] = answers[k, cell]
        usable[k] = givens == wanted[k]


@jit()
def _canonical_all(puzzles, rearrangements, least):  # type: ignore[no-untyped-def]
    name = np.empty(FIRST_DIGIT + 6, dtype=np.uint8)  # of each token, 0: none yet; up to side 6
    for k in range(len(puzzles)):
        for rearrangement in rearrangements:
            for token in range(len(name)):
                name[token] = 0
            name[BLANK], names, less = BLANK, FIRST_DIGIT, False
            for place in range(len(rearrangement)):
                token = puzzles[k, rearrangement[place]]
                if name[token] == 0:
                    name[token], names = names, names + 1
                if not less and name[token] > least[k, place]:
                    break
                less = less or name[token] < least[k, place]
                least[k, place] = name[token]  # the same as it was, until less
