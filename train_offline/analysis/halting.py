"""Does the halting head know what is right? Reliability, calibration error and separation of its probabilities."""

from typing import Any

import numpy as np

BINS = 10


def calibration(probability: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Reliability bins, expected calibration error and AUC of probabilities (N,) that answers are right (N,) bool.

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
    """AUC: how often a right answer has the higher probability than a wrong one, ties counted half.

    None where all answers are right, or none is.
    """
    positive = int(right.sum())
    negative = len(right) - positive
    if not positive or not negative:
        return None
    _, value, count = np.unique(probability, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2  # mean rank, from 1, of examples that tie
    ranks = middle[value.reshape(-1)]
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def stable_steps(same: np.ndarray) -> np.ndarray:
    """For how many steps no token has changed, after each step: same (S, N) bool -> (S, N)."""
    step = np.arange(1, len(same) + 1)[:, None]
    changed = np.maximum.accumulate(np.where(same, 0, step), axis=0)  # the last step that changed a token
    return np.asarray(step - changed)


def last_steps(same: np.ndarray, halting: np.ndarray, stable: int | None, threshold: float | None) -> np.ndarray:
    """The step, from 0, after which each example leaves: (N,).

    It leaves once nothing changed for `stable` steps or its halting probability (S, N) reaches `threshold`, and after
    the last step; None: not for that reason.
    """
    done = np.zeros(same.shape, bool)
    if stable is not None:
        done |= stable_steps(same) >= stable
    if threshold is not None:
        done |= halting >= threshold
    done[-1] = True
    return done.argmax(axis=0)
