"""Presets of `arc-trm solve`: functions that return a whole SolveConfig."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from solver.settings.config import (
    CanvasConfig,
    CanvasMode,
    FitConfig,
    LearnerConfig,
    PredictConfig,
    SolveConfig,
    TRMConfig,
)
from solver.settings.options import SolveOptions


def published() -> SolveConfig:
    """The published ARC model fitted as in arXiv 2511.02886: full canvas, one embedding per variant, staged."""
    learner = LearnerConfig(warmup_steps=200)
    return SolveConfig(name="published", fit=FitConfig(mode="staged", learner=learner))


def small_model(width: int, latent_updates: int = 2) -> TRMConfig:
    """A network for small canvases: heads of 32, little recursion, 2-D positions, one shared puzzle token."""
    return TRMConfig(
        width=width,
        heads=width // 32,
        cycles=1,
        latent_updates=latent_updates,
        positions="rope2d",
        rope_theta=100.0,
        embedding="shared",
        row_tokens=1,
        row_width=width,
    )


def small_learner() -> LearnerConfig:
    """How a small network learns a few tasks in minutes: the winner of the recipe study on mini-ARC (docs/log.md)."""
    return LearnerConfig(
        lr=1e-3,
        weight_decay=1.0,
        trunk_optimizer="muon",
        warmup_steps=100,
        schedule="cosine",
        ema_decay=0.99,
        loss="softmax",
        supervision_steps=2,
    )


def tiny() -> SolveConfig:
    """Small grids on a laptop CPU in minutes, from scratch."""
    return SolveConfig(
        name="tiny",
        model=small_model(64, latent_updates=1),
        fit=FitConfig(mode="full", augmentations=12, step_tokens=1000, learner=small_learner()),
        predict=PredictConfig(supervision_steps=8, batch_tokens=8192),
        canvases=CanvasConfig(mode="tight"),
    )


def mini() -> SolveConfig:
    """Small grids on a laptop CPU, from the shipped weights: lower learning rates, many variants, groups of tasks.

    Trained weights memorize a dozen variants within minutes, so 256 are fitted and 64 vote. They solve more unseen
    tasks when fitted in groups than all together (docs/log.md).
    """
    learner = replace(small_learner(), lr=5e-4, trunk_optimizer="adam_atan2", row_optimizer="adam_atan2", row_lr=1e-3)
    base = tiny()
    fit = replace(base.fit, together=20, augmentations=256, learner=learner)
    predict = replace(base.predict, augmentations=64)
    return replace(base, name="mini", model=small_model(128), fit=fit, predict=predict)


PRESETS: dict[str, Callable[[], SolveConfig]] = {"tiny": tiny, "mini": mini, "published": published}


def configured(
    options: SolveOptions, model: TRMConfig | None = None, canvas_mode: CanvasMode | None = None
) -> SolveConfig:
    """The preset, changed by the options that are given. Raises InputError.

    `model` is the shape of the trained weights and `canvas_mode` what they were trained on; None for a fresh model.
    """
    suits = "tiny" if model is None else "published" if model.embedding == "variant" else "mini"
    preset = PRESETS[suits if options.preset == "auto" else options.preset]()
    fit = _given(
        mode=options.fit_mode,
        together=options.fit_together,
        steps=options.fit_steps,
        augmentations=options.augmentations,
    )
    predict = _given(supervision_steps=options.supervision_steps, augmentations=options.augmentations)
    return replace(
        preset,
        decoder=options.decoder,
        fit=replace(preset.fit, **fit),
        predict=replace(preset.predict, early_stop=options.early_stop, **predict),
        canvases=replace(preset.canvases, **_given(mode=options.canvas or canvas_mode)),
        **_given(least_steps=options.least_steps),
    )


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
