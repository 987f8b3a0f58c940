"""Figures of the laboratory against the loops that they replace and against numbers by hand."""

from itertools import combinations

import numpy as np
import pytest

from solver.answers.votes import Candidate, ranked
from train_offline.analysis.vote_statistics import (
    MISSING,
    TOPS,
    calibration,
    estimate,
    last_steps,
    mean_of_tests,
    numbered,
    separation,
    stable_steps,
    subset_hits,
    truth_places,
    vote_hits,
)

KEYS = np.array([70, 50, 0, 70, 60, 50, 90])  # 0: an empty grid


def place_by_loop(keys: np.ndarray, halting: np.ndarray, truth: int) -> int:
    """What the road does: count one vote after the other, then rank."""
    candidates: dict[int, Candidate] = {}
    for key, surety in zip(keys.tolist(), halting.tolist(), strict=True):
        if key == 0:
            continue
        if key in candidates:
            candidates[key].add(1, surety, 1)
        else:
            candidates[key] = Candidate(np.array([[key]]), 1, surety, 1)
    order = [int(c.grid[0, 0]) for c in ranked(candidates.values())]
    return order.index(truth) if truth in order else MISSING


@pytest.mark.parametrize("truth", [70, 50, 60, 90, 80, 0])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_places_of_the_truth_in_every_subset(truth: int, size: int) -> None:
    halting = np.random.default_rng(1).random(len(KEYS))
    subsets = np.array(list(combinations(range(len(KEYS)), size)))
    ids, number = numbered(KEYS, truth)
    expected = [place_by_loop(KEYS[subset], halting[subset], truth) for subset in subsets]
    assert truth_places(ids[subsets], halting[subsets], number).tolist() == expected


@pytest.mark.parametrize("truth", [70, 60])
def test_random_subsets_come_near_the_mean_of_all(truth: int) -> None:
    halting = np.random.default_rng(2).random(len(KEYS))
    sizes = (1, 2, 4, 7, 9)
    hits = subset_hits(KEYS, halting, truth, sizes, 4000, np.random.default_rng(3))
    for row, size in zip(hits, sizes, strict=True):
        subsets = combinations(range(len(KEYS)), min(size, len(KEYS)))
        places = np.array([place_by_loop(KEYS[list(s)], halting[list(s)], truth) for s in subsets])
        exact = [(places < top).mean() for top in TOPS]
        assert row == pytest.approx(exact, abs=0 if size >= len(KEYS) else 0.03)


def test_candidates_are_numbered_as_they_come() -> None:
    ids, truth = numbered(KEYS, 60)
    assert ids.tolist() == [0, 1, -1, 0, 2, 1, 3]
    assert truth == 2
    assert numbered(KEYS, 5)[1] == -1
    assert numbered(np.zeros(3, np.int64), 0) == (pytest.approx(np.full(3, -1)), -1)
    assert truth_places(np.full((2, 3), -1), np.zeros((2, 3)), 0).tolist() == [MISSING] * 2


def test_votes_of_tests_of_unequal_size() -> None:
    starts, truths = np.array([0, 4, 7]), np.array([50, 50])
    hits = vote_hits(KEYS, np.linspace(0, 1, 7), starts, truths)
    # the first test has 70 twice, 50 once, nothing once; the second 60, 50 and 90 once each, 90 the surest
    assert hits.tolist() == [[0, 1, 1], [0, 1, 1]]
    assert mean_of_tests(np.arange(7.0), starts).tolist() == [1.5, 5.0]
    assert mean_of_tests(np.arange(14.0).reshape(7, 2), starts).tolist() == [[3.0, 4.0], [10.0, 11.0]]


def test_intervals_are_over_tasks() -> None:
    generator = np.random.default_rng(0)
    same = estimate(np.full(5, 0.25), np.arange(5), generator)
    assert same == {"mean": 0.25, "low": 0.25, "high": 0.25}
    # 2 tasks: both samples are one task in 1 of 4 cases each way, so the interval has both ends
    two = estimate(np.array([1.0, 1.0, 1.0, 0.0]), np.array([7, 7, 7, 9]), generator)
    assert two == {"mean": 0.75, "low": 0.0, "high": 1.0}
    many = estimate((np.arange(400) % 2).astype(float), np.arange(400), generator)
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_calibration_by_hand() -> None:
    probability = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    right = np.array([False, True, True, True, False])
    found = calibration(probability, right)
    assert [(b["examples"], b["right"]) for b in found["bins"]] == [(2, 0.5), (3, pytest.approx(2 / 3))]
    assert found["bins"][1]["probability"] == pytest.approx(2.9 / 3)
    assert found["expected_calibration_error"] == pytest.approx((0.9 + 0.9) / 5)
    assert found["auc"] == pytest.approx((0.5 + 0 + 1 + 0 + 1 + 0) / 6)
    assert separation(probability, np.ones(5, bool)) is None


def test_probabilities_that_are_shares_are_calibrated() -> None:
    generator = np.random.default_rng(5)
    probability = generator.random(20_000)
    right = generator.random(20_000) < probability
    assert calibration(probability, right)["expected_calibration_error"] < 0.02
    pairs = probability[right][:2000, None] > probability[~right][:2000]
    assert separation(probability, right) == pytest.approx(pairs.mean(), abs=0.02)


def test_leaving_early_is_that_of_a_loop() -> None:
    generator = np.random.default_rng(6)
    same, halting = generator.random((9, 50)) < 0.6, generator.random((9, 50))
    counts = np.zeros((9, 50), int)
    for step in range(9):
        counts[step] = np.where(same[step], (counts[step - 1] if step else 0) + 1, 0)
    assert (stable_steps(same) == counts).all()
    for stable, limit in ((2, 0.9), (None, 0.5), (3, None), (None, None)):
        expected = []
        for example in range(50):
            steps = (
                step
                for step in range(9)
                if (stable is not None and counts[step, example] >= stable)
                or (limit is not None and halting[step, example] >= limit)
            )
            expected.append(next(steps, 8))
        assert last_steps(same, halting, stable, limit).tolist() == expected
