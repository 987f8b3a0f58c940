"""How the loss fell while a run fitted: a curve of few points, however long the run. Imports no torch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

MOST_POINTS = 200
LARGEST_LOSS = 1e9  # of a reading that is kept: beyond, a fit has exploded, and a curve would show nothing else


class Reading(NamedTuple):
    """What a fit said of itself at a step; also the mean of several such, under the step and seconds of the last."""

    step: int
    seconds: float  # of fitting, before the step
    loss: float  # a slot
    exact: float  # 0 to 1, share of sequences that are wholly right, lately


class FitCurve:
    """Readings in the order of their steps; memory for MOST_POINTS of them.

    A point is the mean of `stride` readings that followed each other. When there are too many points, neighbours are
    joined and the stride is doubled: the resolution halves, evenly over the whole run, and no reading is lost.
    """

    def __init__(self) -> None:
        self._points: list[Reading] = []
        self._waiting: list[Reading] = []  # for a stride to be full
        self._stride = 1

    def add(self, reading: Reading) -> None:
        """Take a reading in; one whose loss is no number, or exploded, is left out."""
        if not math.isfinite(reading.loss) or reading.loss > LARGEST_LOSS:
            return
        self._waiting.append(reading._replace(loss=max(0.0, reading.loss)))  # rounding can make it less
        if len(self._waiting) == self._stride:
            self._points.append(_mean(self._waiting))
            self._waiting = []
        if len(self._points) == MOST_POINTS:
            self._points = [_mean(self._points[place : place + 2]) for place in range(0, MOST_POINTS, 2)]
            self._stride *= 2

    def extend(self, later: "FitCurve", steps: int, seconds: float) -> None:
        """Append a fit that began when `steps` and `seconds` had been spent on others."""
        for point in later.points():
            self.add(point._replace(step=point.step + steps, seconds=point.seconds + seconds))

    def points(self) -> list[Reading]:
        """The curve, with the readings that do not fill a stride yet as its last point."""
        return [*self._points, *([_mean(self._waiting)] if self._waiting else [])]


def _mean(readings: Sequence[Reading]) -> Reading:
    last, count = readings[-1], len(readings)
    return Reading(
        last.step, last.seconds, sum(r.loss for r in readings) / count, sum(r.exact for r in readings) / count
    )
