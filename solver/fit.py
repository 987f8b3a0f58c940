"""Test-time fitting: from the demonstrations of the given tasks to weights that know them.

Fitting is the learner's ordinary step on augmented demonstrations; test outputs are never looked at. Sources:
arXiv 2511.02886 (all tasks jointly, embeddings from the mean of the trained table, trunk frozen for the first quarter).
"""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from solver.batches import PairStream, TaskExamples
from solver.budget import Clock
from solver.canvases import CanvasConfig
from solver.checks import at_least
from solver.learner import Learner, LearnerConfig
from solver.models.trm import TRM
from solver.tasks import Task
from solver.variants import Variants, make_variants, variant_name

FitMode = Literal["embeddings", "full", "staged", "none"]
FROZEN_SHARE = 0.25  # of a staged fit during which the trunk rests
STEP_SHARE = 0.02  # of the time left that one step may take
REPORT_EVERY = 10  # steps between readings of the loss: each waits for the device

log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class FitConfig:
    """How tasks are fitted."""

    mode: FitMode = "staged"
    each: bool = False  # task by task, each from the same start, instead of jointly
    steps: int | None = None  # None: as many as the time allows
    augmentations: int = 256  # variants of each task, the identity included
    symmetries: bool = True
    colours: bool = True
    step_tokens: int = 64 * 916  # tokens in one step, puzzle tokens included
    learner: LearnerConfig = field(default_factory=LearnerConfig)

    def __post_init__(self) -> None:
        """Raise InputError for counts that make no fit."""
        at_least("fit_steps", self.steps, 0)
        at_least("augmentations", self.augmentations, 1)
        at_least("step_tokens", self.step_tokens, 1)


@dataclass
class Knowledge:
    """A trunk and a puzzle embedding table with its names: what a checkpoint holds and what fitting starts from."""

    model: TRM
    table: Tensor  # (rows, W)
    rows: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (variant name, task digest) -> row
    manifest: Mapping[str, Any] = field(default_factory=dict)  # what it was trained on; empty where that is not known

    @property
    def saw_test_outputs(self) -> bool:
        """Whether it was trained with the leak guard off, so that its scores are not those of unseen outputs."""
        return bool(self.manifest.get("leaks_allowed"))


@dataclass
class Fitted:
    """A trunk that has seen the tasks' demonstrations, and where each variant's puzzle embedding is."""

    model: TRM  # in evaluation, the moving average
    table: Tensor  # (rows, W)
    variants: list[Variants]  # of each task
    rows: list[np.ndarray]  # of each task: (K,) rows of its variants
    steps: int = 0
    exact: float = 0.0  # share of sequences wholly right near the end of the fit


def fit(
    tasks: Sequence[Task],
    start: Knowledge,
    config: FitConfig,
    canvases: CanvasConfig,
    clock: Clock,
    seed: int,
    autocast: torch.dtype | None = None,
    show_progress: bool = True,
) -> Fitted:
    """Fit `start` to the demonstrations of `tasks` until the steps or the clock run out; `start` is not changed."""
    variants = [make_variants(t.id, config.augmentations, seed, config.symmetries, config.colours) for t in tasks]
    table, rows = starting_table(tasks, variants, start)
    fitted = Fitted(start.model, table, variants, rows)
    if config.mode == "none" or clock.expired():
        return fitted
    device = start.table.device
    model = copy.deepcopy(start.model).train()
    examples = [TaskExamples(t.train, v, r) for t, v, r in zip(tasks, variants, rows, strict=True)]
    tokens = affordable_tokens(start.model, config.step_tokens, clock)
    stream = PairStream(examples, canvases, tokens, model.config.puzzle_tokens, seed, device)
    exploration = torch.Generator().manual_seed(seed)
    learner = Learner(model, nn.Parameter(table.clone()), config.learner, exploration, autocast)
    if _train(learner, stream, config, clock, fitted, show_progress):
        fitted.model, fitted.table = learner.averaged()
    fitted.model.eval()
    return fitted


def _train(
    learner: Learner, stream: PairStream, config: FitConfig, clock: Clock, fitted: Fitted, show_progress: bool
) -> bool:
    """Run the steps; False if the loss is no longer a number, so that the start is better than the result."""
    seconds = clock.left()
    bar = tqdm(total=config.steps, desc="fit", unit="step", disable=not show_progress, mininterval=1)
    loss = math.nan
    with bar:
        while not clock.expired() and (config.steps is None or fitted.steps < config.steps):
            progress = max(fitted.steps / config.steps if config.steps else 0, 1 - clock.left() / seconds)
            learner.freeze_trunk(config.mode == "embeddings" or (config.mode == "staged" and progress < FROZEN_SHARE))
            canvas = stream.next_canvas()
            slots = stream.slot_count(canvas)
            metrics = learner.train_step(canvas, slots, stream.on(canvas), progress)
            fitted.steps += 1
            bar.update()
            if fitted.steps % REPORT_EVERY == 0:
                loss = float(metrics.loss) / slots
                fitted.exact += 0.05 * (float(metrics.right) / slots - fitted.exact)
                bar.set_postfix_str(f"loss {loss:.3f}, exact {fitted.exact:.1%}", refresh=False)
                if not math.isfinite(loss):
                    log.warning("fit: the loss is %s after %d steps; going on from the start", loss, fitted.steps)
                    return False
    return True


def affordable_tokens(model: TRM, wanted: int, clock: Clock) -> int:
    """Tokens of a step: as asked, or fewer where a slow machine could not keep its deadline.

    One sample on the full canvas is predicted to learn the pace; a training step is taken to cost three times that.
    """
    if clock.limit == math.inf:
        return wanted
    canvas, device = model.config.canvas, model.y0.device
    tokens = model.config.puzzle_tokens + canvas[0] * canvas[1]
    began = clock.elapsed()
    with torch.inference_mode():
        x = torch.zeros(1, tokens, model.config.width, device=device)
        model(x, model.fresh_state(1, canvas), canvas).logits.sum().item()
    seconds = 3 * (clock.elapsed() - began) / tokens
    return min(wanted, max(1, int(STEP_SHARE * clock.left() / seconds)))


def starting_table(
    tasks: Sequence[Task], variants: Sequence[Variants], start: Knowledge
) -> tuple[Tensor, list[np.ndarray]]:
    """The puzzle embedding table (rows, W) of the tasks, and the rows of each task's variants.

    A row that the checkpoint has under the same name for the same demonstrations is taken over; all others start at the
    mean of the trained table, or at zero where nothing is trained yet.
    """
    names, rows = name_rows([(t.id, t.digest) for t in tasks], variants, start.model.config.embedding == "shared")
    width = start.model.config.row_width
    mean = start.table.mean(dim=0) if len(start.table) else start.table.new_zeros(width)
    table = mean.repeat(len(names), 1)
    known = [(new, start.rows[name]) for new, name in enumerate(names) if name in start.rows]
    if known:
        new, old = (torch.tensor(column, device=table.device) for column in zip(*known, strict=True))
        table[new] = start.table[old]
    return table, rows


def name_rows(
    tasks: Sequence[tuple[str, str]], variants: Sequence[Variants], shared: bool
) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """What each row of a puzzle embedding table is called, and the rows (K,) of each task's variants.

    `tasks` are ids and digests. A shared row serves all variants of a task; otherwise each has its own.
    """
    names: list[tuple[str, str]] = []
    rows = []
    for (task_id, digest), of_task in zip(tasks, variants, strict=True):
        first = len(names)
        if shared:
            names.append((task_id, digest))
            rows.append(np.full(len(of_task), first))
        else:
            pairs = zip(of_task.symmetry, of_task.permutation, strict=True)
            names.extend((variant_name(task_id, s, p), digest) for s, p in pairs)
            rows.append(np.arange(first, len(names)))
    return names, rows
