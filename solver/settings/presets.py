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
    """The published ARC model fitted as in arXiv 2511.02886: full canvas, one embedding per variant, staged.

    1000 variants of each task, as published; all of them vote where the time allows.
    """
    learner = LearnerConfig(warmup_steps=200)
    return SolveConfig(name="published", fit=FitConfig(mode="staged", augmentations=1000, learner=learner))


def small_model(width: int) -> TRMConfig:
    """A network that learns many variants with few FLOPs: the winner of the study of 2026-11-24 (docs/log.md).

    One latent update and one answer update of two narrow layers; task and symmetry are added to every cell.
    """
    return TRMConfig(
        width=width,
        heads=width // 32,
        expansion=3.0,
        inner_multiple=32,
        cycles=1,
        latent_updates=1,
        halting="none",
        positions="rope2d",
        rope_theta=100.0,
        embedding="per_cell",
        row_tokens=1,
        row_width=width,
    )


def small_learner(width: int, lr: float = 4e-3) -> LearnerConfig:
    """The learner for `small_model`: Muon, one supervision step, a constant learning rate that falls at the end.

    The model multiplies embeddings by the root of the width, so theirs are learned at a rate smaller by that.
    """
    return LearnerConfig(
        lr=lr,
        embedding_lr=lr * width**-0.5,
        trunk_optimizer="muon",
        row_optimizer="adam_atan2",
        row_lr=lr * width**-0.5,
        row_weight_decay=0.01,
        warmup_steps=100,
        schedule="stable",
        ema_decay=0.9,
        loss="softmax",
        supervision_steps=1,
    )


def tiny() -> SolveConfig:
    """Small grids on a laptop CPU in minutes, from scratch: no weights are needed."""
    return SolveConfig(
        name="tiny",
        model=small_model(64),
        fit=FitConfig(mode="full", augmentations=1024, colours="inputs", step_tokens=800, learner=small_learner(64)),
        predict=PredictConfig(supervision_steps=1, augmentations=64),
        canvases=CanvasConfig("exact"),
    )


def mini() -> SolveConfig:
    """Small grids on a laptop CPU, from the shipped weights: as `tiny`, at a lower rate and in groups of 20 tasks.

    Groups solved 21 of 57 unseen tasks in ten minutes of one core, all together 19 (docs/log.md).
    """
    base = tiny()
    fit = replace(base.fit, together=20, step_tokens=1600, learner=small_learner(64, lr=1e-3))
    return replace(base, name="mini", fit=fit)


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
        known=options.fit_known,
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
