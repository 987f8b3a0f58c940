"""The options of `arc-trm solve`, shared with Kaggle and batch runs, and how a command line writes them.

Imports no torch: supervisors run without it. `presets.configured` turns options into a SolveConfig.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kernels.canvas import Decoder
from solver.common.checks import at_least, within
from solver.common.clock import format_duration, parse_duration
from solver.settings.config import CanvasMode, FitMode, Precision

MOST_SEED = 2**62  # torch takes 64 bits, and seeds of parts of a run are a little larger
SHIPPED = "shipped"  # the word for the bundled weights
FOLDER = Path(__file__).parents[2] / "submission" / "weights" / "midi"


def weights_folder(word: str) -> Path:
    """The folder that a word means: `shipped` is the bundled weights, unless a folder of that name exists."""
    return FOLDER if word == SHIPPED and not Path(word).exists() else Path(word)


_Spec = tyro.constructors.PrimitiveConstructorSpec


def _word(metavar: str, kind: type, read: Callable[[str], Any], show: Callable[[Any], str]) -> _Spec[Any]:
    """The rule by which tyro reads and shows a value of `kind` as one word of the command line."""
    return _Spec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [show(value)],
    )


Duration = Annotated[float, _word("90s|10m|11h30m", float, parse_duration, format_duration)]
"""Seconds, written like 90s, 10m or 11h30m."""

WeightsFolder = Annotated[Path, _word("DIR|shipped", Path, weights_folder, str)]
"""A weights folder, or `shipped` for the bundled one."""


@dataclass(frozen=True)
class SolveOptions:
    """Options that change a preset; those left at None keep its value."""

    preset: Literal["auto", "tiny", "mini", "published"] = "auto"
    """Settings to start from; the options below change single ones. auto: tiny without weights; published for weights
    with one embedding per variant, such as published ones; mini for other weights."""
    augmentations: int | None = None
    """Variants per task, all of which are fitted and vote. By default tiny and mini fit 1024, of which 64 vote per
    round; published fits 1000, all of which vote where the time allows."""
    canvas: CanvasMode | None = None
    """full is always 30x30, as published; tight is the smallest bucket that holds the grids; exact is as large as the
    sizes of the demonstrations say. None: the canvas that the weights were trained on, or the preset's."""
    fit_mode: FitMode | None = None
    """What fitting changes: embeddings (puzzle embeddings only), full (everything), staged (embeddings first, then
    everything), none."""
    fit_known: bool = False
    """Whether tasks that the weights know from training are fitted too: for weights whose training was cut short.
    Otherwise they are only voted on, since fitting makes the votes of well-trained weights worse."""
    fit_together: int | None = None
    """Fit tasks jointly in groups of about this many, each group from the same start; 1 fits task by task. By default
    mini fits groups of 20 and the other presets all tasks together."""
    fit_steps: int | None = None
    """Fitting steps per group; by default the budget decides."""
    least_steps: int | None = None
    """Tasks that would get fewer fitting steps per pair than this are not fitted; the log counts them."""
    supervision_steps: int | None = None
    """Most supervision steps per prediction."""
    early_stop: bool = True
    """Whether a prediction may stop earlier, once its answer no longer changes."""
    decoder: Decoder = "robust"
    """How tokens become a grid; robust tolerates single wrong tokens."""
    seed: int = 0
    """Decides variants, order and initial weights; the same seed and steps give the same submission on a CPU."""
    precision: Precision = "auto"
    """Precision of the forward pass; auto is bfloat16 on recent GPUs and float32 on CPUs."""

    def __post_init__(self) -> None:
        for name in ("seed", "least_steps", "fit_steps"):
            at_least(name, getattr(self, name), 0)
        within("seed", self.seed, 0, MOST_SEED)
        for name in ("fit_together", "augmentations", "supervision_steps"):
            at_least(name, getattr(self, name), 1)
