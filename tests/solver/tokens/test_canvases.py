"""Canvases: the smallest bucket that holds what it must."""

import numpy as np
import pytest

from solver.settings.config import CanvasConfig
from solver.tasks.task import Pair, Task
from solver.tokens.canvases import fit_canvas, known_output, output_sizes, predict_canvas

TIGHT = CanvasConfig("tight", sides=(4, 8, 12, 30))


def task(*sizes: tuple[tuple[int, int], tuple[int, int]], test: tuple[int, int]) -> Task:
    pairs = tuple(Pair(np.zeros(a, np.uint8), np.zeros(b, np.uint8)) for a, b in sizes)
    return Task("t", pairs, (Pair(np.zeros(test, np.uint8), None),))


@pytest.mark.parametrize(
    ("sizes", "test", "expected"),
    [
        ([((3, 4), (3, 4)), ((5, 2), (5, 2))], (7, 6), {(7, 6)}),  # the same size
        ([((3, 4), (2, 2)), ((5, 2), (2, 2))], (7, 6), {(2, 2)}),  # constant
        ([((3, 4), (6, 12)), ((5, 2), (10, 6))], (7, 6), {(14, 18)}),  # a fixed ratio
        ([((6, 4), (3, 2)), ((4, 8), (2, 4))], (7, 6), {(4, 3)}),  # a ratio below 1 rounds up
        ([((3, 4), (4, 3)), ((5, 2), (2, 5))], (7, 6), {(6, 7)}),  # transposed
        ([((3, 4), (8, 9)), ((5, 2), (4, 15))], (7, 6), {(12, 21)}),  # a ratio to the transposed input
        ([((3, 3), (3, 3)), ((3, 3), (3, 3))], (5, 6), {(5, 6), (3, 3), (6, 5)}),  # several rules hold
        ([((3, 4), (4, 4)), ((5, 2), (9, 1))], (7, 6), set()),  # none holds
        ([((2, 3), (6, 9)), ((3, 2), (9, 6))], (12, 2), {(30, 6)}),  # never beyond the full canvas
    ],
)
def test_sizes_of_outputs_follow_the_rules_that_hold(sizes: list, test: tuple[int, int], expected: set) -> None:
    assert set(output_sizes(task(*sizes, test=test).train, test)) == expected


def test_fitting_takes_the_smallest_rectangle_that_holds_both_grids() -> None:
    pair = Pair(np.zeros((4, 9), np.uint8), np.zeros((2, 12), np.uint8))
    assert fit_canvas(pair, [pair], CanvasConfig("tight", TIGHT.sides, fit_margin=0)) == (4, 12)
    assert fit_canvas(pair, [pair], TIGHT) == (8, 30)  # with room for the end-of-grid row and column
    assert fit_canvas(pair, [pair], CanvasConfig("full")) == (30, 30)


def test_prediction_leaves_room_for_the_end_of_grid_row() -> None:
    same = task(((3, 3), (3, 3)), ((7, 2), (7, 2)), test=(3, 8))
    assert predict_canvas(same, 0, TIGHT) == (4, 12)
    assert predict_canvas(same, 0, CanvasConfig("full")) == (30, 30)
    several = task(((3, 3), (3, 3)), ((3, 3), (3, 3)), test=(5, 6))
    assert predict_canvas(several, 0, TIGHT) == (8, 8)  # room for each
    unknown = task(((3, 4), (4, 4)), ((5, 2), (9, 1)), test=(2, 2))
    assert predict_canvas(unknown, 0, TIGHT) == (12, 8)  # for the largest output of a demonstration


EXACT = CanvasConfig("exact")


@pytest.mark.parametrize(
    ("sizes", "fitted", "predicted"),
    [
        ([((3, 4), (3, 4)), ((5, 2), (5, 2))], (5, 4), (7, 6)),  # the size of the input: no cell is left over
        ([((3, 4), (2, 2)), ((5, 2), (2, 2))], (5, 4), (7, 6)),  # constant, and smaller
        ([((1, 1), (3, 9)), ((1, 2), (3, 9))], (3, 9), (7, 9)),  # constant, and larger
        ([((3, 4), (4, 4)), ((5, 2), (9, 1))], (10, 5), (10, 7)),  # no rule: the largest output, and an end of grid
        ([((5, 4), (9, 9))], (10, 10), (10, 10)),  # any rule holds for one pair
    ],
)
def test_an_exact_canvas_tells_as_much_in_fitting_as_in_prediction(
    sizes: list, fitted: tuple[int, int], predicted: tuple[int, int]
) -> None:
    found = task(*sizes, test=(7, 6))
    canvases = [fit_canvas(pair, found.train, EXACT) for pair in found.train]
    assert (max(h for h, _ in canvases), max(w for _, w in canvases)) == fitted
    assert predict_canvas(found, 0, EXACT) == predicted
    known = known_output(found, 0, EXACT)
    assert known == (output_sizes(found.train, (7, 6))[0] if max(fitted) < 10 else (0, 0))
    assert known_output(found, 0, TIGHT) == (0, 0)
