"""Settings that belong together, as functions; every one says what it is for."""

from collections.abc import Callable

from solver.canvases import CanvasConfig
from solver.fit import FitConfig
from solver.learner import LearnerConfig
from solver.models.trm import TRMConfig
from solver.pipeline import SolveConfig
from solver.predict import PredictConfig


def published() -> SolveConfig:
    """The published ARC model fitted as in arXiv 2511.02886: full canvas, an embedding a variant, staged."""
    learner = LearnerConfig(warmup_steps=200)
    return SolveConfig(name="published", fit=FitConfig(mode="staged", learner=learner))


def tiny() -> SolveConfig:
    """Small grids on a laptop CPU in minutes, from scratch."""
    width = 64
    return SolveConfig(
        name="tiny",
        model=TRMConfig(
            width=width,
            heads=2,
            cycles=1,
            latent_updates=2,
            positions="rope2d",
            rope_theta=100.0,
            embedding="shared",
            row_tokens=1,
            row_width=width,
        ),
        fit=FitConfig(
            mode="full",
            augmentations=12,
            step_tokens=1000,
            learner=LearnerConfig(
                lr=1e-3,
                weight_decay=1.0,
                row_lr=1e-3,
                row_optimizer="adam_atan2",
                warmup_steps=100,
                schedule="cosine",
                ema_decay=0.99,
                loss="softmax",
                supervision_steps=4,
            ),
        ),
        predict=PredictConfig(supervision_steps=8, batch_tokens=8192),
        canvases=CanvasConfig(mode="tight"),
    )


PRESETS: dict[str, Callable[[], SolveConfig]] = {"tiny": tiny, "published": published}
