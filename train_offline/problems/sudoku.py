"""Sudoku of side 4, 6 and 9: the published file, puzzles of our own, the paper's augmentations, a clean split.

Tokens: 0 padding, 1 blank, 2 the digit 1, 3 the digit 2, and so on; 11 tokens at side 9, as published.
Letters: K puzzles, S the side, C = S * S cells.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import permutations, product
from pathlib import Path

import numpy as np

from kernels.jit import jit
from solver.common.checks import InputError, at_least
from train_offline.problems.puzzles import (
    Augment,
    Notation,
    Puzzles,
    Rule,
    draw_distinct,
    read_csv,
    row_keys,
    split_families,
)

BLANK = 1
FIRST_DIGIT = 2
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # side -> (rows, columns) of a box


def box_of(side: int) -> tuple[int, int]:
    """(rows, columns) of a box. Raises InputError for a side that is not 4, 6 or 9."""
    if side not in BOXES:
        raise InputError(f"sudoku side: expected one of {', '.join(map(str, BOXES))}, got {side}")
    return BOXES[side]


def read_sudokus(
    path: str | Path, limit: int | None = None, minimum_rating: float | None = None, side: int = 9
) -> Puzzles:
    """The puzzles of a CSV file as Sudoku-Extreme is published: digits, and '.' or '0' for a blank.

    See puzzles.read_csv; every answer must be a solution of its question. That it is the only one is not checked.
    """
    box_of(side)
    digits = {str(digit): digit + FIRST_DIGIT - 1 for digit in range(1, side + 1)}
    rules = (
        Rule("answer", "the digit that the question gives", lambda q, a: (q == BLANK) | (q == a)),
        Rule("answer", "every digit once in each row, column and box", lambda q, a: is_solution(a, side)),
    )
    notation = Notation({".": BLANK, "0": BLANK, **digits}, digits, side + FIRST_DIGIT, side, rules)
    return read_csv(path, notation, limit, minimum_rating)


def is_solution(grids: np.ndarray, side: int) -> np.ndarray:
    """(K,) bool: whether grids (K, S, S) have every digit once in each row, column and box. Any integers will do."""
    bits = np.zeros(side + FIRST_DIGIT, dtype=np.uint16)
    bits[FIRST_DIGIT:] = 1 << np.arange(side)
    digits = np.where((grids >= FIRST_DIGIT) & (grids < side + FIRST_DIGIT), grids, BLANK).astype(np.uint8)
    cells = bits[_checked(digits, side)].reshape(-1, side * side)  # what is no digit has no bit: so one is missing
    members = np.argsort(_tables(side)[0], axis=0, kind="stable").T.reshape(3 * side, side)  # the cells of each unit
    return (np.bitwise_or.reduce(cells[:, members], axis=2) == (1 << side) - 1).all(axis=1)


def count_solutions(grids: np.ndarray, limit: int = 2) -> np.ndarray:
    """(K,) int64: how many solutions puzzles (K, S, S) of tokens have, counted up to `limit`.

    0 where givens contradict each other. By search, the cell with the fewest possible digits first.
    """
    at_least("limit", limit, 1)
    side = grids.shape[-1]
    cells = _cells(grids, side)
    found = np.empty(len(cells), dtype=np.int64)
    _count_all(cells, *_tables(side), limit, found)
    return found


def generate_sudokus(
    side: int, clues: int | tuple[int, int], count: int, generator: np.random.Generator, exclude: Puzzles | None = None
) -> Puzzles:
    """`count` puzzles with one solution each, no question twice, in random order.

    `clues` givens, or each puzzle a number drawn evenly from (lowest, highest). A random solved grid loses cells in
    random order, those without which the solution would not be the only one excepted; the grids are not drawn evenly
    from all there are. None is akin to a puzzle of `exclude`, in the sense of `families`.

    Raises InputError where 2000 attempts in a row yield none: too few clues, or no puzzle left that differs.
    """
    box_of(side)
    low, high = clues if isinstance(clues, tuple) else (clues, clues)
    if not 0 <= low <= high <= side * side:
        raise InputError(f"sudoku clues: expected 0 to {side * side}, the lower number first, got {clues}")
    wanted = generator.integers(low, high + 1, max(count, 0))
    excluded = np.empty(0, dtype=bytes) if exclude is None else np.unique(families(exclude, side))
    attempt = partial(_attempt, side, wanted, excluded, generator)
    name = f"{side}x{side} sudokus"
    inputs, labels = draw_distinct(count, side, attempt, lambda slots: f"{name} with {wanted[slots].min()} clues")
    return Puzzles(inputs, labels, side + FIRST_DIGIT)


def _attempt(
    side: int, wanted: np.ndarray, excluded: np.ndarray, generator: np.random.Generator, slots: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See puzzles.Attempt; `wanted` (slots,) givens. One that kept more givens is not usable."""
    shape = (len(slots), side * side)
    preference = generator.permuted(np.tile(np.arange(side), (*shape, 1)), axis=2)  # (n, C, S) digits, best first
    order = generator.permuted(np.tile(np.arange(side * side), (len(slots), 1)), axis=1)
    questions, answers = np.full((2, *shape), BLANK, dtype=np.uint8)
    usable = np.zeros(len(slots), dtype=bool)
    _dig_all(preference, order, wanted[slots], *_tables(side), questions, answers, usable)
    questions, answers = questions.reshape(-1, side, side), answers.reshape(-1, side, side)
    if len(excluded):
        usable &= ~np.isin(families(Puzzles(questions, answers, side + FIRST_DIGIT), side), excluded)
    return questions, answers, usable


def augment_sudoku(side: int) -> Augment:
    """The paper's augmentations, a random one for each sample, the same for its input and its label.

    New digits; bands of boxes, rows within a band, stacks of boxes and columns within a stack in a new order; and, in
    half of the samples, rows and columns exchanged, unless boxes are not square (side 6).
    """
    rows, columns = box_of(side)

    def augment(
        inputs: np.ndarray, labels: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        count = len(inputs)
        row = _line_orders(count, side, rows, generator)[:, :, None]
        column = _line_orders(count, side, columns, generator)[:, None, :]
        transposes = generator.integers(0, 2, (count, 1, 1), dtype=np.uint8) if rows == columns else np.zeros(1)
        token_of = np.tile(np.arange(side + FIRST_DIGIT, dtype=np.uint8), (count, 1))
        generator.permuted(token_of[:, FIRST_DIGIT:], axis=1, out=token_of[:, FIRST_DIGIT:])
        sample = np.arange(count)[:, None, None]

        def transformed(grids: np.ndarray) -> np.ndarray:
            moved = token_of[sample, _checked(grids, side)[sample, row, column]]
            return np.where(transposes, moved.swapaxes(1, 2), moved)

        return transformed(inputs), transformed(labels)

    return augment


def _line_orders(count: int, side: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """(count, side): random orders of rows (or columns) that keep together those of a band of `size`."""
    bands = generator.permuted(np.tile(np.arange(side // size), (count, 1)), axis=1)
    within = generator.permuted(np.tile(np.arange(size), (count, side // size, 1)), axis=2)
    return (bands[:, :, None] * size + within).reshape(count, side)


def canonical(puzzles: Puzzles, side: int) -> np.ndarray:
    """(K,) byte strings, equal exactly for questions that `augment_sudoku` can turn into one another; sides 4 and 6.

    The least, read as tokens row by row, of all rearrangements of the question (128 or 3456), digits renamed in the
    order of their first appearance. Raises InputError for side 9, which has 3,359,232 rearrangements.
    """
    if side == 9:
        raise InputError("canonical sudokus: expected side 4 or 6, got 9, of too many rearrangements")
    cells = _cells(puzzles.inputs, side)
    least = np.full_like(cells, 255)
    _canonical_all(cells, _rearrangements(side), least)
    return row_keys(least)


def families(puzzles: Puzzles, side: int) -> np.ndarray:
    """(K,) byte strings, equal for puzzles so closely akin that to have seen one is to know the other.

    Sides 4 and 6: questions that are equivalent (`canonical`). Side 9: solutions that are equal but for the names of
    the digits, and with them all equal questions, as long as each has one answer.
    """
    if side != 9:
        return canonical(puzzles, side)
    if not is_solution(puzzles.labels, side).all():
        raise InputError("sudokus: expected labels that are solutions, got others")
    digits = puzzles.labels.reshape(-1, side * side).astype(np.int64) - FIRST_DIGIT
    new = np.argsort(digits[:, :side], axis=1)  # the inverse of the first row: there, digits stand in order
    return row_keys((np.take_along_axis(new, digits, axis=1) + FIRST_DIGIT).astype(np.uint8))


def split(puzzles: Puzzles, test_count: int, generator: np.random.Generator) -> tuple[Puzzles, Puzzles]:
    """(train, test): `test_count` puzzles for the test, and those of which none is akin to them (`families`).

    See puzzles.split_families.
    """
    return split_families(puzzles, families(puzzles, puzzles.inputs.shape[-1]), test_count, generator)


def _cells(grids: np.ndarray, side: int) -> np.ndarray:
    """(K, C) tokens of puzzles (K, S, S). Raises InputError where there are others than a puzzle's."""
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
    """(C, 3): the row, column and box of each cell; rows are numbered 0 to S - 1, columns and boxes thereafter.

    And (C, S): for each depth of a search all digits in order, where it does not matter which is tried first.
    """
    rows, columns = box_of(side)
    row, column = np.divmod(np.arange(side * side), side)
    box = row // rows * rows + column // columns  # a band holds side / columns = rows boxes
    return np.stack([row, side + column, 2 * side + box], axis=1), np.tile(np.arange(side), (side * side, 1))


@lru_cache
def _rearrangements(side: int) -> np.ndarray:
    """(T, C): which cell comes to each place under every rearrangement; T = 128 at side 4, 3456 at side 6."""
    rows, columns = box_of(side)
    row = np.array(list(_band_orders(side, rows)))[:, None, :, None]
    column = np.array(list(_band_orders(side, columns)))[None, :, None, :]
    upright = (row * side + column).reshape(-1, side, side)
    both = np.concatenate([upright, upright.swapaxes(1, 2)]) if rows == columns else upright
    return both.reshape(-1, side * side)


def _band_orders(side: int, size: int) -> Iterator[list[int]]:
    """All orders that _line_orders draws from."""
    for bands in permutations(range(side // size)):
        for within in product(permutations(range(size)), repeat=side // size):
            yield [band * size + line for band, lines in zip(bands, within, strict=True) for line in lines]


@jit()
def _possible(cell, units, used):  # type: ignore[no-untyped-def]
    """The digits, as bits, that no unit of the cell has yet; all bits from S on are set, the same for every cell."""
    return ~(used[units[cell, 0]] | used[units[cell, 1]] | used[units[cell, 2]])


@jit()
def _toggle(cell, bit, units, used):  # type: ignore[no-untyped-def]
    for k in range(3):
        used[units[cell, k]] ^= bit


@jit()
def _choose(depth, empty, units, used, side):  # type: ignore[no-untyped-def]
    """Move the cell of empty[depth:] that has the fewest possible digits to empty[depth]; returns these, as bits."""
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


@jit()  # no recursion: a function that calls itself crashes when numba loads it from its cache
def _search(empty, units, used, preference, limit, cells):  # type: ignore[no-untyped-def]
    """How many ways, up to `limit`, there are to fill the cells `empty`; at `limit` the last one is left in cells.

    `preference` (C, S): the digits in the order to try at each depth.
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
    """How many solutions, up to `limit`; at `limit` the last one is left in cells."""
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
def _count_all(puzzles, units, in_order, limit, found):  # type: ignore[no-untyped-def]
    for k in range(len(puzzles)):
        found[k] = _count(puzzles[k].copy(), units, in_order, limit)


@jit()
def _dig_all(preference, order, wanted, units, in_order, questions, answers, usable):  # type: ignore[no-untyped-def]
    """Fill answers (n, C) at random, dig questions (n, C) out of them, say whether they got down to `wanted` givens."""
    for k in range(len(questions)):
        givens = len(units)
        _count(answers[k], units, preference[k], 1)
        for cell in range(len(units)):  # by hand, here and below: numba takes seconds to compile an assigned slice
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
