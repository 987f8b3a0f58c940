"""Everything that decides a run but its tasks, weights, seed and clock."""

from dataclasses import dataclass, field

from kernels.canvas import Decoder
from solver.canvases import CanvasConfig
from solver.fit import FitConfig
from solver.models.trm import TRMConfig
from solver.predict import PredictConfig


@dataclass(frozen=True)
class SolveConfig:
    """How tasks are solved."""

    name: str = "published"
    model: TRMConfig = field(default_factory=TRMConfig)  # of a fresh trunk; a checkpoint brings its own
    fit: FitConfig = field(default_factory=FitConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    decoder: Decoder = "robust"
    fit_share: float = 0.8  # of the time, as long as the pace of votes is unknown; the rest is for predicting
    least_steps: int = 400  # training steps a pair without which a task is not worth beginning, when time is short
