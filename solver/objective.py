"""The loss of one supervision step: cross-entropy over the labelled tokens + halting.

Letters: B batch, S canvas tokens, V vocabulary. Source: arXiv 2510.04871, section 4 and the published code.
"""

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from kernels.canvas import IGNORE

LossKind = Literal["stablemax", "softmax"]
HALTING_WEIGHT = 0.5


class Losses(NamedTuple):
    """Losses and marks of each slot; (B,) each."""

    tokens: Tensor  # mean cross-entropy over the labelled tokens
    halting: Tensor  # binary cross-entropy of "halt" against "the whole sequence is right"
    right: Tensor  # bool: every labelled token is right
    predicted: Tensor  # (B, S) best tokens

    def total(self) -> Tensor:
        """Loss of each slot, (B,); the caller sums and divides by the global batch size."""
        return self.tokens + HALTING_WEIGHT * self.halting


def stablemax_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p[target] with p = s / sum s, s(a) = a + 1 for a >= 0 and 1 / (1 - a) below, in float64.

    logits (…, V), target (…, 1) -> (…,).
    """
    logits = logits.double()
    s = (1 + logits.clamp(min=0)) / (1 - logits.clamp(max=0))
    return (s.sum(dim=-1) / s.gather(-1, target)[..., 0]).log()


def softmax_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The usual -log p[target], in float32; logits (…, V), target (…, 1) -> (…,)."""
    return -F.log_softmax(logits.float(), dim=-1).gather(-1, target)[..., 0]


def cross_entropy(logits: Tensor, labels: Tensor, kind: LossKind) -> Tensor:
    """Mean over the labelled tokens of each slot, (B,); logits (B, S, V), labels (B, S) with IGNORE = -100."""
    labelled = labels != IGNORE
    target = labels.where(labelled, 0)[..., None]
    of_token = stablemax_cross_entropy if kind == "stablemax" else softmax_cross_entropy
    losses = of_token(logits, target).where(labelled, 0.0)
    return losses.sum(dim=1) / labelled.sum(dim=1).clamp(min=1)


def step_losses(logits: Tensor, halting: Tensor, labels: Tensor, kind: LossKind) -> Losses:
    """Losses of one supervision step; logits (B, S, V), halting (B, 2), labels (B, S) int64."""
    predicted = logits.argmax(dim=-1)
    right = ((predicted == labels) | (labels == IGNORE)).all(dim=1)
    halting_loss = F.binary_cross_entropy_with_logits(halting[:, 0].float(), right.float(), reduction="none")
    return Losses(cross_entropy(logits, labels, kind), halting_loss, right, predicted.detach())
