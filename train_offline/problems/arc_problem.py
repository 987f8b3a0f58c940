"""ARC as a training problem: corpora as a stream of variants, scored by votes on held-out test outputs."""

from collections.abc import Sequence
from functools import partial

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
    score = partial(
        arc_score, held_out, [variants[n] for n in where], [rows[n] for n in where], config.evaluation, config.canvases
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


def arc_score(
    held_out: Sequence[Task],
    variants: Sequence[Variants],
    rows: Sequence[np.ndarray],
    config: EvaluationConfig,
    canvases: CanvasConfig,
    model: TRM,
    table: Tensor,
    ranks: Ranks,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """Shares of held-out test outputs, of tasks trained on, that one canonical pass, pass@1 and pass@2 solve."""
    chosen = np.random.default_rng(0).permutation(len(held_out))[: config.samples]  # the same every time
    mine = sorted(chosen.tolist())[ranks.rank :: ranks.count]
    counts = np.zeros(4)  # canonical, pass@1, pass@2, outputs
    if mine:
        tasks, votes = [held_out[n] for n in mine], config.votes
        voting = [Variants(*(part[:votes] for part in variants[n])) for n in mine]
        fitted = Fitted(model, table, voting, [rows[n][:votes] for n in mine])
        predictor = Predictor(tasks, fitted, config.predict, canvases, autocast)
        truths = [pair.output for task in tasks for pair in task.test]
        ballot, first_two = Ballot(len(truths)), []
        for first, last in ((0, 1), (1, votes)):  # the canonical variant is the first
            for predictions in predictor.run(first, last, Clock()):
                ballot.add(predictions)
            ranked = [[c.grid for c in ballot.ranked(test)[:2]] for test in range(len(truths))]
            first_two.append(
                [[np.array_equal(g, truth) for g in grids] for grids, truth in zip(ranked, truths, strict=True)]
            )
        alone, voted = first_two
        canonical, pass_1 = (sum(any(right[:1]) for right in part) for part in (alone, voted))
        counts += [canonical, pass_1, sum(map(any, voted)), len(truths)]
    *hits, outputs = ranks.total(counts.tolist())
    if not outputs:
        return {}
    shares = {name: hit / outputs for name, hit in zip(("canonical", "pass@1", "pass@2"), hits, strict=True)}
    return {**shares, "outputs": int(outputs)}
