"""What the puzzle embedding is worth: the right one against wrong ones (arXiv 2512.11847, "Identity Conditioning").

Letters: N examples, W width of a row of the puzzle embedding table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from train_offline.analysis.findings import Findings, carry_out, percent
from train_offline.analysis.forward import Bench, Examples, answer
from train_offline.analysis.inputs import StoppingOptions, Subject
from train_offline.analysis.plots import draw_identity
from train_offline.analysis.vote_statistics import estimate, vote_hits
from train_offline.published.convert import task_of


@dataclass(frozen=True)
class IdentityOptions(StoppingOptions):
    """What `identity` is asked."""

    augmentations: int = 16
    """Votes of a test input under each condition: variants, the canonical one included."""


class Told(NamedTuple):
    """What examples are told: themselves with other rows or augmentation tokens, and a table that holds the rows."""

    examples: Examples
    table: Tensor | None = None  # None: the checkpoint's


def right_row(bench: Bench, examples: Examples, generator: np.random.Generator) -> Told | None:
    """What it was trained with."""
    return Told(examples)


def mean_row(bench: Bench, examples: Examples, generator: np.random.Generator) -> Told | None:
    """The mean of all rows of the table: what test-time fitting starts a new task from."""
    return _one_row(examples, bench.subject.knowledge.table.mean(dim=0))


def blank_row(bench: Bench, examples: Examples, generator: np.random.Generator) -> Told | None:
    """Zeros: the published code's blank."""
    return _one_row(examples, torch.zeros_like(bench.subject.knowledge.table[0]))


def other_task(bench: Bench, examples: Examples, generator: np.random.Generator) -> Told | None:
    """A random row of another task; None where the table has no other task."""
    tasks = bench.subject.tasks
    number_of: dict[tuple[str, str], int] = {}
    owner = np.empty(len(bench.subject.knowledge.table), np.int64)  # of each row, a task's number
    for (name, digest), place in bench.subject.knowledge.rows.items():
        owner[place] = number_of.setdefault((task_of(name), digest), len(number_of))
    mine = np.array([number_of[tasks[task].id, tasks[task].digest] for task in bench.task])[examples.test]
    if len(number_of) < 2:
        return None
    row: np.ndarray = generator.integers(0, len(owner), len(mine))
    while (wrong := owner[row] == mine).any():
        row[wrong] = generator.integers(0, len(owner), wrong.sum())
    return Told(examples._replace(row=row))


def other_variant(bench: Bench, examples: Examples, generator: np.random.Generator) -> Told | None:
    """Its own task, but as another variant than the input is shown in; None where some task has but one.

    Of rows a variant, another one's row; of a shared row, another one's augmentation tokens.
    """
    first, count = bench.starts[:-1][examples.test], np.diff(bench.starts)[examples.test]
    if count.min() < 2:
        return None
    ahead = 1 + (generator.random(len(first)) * (count - 1)).astype(np.int64)  # 1 … count - 1 places further on
    other = examples.at(first + (np.arange(len(first)) - first + ahead) % count)
    if not bench.subject.shared:
        return Told(examples._replace(row=other.row))
    return Told(examples._replace(told_symmetry=other.symmetry, told_permutation=other.permutation))


def _one_row(examples: Examples, row: Tensor) -> Told:
    return Told(examples._replace(row=np.zeros(len(examples.row), np.int64)), row[None])


CONDITIONS: dict[str, Callable[[Bench, Examples, np.random.Generator], Told | None]] = {
    "right": right_row,
    "mean": mean_row,
    "blank": blank_row,
    "other task": other_task,
    "other variant": other_variant,
}


def identity(subject: Subject, options: IdentityOptions) -> Findings:
    """One canonical pass, and pass@1 and pass@2 of the votes, under each condition."""
    bench, generator = Bench(subject, options.batch_tokens, options.decoder), np.random.default_rng(options.seed)
    examples, judge = bench.examples(), partial(estimate, task=bench.task, generator=generator)
    if subject.knowledge.model.config.row_width == 0:
        told: dict[str, Told | None] = {"right": Told(examples)}  # such a model has no puzzle embedding
    else:
        told = {name: condition(bench, examples, generator) for name, condition in CONDITIONS.items()}
    work = bench.flops(examples, bench.model.config, options.supervision_steps)
    figures: dict[str, Any] = {}
    with bench.progress("identity", work * sum(case is not None for case in told.values())):
        for name, case in told.items():
            if case is None:
                figures[name] = None
                continue
            found, _ = answer(bench, case.examples, options.predict, case.table)
            hits = vote_hits(found.key, found.halting, bench.starts, bench.truths)
            figures[name] = {
                "canonical": judge(found.right[bench.starts[:-1]].astype(float)),
                "pass@1": judge(hits[:, 0]),
                "pass@2": judge(hits[:, 1]),
            }
    most = int(np.diff(bench.starts).max())
    row = {"votes": str(most)} | {
        f"{name}: canonical, pass@2": "–"
        if part is None
        else f"{part['canonical']['mean']:.1%}, {percent(part['pass@2'])}"
        for name, part in figures.items()
    }
    return Findings({"votes_most": most, "embedding": bench.model.config.embedding, "conditions": figures}, [row])


def command(options: IdentityOptions) -> int:
    """Accuracy with the right puzzle embedding, the mean, a blank, another task's, another variant's of the same task.

    The canonical pass and votes are told the wrong thing, and shown the same input as ever. "Another variant" is its
    row where every variant has one, and its augmentation tokens where a task has one row. Intervals are 95 %, over
    tasks.
    """
    return carry_out("identity", options, identity, draw_identity)
