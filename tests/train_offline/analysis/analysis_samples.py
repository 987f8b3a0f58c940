"""Small checkpoints of hand-made tasks, and what the tests of the laboratory share."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from solver.model.trm import TRM
from solver.model.weights import Knowledge, name_rows
from solver.settings.config import CanvasConfig, TRMConfig
from solver.tasks.task import Task
from solver.tokens.variants import make_variants
from tests.solver.samples import TASKS, config, save_challenges
from train_offline.analysis.forward import Bench
from train_offline.analysis.inputs import Subject, known_variants

CPU = torch.device("cpu")
SHARED = config().model
VARIANT = TRMConfig(width=16, heads=2, cycles=1, latent_updates=1, row_tokens=2, row_width=16)
"""A published model's kind: a row a variant, rotary positions over the full canvas."""


def knowledge(model: TRMConfig = SHARED, tasks: Sequence[Task] = TASKS, count: int = 6, **manifest: Any) -> Knowledge:
    """Random weights, a halting head that is not sure, and rows for `count` variants of each task."""
    torch.manual_seed(1)
    trunk = TRM(model).eval()
    with torch.no_grad():
        trunk.halting_weight.normal_(std=0.3)  # a fresh one says the same of all
        trunk.halting_bias.zero_()
        trunk.output_head.weight[:2] = 0  # padding and ends of grids are never the best: there is always a grid
    variants = [make_variants(task.id, count, 0) for task in tasks]
    names, _ = name_rows([(t.id, t.digest) for t in tasks], variants, model.row_per_task)
    return Knowledge(trunk, 4 * torch.randn(len(names), model.row_width), {n: r for r, n in enumerate(names)}, manifest)


def subject(
    known: Knowledge, tasks: Sequence[Task] = TASKS, augmentations: int = 6, device: torch.device = CPU
) -> Subject:
    """What `open_subject` makes of them, without files."""
    variants, rows = known_variants(known, tasks, augmentations, seed=0)
    canvases = CanvasConfig("tight" if known.model.config.any_canvas else "full")
    there = replace(known, model=known.model.to(device), table=known.table.to(device))
    return Subject(there, list(tasks), variants, rows, canvases, device, None, 100.0, {"tasks": len(tasks)}, [])


def bench(known: Knowledge, batch_tokens: int = 400, **options: Any) -> Bench:
    return Bench(subject(known, **options), batch_tokens)


def deeper(model: TRMConfig, **changes: Any) -> TRMConfig:
    """More recursion than the samples have."""
    return replace(model, **{"cycles": 2, "latent_updates": 3, **changes})


def save_tasks(folder: Path, tasks: Sequence[Task] = TASKS) -> str:
    """A Kaggle challenges file with the test outputs in it."""
    return str(save_challenges(folder / "tasks.json", tasks, outputs=True))
