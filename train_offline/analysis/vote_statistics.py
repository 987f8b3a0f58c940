"""Figures of votes: random subsets, intervals, calibration, early stopping; numpy without loops over votes or subsets.

Letters: T tests, K votes per test, R subsets, k votes per subset, C distinct candidates, N examples, S supervision
steps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

MISSING = 2**31  # rank of a true grid without votes
TOPS = (1, 2, 5)  # of pass@1, pass@2 and pass@5
SAMPLES = 2000  # of a bootstrap
BINS = 10  # of halting probabilities


def numbered(keys: np.ndarray, truth: int) -> tuple[np.ndarray, int]:
    """Keys (K,) as candidate numbers (K,) in order of first occurrence, and the number of the truth; -1 for none.

    Key 0 belongs to an empty grid, which does not count as a vote.
    """
    distinct, first, number = np.unique(keys, return_index=True, return_inverse=True)
    real = distinct != 0
    order = np.full(len(distinct), -1)
    order[np.flatnonzero(real)[np.argsort(first[real])]] = np.arange(real.sum())
    found = np.flatnonzero((distinct == truth) & real)
    return order[number.reshape(-1)], int(order[found[0]]) if len(found) else -1


def truth_places(ids: np.ndarray, halting: np.ndarray, truth: int) -> np.ndarray:
    """Number of candidates ranked above the true one in each subset: (R,), MISSING if it has no vote.

    ids (R, k) are candidate numbers, -1 for no vote; halting (R, k) their halting probabilities. The order is that of
    `solver.answers.votes.ranked`: by votes, then by mean halting probability, then by number.
    """
    if truth < 0 or not ids.size:
        return np.full(len(ids), MISSING)
    subsets, candidates = len(ids), int(ids.max()) + 1
    if truth >= candidates:
        return np.full(subsets, MISSING)
    voted = ids >= 0
    place = (np.arange(subsets)[:, None] * candidates + ids)[voted]
    votes = np.bincount(place, minlength=subsets * candidates).reshape(subsets, candidates)
    sums = np.bincount(place, halting[voted], subsets * candidates).reshape(subsets, candidates)
    mean = sums / np.maximum(votes, 1)
    of_truth, surety = votes[:, [truth]], mean[:, [truth]]
    surer = (mean > surety) | ((mean == surety) & (np.arange(candidates) < truth))
    above = (votes > of_truth) | ((votes == of_truth) & surer)
    return np.where(of_truth[:, 0] > 0, above.sum(axis=1), MISSING)


def subset_hits(
    keys: np.ndarray,
    halting: np.ndarray,
    truth: int,
    sizes: Sequence[int],
    draws: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Share of random subsets of the K votes in which the truth is among the first 1, 2, 5: (sizes, 3).

    keys and halting (K,). A size of K or more means the single subset of all votes.
    """
    ids, number = numbered(keys, truth)
    votes = len(ids)
    orders = generator.permuted(np.tile(np.arange(votes), (draws, 1)), axis=1)  # (R, K); a prefix is a subset
    hits = np.empty((len(sizes), len(TOPS)))
    for row, size in enumerate(sizes):
        drawn = orders[:, :size] if size < votes else np.arange(votes)[None]
        places = truth_places(ids[drawn], halting[drawn], number)
        hits[row] = [(places < top).mean() for top in TOPS]
    return hits


def vote_hits(keys: np.ndarray, halting: np.ndarray, starts: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Whether the truth is among the first 1, 2, 5 by all votes of each test: (T, 3), as 0 and 1.

    keys and halting (N,) are ordered by test; `starts` (T + 1,) are the bounds of each test, truths (T,) the true keys.
    """
    generator = np.random.default_rng(0)  # nothing is drawn
    bounds = zip(starts[:-1], starts[1:], truths, strict=True)
    return np.array([subset_hits(keys[a:b], halting[a:b], truth, [b - a], 0, generator)[0] for a, b, truth in bounds])


def mean_of_tests(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The mean over the votes of each test: values (N, …), ordered by test -> (T, …)."""
    counts = np.diff(starts).reshape(-1, *[1] * (values.ndim - 1))
    return np.add.reduceat(values.astype(np.float64), starts[:-1], axis=0) / counts


def estimate(values: np.ndarray, task: np.ndarray, generator: np.random.Generator) -> dict[str, float]:
    """Mean of values (T,) over test outputs, with a 95 % percentile bootstrap interval over tasks.

    The outputs of a task, given by task (T,), are drawn together, as they are not independent.
    """
    mean = float(values.mean())
    _, number = np.unique(task, return_inverse=True)
    number = number.reshape(-1)
    sums, counts = np.bincount(number, values), np.bincount(number)
    drawn = generator.integers(0, len(sums), (SAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return {"mean": mean, "low": low, "high": high}


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
    """AUC: how often a right answer has a higher probability than a wrong one, ties counted half; None without both."""
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
