"""Sets of puzzles, and drawing distinct ones."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.common.checks import InputError
from train_offline.problems.puzzles import Puzzles, draw_distinct, row_keys


def some(count: int) -> Puzzles:
    inputs = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    return Puzzles(inputs, inputs + np.uint8(1), 256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((2, 3, 3), np.uint8)}, "labels: expected shape (2, 2, 3), got (2, 3, 3)"),
        ({"labels": np.zeros((2, 2, 3), int)}, "labels: expected uint8 tokens of shape (K, H, W), got int64 of shape"),
        ({"inputs": np.zeros((2, 6), np.uint8)}, "inputs: expected uint8 tokens of shape (K, H, W), got uint8 of"),
        ({"vocabulary": 11}, "inputs: expected tokens below 11, got 11"),
        ({"vocabulary": 12}, "labels: expected tokens below 12, got 12"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    two = some(2)
    with pytest.raises(InputError, match=re.escape(f"puzzles: {message}")):
        Puzzles(**{"inputs": two.inputs, "labels": two.labels, "vocabulary": 256, **change})


def test_some_of_the_puzzles() -> None:
    five = some(5)
    assert len(five) == 5
    for index in (np.array([3, 0]), np.array([False, True, True, False, False]), slice(1, 3), slice(0, 0)):
        part = five.at(index)
        np.testing.assert_array_equal(part.inputs, five.inputs[index])
        np.testing.assert_array_equal(part.labels, five.labels[index])
        assert part.vocabulary == 256


@settings(max_examples=50)
@given(rows=st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), max_size=12))
def test_keys_are_equal_where_grids_are(rows: list[list[int]]) -> None:
    keys = row_keys(np.array(rows, dtype=np.uint8).reshape(-1, 2, 2))
    assert keys.shape == (len(rows),)
    equal = [[bool(a == b) for b in keys] for a in keys]
    assert equal == [[a == b for b in rows] for a in rows]


def test_failures_and_repetitions_are_drawn_again() -> None:
    drawn = iter([7, 7, 5, 6, 5, 8, 9])
    asked: list[list[int]] = []

    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(slots.tolist())
        inputs = np.array([next(drawn) for _ in slots], dtype=np.uint8).reshape(-1, 1, 1)
        return inputs, inputs + np.uint8(1), inputs[:, 0, 0] != 8

    inputs, labels = draw_distinct(4, 1, attempt, str)
    assert inputs.ravel().tolist() == [7, 9, 5, 6]  # slot 1 drew 7, 5, 8 (not usable) and then 9
    assert labels.ravel().tolist() == [8, 10, 6, 7]
    assert asked == [[0, 1, 2, 3], [1], [1], [1]]


def test_drawing_ends_when_nothing_new_comes() -> None:
    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = (slots % 3).astype(np.uint8).reshape(-1, 1, 1)
        return inputs, inputs, np.ones(len(slots), dtype=bool)

    with pytest.raises(InputError, match=r"slots \[3 4\]: expected 2 more, unlike the 3 found, got none in 2000 att"):
        draw_distinct(5, 1, attempt, lambda slots: f"slots {slots}")
    with pytest.raises(InputError, match="count: expected 1 or more, got 0"):
        draw_distinct(0, 1, attempt, str)
