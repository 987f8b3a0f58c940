"""How a task stands: solved, near, wrong; unanimous, split. The thresholds to the cell and to the vote."""

from typing import Any

import pytest

from solver.answers.votes import AGREED_VOTES
from solver.report.standing import NEAR_MISS_SHARE, Miss, standing_of, verdict

Grid = list[list[int]]


def entry(truth: Grid | None, *attempts: Grid, votes: tuple[int, ...] = (5, 3)) -> dict[str, Any]:
    candidates = [{"grid": [[1]], "votes": count, "halting": 0.5} for count in votes]
    both = [*attempts, [[9] * 9]][:2]
    return {"input": [[1]], "truth": truth, "attempts": both, "votes": sum(votes), "candidates": candidates}


def standing(*tests: dict[str, Any]) -> Any:
    return standing_of({"id": "a", "train": [], "test": list(tests)})


def row(wrong: int, cells: int) -> Grid:
    return [[1] * wrong + [0] * (cells - wrong)]


@pytest.mark.parametrize(
    ("wrong", "cells", "near"),
    [(0, 9, False), (1, 3, False), (1, 4, True), (1, 9, True), (2, 19, False), (2, 20, True), (3, 30, True)],
)
def test_a_near_miss(wrong: int, cells: int, near: bool) -> None:
    assert NEAR_MISS_SHARE == 0.1
    assert Miss(wrong, cells).near == near
    assert not Miss(None, cells).near
    status = "solved" if not wrong else "near miss" if near else "wrong"
    found = standing(entry(row(0, cells), row(wrong, cells)))
    assert (found.status, found.wrong, found.cells) == (status, wrong, cells)


def test_the_better_attempt_counts() -> None:
    truth = row(0, 20)
    assert standing(entry(truth, row(9, 20), row(2, 20))).wrong == 2
    assert standing(entry(truth, [[1]], row(2, 20))).wrong == 2
    assert standing(entry(truth, [[1]], [[2]])).wrong is None


def test_outputs_of_a_task_add_up() -> None:
    truth = row(0, 20)
    solved, near, wrong, size = (entry(truth, attempt) for attempt in (truth, row(2, 20), row(9, 20), [[1]]))
    for tests, status, of in (
        ((solved, solved), "solved", (2, 2, 0, 40)),
        ((solved, near), "near miss", (1, 2, 2, 40)),
        ((near, near), "near miss", (0, 2, 4, 40)),
        ((solved, wrong), "partly solved", (1, 2, 9, 40)),
        ((near, wrong), "wrong", (0, 2, 11, 40)),
        ((solved, size), "partly solved", (1, 2, None, 40)),
        ((solved, entry(None, truth)), "solved", (1, 1, 0, 20)),
        ((entry(None, truth),), "no truth", (0, 0, None, 0)),
    ):
        found = standing(*tests)
        assert (found.status, (found.solved, found.outputs, found.wrong, found.cells)) == (status, of)


@pytest.mark.parametrize(
    ("votes", "unanimous", "split", "share"),
    [
        ([(9, 1)], True, False, 0.9),
        ([(89, 11)], False, False, 0.89),
        ([(AGREED_VOTES - 1,)], False, False, 1.0),
        ([(AGREED_VOTES,)], True, False, 1.0),
        ([(5, 5)], False, False, 0.5),
        ([(49, 30, 21)], False, True, 0.49),
        ([(10,), (4, 3, 3)], False, True, 0.4),
        ([(10,), (10,)], True, False, 1.0),
        ([(10,), ()], False, False, 1.0),
        ([()], False, False, None),
        ([], False, False, None),
    ],
)
def test_agreement(votes: list[tuple[int, ...]], unanimous: bool, split: bool, share: float | None) -> None:
    found = standing(*(entry(None, [[1]], votes=of_test) for of_test in votes))
    assert (found.unanimous, found.split, found.top_share) == (unanimous, split, share)
    assert found.votes == sum(map(sum, votes))


def test_verdicts() -> None:
    assert verdict([[1]], None) == ("unknown", "no truth")
    assert verdict([[1, 2]], [[1, 2]]) == ("right", "right")
    assert verdict([[1, 2]], [[1, 3]]) == ("wrong", "wrong: 1 of 2 cells")
    assert verdict([[1, 2]], [[1], [2]]) == ("wrong", "wrong: 1×2, not 2×1")
