"""The loss of one supervision step: cross-entropy over the labelled tokens plus the halting loss.

Letters: B batch, S canvas tokens, V vocabulary. Source: arXiv 2510.04871, section 4, and the published code; Q-learning
of when to continue: arXiv 2506.21734, section 2.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.canvas import IGNORE
from solver.model.packing import Packing, totals
from solver.settings.config import LossKind

HALTING_WEIGHT = 0.5


class Losses(NamedTuple):
    """Losses per slot; (B,) each."""

    tokens: Tensor  # mean cross-entropy over the labelled tokens
    halting: Tensor  # binary cross-entropy of "halt" against "the whole sequence is right"
    continuing: Tensor  # binary cross-entropy of "continue" against the value of the next step; 0 without Q-learning
    right: Tensor  # bool: every labelled token is right

    def total(self) -> Tensor:
        """Loss per slot (B,); the caller sums and divides by the global batch size."""
        return self.tokens + HALTING_WEIGHT * (self.halting + self.continuing)


def cross_entropy(logits: Tensor, labels: Tensor, kind: LossKind, packing: Packing | None = None) -> Tensor:
    """Mean of -log p[label] over the labelled tokens of each slot (B,); logits (B, S, V), labels (B, S) or IGNORE.

    softmax in float32; stablemax, p = s / sum s with s(a) = a + 1 for a >= 0 and 1 / (1 - a) below, in float64.
    """
    labelled = labels != IGNORE
    target = labels.where(labelled, 0)[..., None]
    if kind == "stablemax":
        logits = logits.double()
        s = (1 + logits.clamp(min=0)) / (1 - logits.clamp(max=0))
        losses = (s.sum(dim=-1) / s.gather(-1, target)[..., 0]).log()
    else:
        losses = -F.log_softmax(logits.float(), dim=-1).gather(-1, target)[..., 0]
    count = totals(labelled.to(losses.dtype), packing)
    return totals(losses.where(labelled, 0.0), packing) / count.clamp(min=1)


def step_losses(
    logits: Tensor,
    halting: Tensor | None,
    labels: Tensor,
    kind: LossKind,
    continue_target: Tensor | None = None,
    packing: Packing | None = None,
) -> Losses:
    """Losses of one supervision step; logits (B, S, V), labels (B, S) int64, halting (B, 2), continue_target (B,).

    Packed, logits are (1, T, V) and labels (1, T). Without `halting` there is no loss of it.
    """
    tokens = cross_entropy(logits, labels, kind, packing)
    wrong = (logits.argmax(dim=-1) != labels) & (labels != IGNORE)
    right = totals(wrong.int(), packing) == 0
    none = torch.zeros_like(tokens)
    if halting is None:
        return Losses(tokens, none, none, right)
    to_halt, to_continue = halting.float().unbind(dim=1)
    halting_loss = F.binary_cross_entropy_with_logits(to_halt, right.float(), reduction="none")
    continuing = none
    if continue_target is not None:
        continuing = F.binary_cross_entropy_with_logits(to_continue, continue_target, reduction="none")
    return Losses(tokens, halting_loss, continuing, right)


def continue_target(next_halting: Tensor, last: Tensor) -> Tensor:
    """Value of continuing (B,): that of the better choice at the next step, or of halting there if it is the last.

    next_halting (B, 2): halting logits of the next supervision step; last (B,) bool: whether that is the last one.
    """
    to_halt, to_continue = next_halting.float().unbind(dim=1)
    return to_halt.where(last, to_halt.maximum(to_continue)).sigmoid()
