"""ARC as a training problem: corpora as a stream of variants, scored by votes on held-out test outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from solver.tasks.task import Pair, StoredPairs, Task, permuted_colours, shown_colours
from solver.tokens.decode import Ballot
from solver.tokens.packed_stream import open_stream
from solver.tokens.shuffle import TaskExamples
from solver.tokens.variants import Variants, make_variants
from train_offline.problems.corpora import Corpora, load_corpora
from train_offline.problems.pair_cache import Corpus, PairCache
from train_offline.problems.problem import Problem
from train_offline.problems.rearc import rearc_pairs
from train_offline.problems.sources import REARC, read_pairs
from train_offline.settings.config import EvaluationConfig, TrainConfig


@dataclass(frozen=True)
class ArcData:
    """The corpora of a configuration: what is trained on, and what is held out."""

    corpora: Corpora
    examples: list[TaskExamples]  # of each task, then of the lists and generated pairs that joined one
    names: list[tuple[str, str]]  # (variant name, task digest) of each row of the table
    held_out: list[Task]  # whose demonstrations are trained on, with their test outputs
    places: list[int]  # of each held-out task among the tasks

    def fitted(self, model: TRM, table: Tensor, chosen: Sequence[int], votes: int) -> Fitted:
        """The model with the first variants of some held-out tasks."""
        of_tasks = [self.examples[self.places[number]] for number in chosen]
        variants = [Variants(*(part[:votes] for part in each.variants)) for each in of_tasks]
        return Fitted(model, table, variants, [each.rows[:votes] for each in of_tasks])


def arc_data(config: TrainConfig, seed: int) -> ArcData:
    """Read the corpora of a configuration. Raises InputError if they cannot be read or nothing is left of them."""
    arc = config.arc
    if config.model.vocabulary != VOCABULARY:
        raise InputError(f"model.vocabulary: expected {VOCABULARY} for ARC, got {config.model.vocabulary}")
    cache = PairCache(arc.cache)

    def read_lists(name: str) -> Corpus:
        return rearc_pairs(arc.rearc, arc.largest_side, seed, cache) if name == REARC else read_pairs(name, cache)

    corpora = load_corpora(
        arc.data,
        arc.held_out,
        arc.allow_leaks,
        largest_side=arc.largest_side,
        suspect_cells=arc.suspect_cells,
        strict_leaks=arc.strict_leaks,
        read_lists=read_lists,
    )
    tasks = corpora.tasks
    variants = []
    for task in tasks:
        permuted, lists = permuted_colours(task.pairs, arc.colours), [pairs for pairs, _ in task.further]
        shown = shown_colours(task.pairs, *lists)
        variants.append(make_variants(task.id, arc.augmentations, seed, arc.symmetries, permuted, shown))
    names, rows = name_rows([(t.id, t.digest) for t in tasks], variants, config.model.row_per_task)
    examples = [_examples(t.pairs, v, r, t.weight) for t, v, r in zip(tasks, variants, rows, strict=True)]
    for task, of_task, its_rows in zip(tasks, variants, rows, strict=True):
        examples += [_examples(pairs, of_task, its_rows, weight) for pairs, weight in task.further]
    place = {(t.id, digest): number for number, t in enumerate(tasks) for digest in (t.digest, *t.aliases)}
    held_out = [task for task in corpora.held_out if (task.id, task.digest) in place]
    return ArcData(corpora, examples, names, held_out, [place[task.id, task.digest] for task in held_out])


def _examples(pairs: Sequence[Pair], variants: Variants, rows: np.ndarray, weight: float) -> TaskExamples:
    """What is learned of pairs. Of many, one of each size and another decide how large outputs are expected."""
    sizes: Sequence[Pair] = ()
    if isinstance(pairs, StoredPairs):
        sizes = [*pairs.of_each_size()[0], pairs[0]][: len(pairs)]
    return TaskExamples(pairs, variants, rows, weight, sizes)


def arc_problem(config: TrainConfig, seed: int, device: torch.device, data: ArcData | None = None) -> Problem:
    """The problem of a configuration's corpora, which are read if they are not given. Raises InputError."""
    data = data or arc_data(config, seed)
    arc, corpora = config.arc, data.corpora
    stream = open_stream(data.examples, config.model, config.learner, config.canvases, config.step_tokens, seed, device)
    score = partial(arc_score, data, config.evaluation, config.canvases, Predictor)
    trained_on = {"seed": seed, "augmentations": arc.augmentations, "canvas_mode": config.canvases.mode}
    manifest = {**corpora.manifest(), **trained_on, "colours": arc.colours}
    outputs = sum(len(task.test) for task in data.held_out)
    pairs = sum(len(part.pairs) for part in data.examples)
    lines = [f"{len(corpora.tasks)} tasks, {pairs} pairs; scored on {outputs} test outputs", *corpora.report.lines()]
    if len(data.held_out) < len(corpora.held_out):
        left = len(corpora.held_out) - len(data.held_out)
        lines.append(f"not scored, as none of their pairs is left to train on: {left} tasks")
    rows = {name: row for row, name in enumerate(data.names)}
    return Problem(stream, rows, len(rows), score, manifest, lines)


def arc_score(
    data: ArcData,
    config: EvaluationConfig,
    canvases: CanvasConfig,
    predictor_of: type[Predictor],
    model: TRM,
    table: Tensor,
    ranks: Ranks,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """What one canonical pass, pass@1 and pass@2 solve of the held-out test outputs of tasks trained on.

    "canonical", "pass@1" and "pass@2" are shares of the outputs; the same "by task" are means over tasks of the share
    of their outputs, as the papers report them.
    """
    chosen = np.random.default_rng(0).permutation(len(data.held_out))[: config.samples]  # the same every time
    mine = sorted(chosen.tolist())[ranks.rank :: ranks.count]
    counts = np.zeros(8)  # canonical, pass@1, pass@2, outputs; the same by task, tasks
    if mine:
        tasks, votes = [data.held_out[n] for n in mine], config.votes
        predictor = predictor_of(tasks, data.fitted(model, table, mine, votes), config.predict, canvases, autocast)
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
        hits = np.array([[any(a[:1]), any(v[:1]), any(v), True] for a, v in zip(alone, voted, strict=True)])
        share = np.concatenate([np.full(len(task.test), 1 / len(task.test)) for task in tasks])  # of its task
        counts += np.concatenate([hits.sum(axis=0), share @ hits])
    by_output, by_task = np.split(np.array(ranks.total(counts.tolist())), 2)
    if not by_output[-1]:
        return {}
    figures: dict[str, float] = {}
    for of, hits, suffix in (("outputs", by_output, ""), ("tasks", by_task, " by task")):
        names = (f"{name}{suffix}" for name in ("canonical", "pass@1", "pass@2"))
        figures |= dict(zip(names, (hits[:-1] / hits[-1]).tolist(), strict=True)) | {of: round(hits[-1])}
    return figures
