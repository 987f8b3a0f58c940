"""The settings of a run that a command line can change, the same for `arc-trm solve`, Kaggle and batch runs.

Imports no torch: supervisors of a run have none. `presets.configured` makes a run's configuration of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kernels.canvas import Decoder
from solver.common.checks import at_least
from solver.common.clock import format_duration, parse_duration
from solver.settings.config import CanvasMode, FitMode, Precision

SHIPPED = "shipped"


FOLDER = Path(__file__).parents[2] / "submission" / "weights" / "mini"  # submission/ lies beside solver/ wherever it is


def weights_folder(word: str) -> Path:
    """The folder that a word names; `shipped` is the one that comes along, unless there is a folder of that name."""
    return FOLDER if word == SHIPPED and not Path(word).exists() else Path(word)


_Spec = tyro.constructors.PrimitiveConstructorSpec


def _word(metavar: str, kind: type, read: Callable[[str], Any], show: Callable[[Any], str]) -> _Spec[Any]:
    """How a value of `kind` is one word of a command line."""
    return _Spec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [show(value)],
    )


Duration = Annotated[float, _word("90s|10m|11h30m", float, parse_duration, format_duration)]
"""Seconds, written as people write them."""

WeightsFolder = Annotated[Path, _word("DIR|shipped", Path, weights_folder, str)]
"""A weights folder, or the word for the one that comes along."""


@dataclass(frozen=True)
class SolveOptions:
    """Single settings; those left at None keep the preset's value."""

    preset: Literal["auto", "tiny", "mini", "published"] = "auto"
    """Settings to start from; the options below change single ones. auto: tiny without weights, published for weights
    with an embedding of each variant, as published ones have, mini for others."""
    augmentations: int | None = None
    """How many variants of each task are fitted and then vote; without it mini fits 256, of which 64 vote
    at most in a round."""
    canvas: CanvasMode | None = None
    """full is 30x30 as published; tight computes only the smallest canvas that holds the grids; None: what the weights
    were trained on, or the preset's."""
    fit_mode: FitMode | None = None
    """What fitting moves: the puzzle embeddings, everything, first the one and then the other, or nothing."""
    fit_together: int | None = None
    """Fit about so many tasks jointly, each group from the same start; 1: task by task; without it mini fits groups of
    20, the other presets all tasks together."""
    fit_steps: int | None = None
    """Fitting steps of each group; without them the budget decides."""
    least_steps: int | None = None
    """When time is short, tasks that would get fewer fitting steps a pair are left to the fallbacks."""
    supervision_steps: int | None = None
    """Most refinements of a prediction."""
    early_stop: bool = True
    """Whether a sample may stop before, once its answer no longer changes."""
    decoder: Decoder = "robust"
    """How tokens become a grid; robust is not cut by a stray token."""
    seed: int = 0
    """Decides variants, order and initial weights; the same seed and steps give the same submission."""
    precision: Precision = "auto"
    """Type of the forward pass; auto takes bfloat16 on new GPUs and float32 on CPUs."""

    def __post_init__(self) -> None:
        """Raise InputError for a number that makes no run."""
        at_least("seed", self.seed, 0)
        at_least("least_steps", self.least_steps, 0)
        at_least("fit_together", self.fit_together, 1)
        at_least("fit_steps", self.fit_steps, 0)
        at_least("augmentations", self.augmentations, 1)
        at_least("supervision_steps", self.supervision_steps, 1)
