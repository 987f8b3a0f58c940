"""Hand-made tasks, the configuration of a tiny network, and a watcher that records the events of a run."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solver.answers.outcome import Outcome
from solver.answers.votes import Block, Votes
from solver.common.clock import Clock
from solver.fit import Fitting, choose_variants
from solver.model.weights import Knowledge, fresh_knowledge
from solver.run.events import Counted, Event, Progress, RoundDone
from solver.run.solve import Run, solve
from solver.settings.config import CanvasConfig, FitConfig, LearnerConfig, PredictConfig, SolveConfig, TRMConfig
from solver.tasks.task import Pair, Task, to_challenge


def grid(*rows: str) -> np.ndarray:
    """A grid from one string of digits per row."""
    return np.array([[int(digit) for digit in row] for row in rows], np.uint8)


MIRROR = Task(
    "mirror",
    (
        Pair(grid("12", "34"), grid("21", "43")),
        Pair(grid("50", "06"), grid("05", "60")),
        Pair(grid("70", "89"), grid("07", "98")),
    ),
    (Pair(grid("11", "23"), grid("11", "32")), Pair(grid("90", "01"), grid("09", "10"))),
)
TALL = Task(
    "tall",
    (Pair(grid("123"), grid("1", "2", "3")), Pair(grid("450"), grid("4", "5", "0"))),
    (Pair(grid("678"), grid("6", "7", "8")),),
)
TASKS = [MIRROR, TALL]


def config(steps: int | None = 3, **fit: Any) -> SolveConfig:
    """A run of a few steps on a network of a few thousand weights."""
    return SolveConfig(
        name="sample",
        model=TRMConfig(
            width=16,
            heads=2,
            cycles=1,
            latent_updates=1,
            positions="rope2d",
            rope_theta=100.0,
            embedding="per_cell",
            row_tokens=1,
            row_width=16,
        ),
        fit=FitConfig(
            **{"mode": "full", "steps": steps, "augmentations": 8, "step_tokens": 200, "learner": LEARNER, **fit}
        ),
        predict=PredictConfig(supervision_steps=3, batch_tokens=400),
        canvases=CanvasConfig("tight"),
    )


LEARNER = LearnerConfig(lr=1e-3, row_lr=1e-3, row_optimizer="adam_atan2", warmup_steps=5, supervision_steps=3)


def make_run(clock: Clock | None = None, tasks: Sequence[Task] = TASKS, **fit: Any) -> Run:
    """A run of a fresh network, without a budget if no clock is given."""
    settings = config(**fit)
    return Run(tasks, fresh_knowledge(settings.model, 0, torch.device("cpu")), settings, clock or Clock())


def make_fitting(tasks: Sequence[Task], start: Knowledge, settings: SolveConfig) -> Fitting:
    """A fit of some tasks with the variants that the settings ask for."""
    variants = choose_variants(tasks, start, settings.fit, seed=0)
    return Fitting(tasks, variants, start, settings.fit, settings.canvases, seed=0)


def run_through(
    run: Run,
    watching: "Watching | None" = None,
    votes: Votes | None = None,
    resumed: bool = False,
    keep_steps: bool = False,
) -> Outcome:
    """A run to its end; `watching` remembers its events."""
    outcome = Outcome(Votes(run.tasks) if votes is None else votes)
    for event in solve(run, outcome, resumed, keep_steps):
        if watching:
            watching.keep(event)
    return outcome


class Watching:
    """Remembers the events of a run."""

    def __init__(self) -> None:
        self.beats: list[Progress] = []
        self.blocks: list[Block] = []
        self.rounds = 0

    def keep(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.beat(event)
        elif isinstance(event, Counted):
            self.blocks.extend(event.blocks)
        elif isinstance(event, RoundDone):
            self.rounds += 1

    def beat(self, progress: Progress) -> None:
        self.beats.append(progress)


class Full(StringIO):
    """A screen whose disk is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def as_json(task: Task, outputs: bool = False) -> dict[str, Any]:
    """A task as a challenges file holds it, with the test outputs if `outputs`."""
    document = to_challenge(task)
    for entry, pair in zip(document["test"], task.test, strict=True):
        if outputs and pair.output is not None:
            entry["output"] = pair.output.tolist()
    return document


def save_challenges(path: Path, tasks: Sequence[Task] = TASKS, outputs: bool = False) -> Path:
    """Write a challenges file in Kaggle's format."""
    path.write_text(json.dumps({task.id: as_json(task, outputs) for task in tasks}))
    return path


def save_solutions(path: Path) -> Path:
    """Write the test outputs of TASKS in Kaggle's format."""
    path.write_text(
        json.dumps({task.id: [p.output.tolist() for p in task.test if p.output is not None] for task in TASKS})
    )
    return path
