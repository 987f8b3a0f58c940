"""The training curve of test-time fitting: a few points, however long the run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

MOST_POINTS = 200
LARGEST_LOSS = 1e9  # readings above it are dropped: one exploded fit would flatten the rest of the curve


class Reading(NamedTuple):
    """The state of a fit at a step, or the mean over several steps with the step and seconds of the last."""

    step: int
    seconds: float  # of fitting, before this step
    loss: float  # per slot
    exact: float  # 0..1, share of recent sequences with every token right


class FitCurve:
    """Readings in the order of their steps, reduced to at most MOST_POINTS points, each the mean of `stride` readings.

    When the points are full, adjacent ones are merged and the stride doubles.
    """

    def __init__(self) -> None:
        self._points: list[Reading] = []
        self._waiting: list[Reading] = []  # fewer than a stride
        self._stride = 1

    def add(self, reading: Reading) -> None:
        """Add a reading; drop it if its loss is not finite or above LARGEST_LOSS."""
        if not math.isfinite(reading.loss) or reading.loss > LARGEST_LOSS:
            return
        self._waiting.append(reading._replace(loss=max(0.0, reading.loss)))  # rounding can make it negative
        if len(self._waiting) == self._stride:
            self._points.append(_mean(self._waiting))
            self._waiting = []
        if len(self._points) == MOST_POINTS:
            self._points = [_mean(self._points[place : place + 2]) for place in range(0, MOST_POINTS, 2)]
            self._stride *= 2

    def extend(self, later: "FitCurve", steps: int, seconds: float) -> None:
        """Append the curve of a fit that began after `steps` steps and `seconds` seconds of earlier fits."""
        for point in later.points():
            self.add(point._replace(step=point.step + steps, seconds=point.seconds + seconds))

    def points(self) -> list[Reading]:
        """The curve. Readings that do not fill a stride yet make its last point."""
        return [*self._points, *([_mean(self._waiting)] if self._waiting else [])]


def _mean(readings: Sequence[Reading]) -> Reading:
    count = len(readings)
    loss, exact = sum(r.loss for r in readings) / count, sum(r.exact for r in readings) / count
    return readings[-1]._replace(loss=loss, exact=exact)
