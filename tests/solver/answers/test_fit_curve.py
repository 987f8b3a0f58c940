"""The curve of a fit: nothing is lost but resolution, however long the run."""

import math

import pytest

from solver.answers.fit_curve import LARGEST_LOSS, MOST_POINTS, FitCurve, Reading


def curve_of(count: int) -> FitCurve:
    curve = FitCurve()
    for step in range(1, count + 1):
        curve.add(Reading(step, step / 10, float(step), step / count))
    return curve


@pytest.mark.parametrize("count", [0, 1, 2, MOST_POINTS - 1, MOST_POINTS, MOST_POINTS + 1, 1234, 100_000])
def test_any_number_of_readings_makes_few_points_evenly_spread(count: int) -> None:
    points = curve_of(count).points()
    assert len(points) <= MOST_POINTS
    assert len(points) >= min(count, MOST_POINTS // 2)
    if not count:
        return
    assert points[-1].step == count
    steps = [point.step for point in points]
    gaps = {after - before for before, after in zip([0, *steps], steps[:-1], strict=False)}
    assert len(gaps) <= 1
    assert points[0].loss == (1 + points[0].step) / 2, "the mean of its readings"
    assert points[-1].seconds == count / 10


def test_readings_that_are_no_numbers_are_left_out() -> None:
    curve = FitCurve()
    for loss in (math.nan, math.inf, 2 * LARGEST_LOSS, 1.5, -1e-9):
        curve.add(Reading(1, 1.0, loss, 0.5))
    assert [point.loss for point in curve.points()] == [1.5, 0.0]


def test_curves_follow_each_other() -> None:
    whole = FitCurve()
    for _ in range(3):
        whole.extend(curve_of(150), steps=whole.points()[-1].step if whole.points() else 0, seconds=100.0)
    steps = [point.step for point in whole.points()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 450
    assert len(steps) <= MOST_POINTS
