"""Models of every kind, small enough to count, and learners of them."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from solver.learning.learner import Learner
from solver.model.trm import TRM
from solver.settings.config import LearnerConfig, TRMConfig
from solver.tokens.encode import Batch

CANVAS = (3, 4)
SMALL = TRMConfig(width=32, heads=2, cycles=2, latent_updates=2, canvas=CANVAS, row_tokens=2, row_width=32)
MODELS = {
    "attention": SMALL,
    "rope2d, per cell": replace(SMALL, positions="rope2d", embedding="per_cell", row_width=SMALL.width),
    "learned": replace(SMALL, positions="learned", vocabulary=6, expansion=2.0),
    "mlp": replace(SMALL, mixer="mlp", positions="none"),
    "two networks": replace(SMALL, networks=2, layers=3),
    "one step": replace(SMALL, gradient="one_step"),
    "hrm": replace(SMALL, networks=2, gradient="one_step", halting="q_learning"),
    "hrm of two depths": replace(SMALL, networks=2, layers=3, answer_layers=1, gradient="one_step"),
    "two depths": replace(SMALL, networks=2, answer_layers=3),
    "q-learning, full": replace(SMALL, halting="q_learning", cycles=1),
    "one latent": replace(SMALL, latents=1, latent_updates=3),
    "one latent, one step": replace(SMALL, latents=1, gradient="one_step"),
    "no recursion": replace(SMALL, latents=1, latent_updates=0, cycles=1),
    "convolution": replace(SMALL, convolution=2),
    "mlp, convolution": replace(SMALL, mixer="mlp", positions="none", convolution=3),
    "mamba2_hybrid": replace(SMALL, mixer="mamba2_hybrid", layers=1),
    "mamba2_hybrid, 2 chunks": replace(SMALL, mixer="mamba2_hybrid", positions="learned", row_tokens=60, layers=1),
    "mamba2_hybrid, 3 chunks, convolution": replace(SMALL, mixer="mamba2_hybrid", row_tokens=120, convolution=2),
    "mlp, one step": replace(SMALL, mixer="mlp", positions="none", gradient="one_step", layers=1),
}


def draw(count: int) -> Batch:
    tokens = torch.arange(CANVAS[0] * CANVAS[1]).repeat(count, 1) % 6
    nothing = torch.zeros(count, dtype=torch.int64)
    return Batch(tokens, tokens, nothing, nothing)


def learner_of(model: TRMConfig, config: LearnerConfig | None = None, **more: Any) -> Learner:
    table = nn.Parameter(torch.zeros(3, model.row_width))
    return Learner(TRM(model), table, config or LearnerConfig(), torch.Generator().manual_seed(0), **more)
