"""Early stopping, replayed on a full run: when each example would have left, and with which answer.

`solver.predict.refine` drops finished examples in groups, so a few of them stay a step or two longer than here.
Letters: N examples, S supervision steps.
"""

import numpy as np


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
