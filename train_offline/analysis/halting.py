"""The halting head and early stopping: calibration of its probabilities, and replay of stopping rules on full runs.

Letters: N examples, S supervision steps.
"""

from typing import Any

import numpy as np

BINS = 10


def calibration(probability: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Reliability bins, expected calibration error and AUC of probabilities (N,) for answers right (N,) bool.

    The error is the mean over examples of |share right - mean probability| of their bin (Guo et al., arXiv 1706.04599).
    """
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums, hits = np.bincount(place, probability, BINS), np.bincount(place, right.astype(float), BINS)
    filled = np.flatnonzero(count)
    bins = [
        {
            "from": bin / BINS,
            "to": (bin + 1) / BINS,
            "examples": int(count[bin]),
            "probability": float(sums[bin] / count[bin]),
            "right": float(hits[bin] / count[bin]),
        }
        for bin in filled.tolist()
    ]
    return {
        "examples": len(right),
        "right": float(right.mean()),
        "probability": float(probability.mean()),
        "expected_calibration_error": float(np.abs(hits - sums).sum() / len(right)),
        "auc": separation(probability, right),
        "bins": bins,
    }


def separation(probability: np.ndarray, right: np.ndarray) -> float | None:
    """AUC: how often a right answer has a higher probability than a wrong one, ties counted half.

    None if all answers are right or all are wrong.
    """
    positive = int(right.sum())
    negative = len(right) - positive
    if not positive or not negative:
        return None
    _, value, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2  # mean rank, from 1, of tied examples
    ranks = middle[value.reshape(-1)]
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def stable_steps(same: np.ndarray) -> np.ndarray:
    """Number of steps without a changed token, after each step: same (S, N) bool -> (S, N)."""
    step = np.arange(1, len(same) + 1)[:, None]
    changed = np.maximum.accumulate(np.where(same, 0, step), axis=0)  # the last step with a changed token
    return np.asarray(step - changed)


def last_steps(same: np.ndarray, halting: np.ndarray, stable: int | None, threshold: float | None) -> np.ndarray:
    """The step, from 0, after which each example stops: (N,).

    It stops once no token has changed for `stable` steps, or once its halting probability (S, N) reaches `threshold`,
    and at the last step. None switches a rule off.
    """
    done = np.zeros(same.shape, bool)
    if stable is not None:
        done |= stable_steps(same) >= stable
    if threshold is not None:
        done |= halting >= threshold
    done[-1] = True
    return done.argmax(axis=0)
