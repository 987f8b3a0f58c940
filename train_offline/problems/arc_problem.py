"""ARC as a training problem: corpora as a stream of variants, scored by votes on held-out test outputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import VOCABULARY
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.learning.ranks import Ranks
from solver.model.trm import TRM
from solver.model.weights import Fitted, name_rows
from solver.predict import Predictor
from solver.settings.config import CanvasConfig
from solver.tasks.task import Task
from solver.tokens.decode import Ballot
from solver.tokens.stream import PairStream, TaskExamples
from solver.tokens.variants import Variants, make_variants
from train_offline.problems.corpora import load_corpora
from train_offline.problems.problem import Problem
from train_offline.settings.config import EvaluationConfig, TrainConfig


def arc_problem(config: TrainConfig, seed: int, device: torch.device) -> Problem:
    """The problem of a configuration's corpora. Raises InputError if they cannot be read or nothing is left of them."""
    arc = config.arc
    if config.model.vocabulary != VOCABULARY:
        raise InputError(f"model.vocabulary: expected {VOCABULARY} for ARC, got {config.model.vocabulary}")
    corpora = load_corpora(arc.data, arc.held_out, arc.allow_leaks, largest_side=arc.largest_side)
    tasks = corpora.tasks
    variants = [make_variants(task.id, arc.augmentations, seed, arc.symmetries, arc.colours) for task in tasks]
    names, rows = name_rows([(t.id, t.digest) for t in tasks], variants, config.model.embedding == "shared")
    examples = [TaskExamples(t.pairs, v, r, t.weight) for t, v, r in zip(tasks, variants, rows, strict=True)]
    extra = config.model.puzzle_tokens
    stream = PairStream(examples, config.canvases, config.step_tokens, extra, seed, device)
    place = {(t.id, digest): number for number, t in enumerate(tasks) for digest in (t.digest, *t.aliases)}
    held_out = [task for task in corpora.held_out if (task.id, task.digest) in place]
    where = [place[task.id, task.digest] for task in held_out]
    score = ArcScore(
        tasks=held_out,
        variants=[variants[n] for n in where],
        rows=[rows[n] for n in where],
        config=config.evaluation,
        canvases=config.canvases,
    )
    trained_on = {"seed": seed, "augmentations": arc.augmentations, "canvas_mode": config.canvases.mode}
    manifest = {**corpora.manifest(), **trained_on}
    outputs = sum(len(task.test) for task in held_out)
    pairs = sum(len(task.pairs) for task in tasks)
    lines = [f"{len(tasks)} tasks, {pairs} pairs; scored on {outputs} test outputs", *corpora.report.lines()]
    if len(held_out) < len(corpora.held_out):
        lines.append(
            f"not scored, as none of their pairs is left to train on: {len(corpora.held_out) - len(held_out)} tasks"
        )
    return Problem(stream, {name: row for row, name in enumerate(names)}, len(names), score, manifest, lines)


@dataclass(frozen=True)
class ArcScore:
    """Scores a trunk on the held-out test outputs of tasks whose demonstrations it was trained on."""

    tasks: Sequence[Task]
    variants: Sequence[Variants]
    rows: Sequence[np.ndarray]
    config: EvaluationConfig
    canvases: CanvasConfig

    def __call__(self, model: TRM, table: Tensor, ranks: Ranks, autocast: torch.dtype | None) -> dict[str, float]:
        """Shares of held-out test outputs that one canonical pass, pass@1 and pass@2 of the votes solve."""
        chosen = np.random.default_rng(0).permutation(len(self.tasks))[: self.config.samples]  # the same every time
        mine = sorted(chosen.tolist())[ranks.rank :: ranks.count]
        right = np.zeros(4)  # canonical, pass@1, pass@2, outputs
        if mine:
            right += self._count([self.tasks[n] for n in mine], mine, model, table, autocast)
        canonical, first, both, outputs = ranks.total(right.tolist())
        if not outputs:
            return {}
        names = ("canonical", "pass@1", "pass@2")
        return {name: hits / outputs for name, hits in zip(names, (canonical, first, both), strict=True)} | {
            "outputs": int(outputs)
        }

    def _count(
        self, tasks: list[Task], numbers: list[int], model: TRM, table: Tensor, autocast: torch.dtype | None
    ) -> np.ndarray:
        votes = self.config.votes
        variants = [Variants(*(part[:votes] for part in self.variants[n])) for n in numbers]
        fitted = Fitted(model, table, variants, [self.rows[n][:votes] for n in numbers])
        predictor = Predictor(tasks, fitted, self.config.predict, self.canvases, autocast)
        truths = [pair.output for task in tasks for pair in task.test]
        ballot = Ballot(len(truths))
        tops = []
        for first, last in ((0, 1), (1, votes)):  # the canonical variant is the first
            for predictions in predictor.run(first, last, Clock()):
                ballot.add(predictions)
            ranked = [[c.grid for c in ballot.ranked(test)] for test in range(len(truths))]
            tops.append([_place(truth, grids) for truth, grids in zip(truths, ranked, strict=True)])
        alone, voted = np.array(tops)
        return np.array([(alone == 0).sum(), (voted == 0).sum(), (voted < 2).sum(), len(truths)], float)


def _place(truth: np.ndarray | None, grids: Sequence[np.ndarray]) -> int:
    """Number of grids ranked above the true one; 2**31 if it is not among them."""
    places = [place for place, grid in enumerate(grids) if truth is not None and np.array_equal(grid, truth)]
    return places[0] if places else 2**31
