"""How answers settle: the network's answers after each supervision step, kept for the report.

It costs about as much as one vote without early stop per test input. It runs after all votes have been counted, so that
a failure loses none of them.
"""

import logging
import math
from collections.abc import Collection, Sequence

import numpy as np

from kernels.canvas import Decoder
from kernels.tally import DECODERS
from solver.answers.outcome import Step
from solver.common.checks import shown
from solver.common.clock import Clock
from solver.predict import Predictor, Readout

MOST_OF_TIME = 0.5  # of the time left: when it is expected to take more, it is skipped

log = logging.getLogger("arc_trm")


def record_steps(predictor: Predictor, tests: Collection[int], decoder: Decoder, clock: Clock) -> dict[int, list[Step]]:
    """Number of a test input -> its answer after each supervision step, for as many of `tests` as the clock allows.

    Empty where the time is short or memory runs out.
    """
    expected = predictor.seconds_by_step(tests)
    if clock.left() != math.inf and (expected is None or expected >= MOST_OF_TIME * clock.left()):
        return {}
    found: dict[int, list[Step]] = {}
    try:
        for numbers, answers in predictor.answers_by_step(tests, clock):
            found.update(zip(numbers.tolist(), _read(answers, decoder), strict=True))
    except (RuntimeError, MemoryError) as error:  # out of memory, mostly: the votes must not be lost for a picture
        log.warning("the answers after each supervision step are not recorded: %s", shown(error))
    return found


def _read(answers: Sequence[Readout], decoder: Decoder) -> list[list[Step]]:
    """The steps of each of K samples (which are the unchanged tasks)."""
    samples: list[list[Step]] = [[] for _ in answers[0].halting]
    for tokens, colours, halting in answers:
        sizes = DECODERS[decoder](tokens.numpy())  # (K, 2)
        for steps, cells, (height, width), probability in zip(samples, colours.numpy(), sizes, halting, strict=True):
            grid = cells[:height, :width].copy() if height and width else None
            steps.append(Step(grid, float(probability), _changed(steps[-1].grid if steps else None, grid)))
    return samples


def _changed(before: np.ndarray | None, now: np.ndarray | None) -> int | None:
    if before is None or now is None or before.shape != now.shape:
        return None
    return int((before != now).sum())
