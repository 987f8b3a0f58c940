"""The value of the puzzle embedding: the right one against wrong ones (arXiv 2512.11847, "Identity Conditioning").

Letters: N examples, W width of a row of the puzzle embedding table.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.symmetry import SYMMETRIES
from solver.tokens.variants import task_of
from train_offline.analysis.findings import Findings, percent
from train_offline.analysis.forward import Bench, Examples, Judge, answer
from train_offline.analysis.inputs import StoppingOptions, Subject


@dataclass(frozen=True)
class IdentityOptions(StoppingOptions):
    augmentations: int = 16  # Votes per test input under each condition: variants, the canonical one included.


# The examples, perhaps with other rows or symmetries, and the table of the rows; None: that of the checkpoint
Case = tuple[Examples, Tensor | None]


def other_task(bench: Bench, examples: Examples, generator: np.random.Generator) -> Examples | None:
    """A random row of another task; None if the table has no other task."""
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
    return examples._replace(row=row)


def other_variant(bench: Bench, examples: Examples, generator: np.random.Generator) -> Examples | None:
    """The right task, but another variant than that of the input; None if some task has only one.

    With a row per variant, the row of another variant; with a row per task, another symmetry.
    """
    first, count = bench.starts[:-1][examples.test], np.diff(bench.starts)[examples.test]
    if bench.model.config.row_per_task:
        turned = examples.symmetry + generator.integers(1, SYMMETRIES, len(examples.symmetry))
        return examples._replace(claimed_symmetry=turned % SYMMETRIES)
    if count.min() < 2:
        return None
    ahead = 1 + (generator.random(len(first)) * (count - 1)).astype(np.int64)  # 1 … count - 1
    other = examples.at(first + (np.arange(len(first)) - first + ahead) % count)
    return examples._replace(row=other.row)


def conditions(bench: Bench, examples: Examples, generator: np.random.Generator) -> dict[str, Case | None]:
    """The examples under each condition; None for a condition that the checkpoint does not allow."""
    if bench.model.config.row_width == 0:
        return {"right": (examples, None)}  # such a model has no puzzle embedding
    table, first_row = bench.subject.knowledge.table, examples._replace(row=np.zeros_like(examples.row))
    others = {
        "other task": other_task(bench, examples, generator),
        "other variant": other_variant(bench, examples, generator),
    }
    return {
        "right": (examples, None),
        "mean": (first_row, table.mean(dim=0)[None]),  # from which test-time fitting starts a new task
        "blank": (first_row, torch.zeros_like(table[:1])),  # as in the published code
        **{name: None if other is None else (other, None) for name, other in others.items()},
    }


def identity(subject: Subject, options: IdentityOptions) -> Findings:
    """Accuracy with the right puzzle embedding, the mean, a blank, another task's, another variant's of the same task.

    Only the identity is wrong; the inputs stay the same. "Another variant" means its row if every variant has one, and
    its symmetry if a task has a single row. Intervals are 95 %, over tasks.
    """
    bench, generator = Bench(subject, options.batch_tokens, options.decoder), np.random.default_rng(options.seed)
    examples, judge = bench.examples(), Judge(bench, generator)
    cases = conditions(bench, examples, generator)
    work = bench.flops(examples, bench.model.config, options.supervision_steps)
    figures: dict[str, Any] = {}
    with bench.progress("identity", work * sum(case is not None for case in cases.values())):
        for name, case in cases.items():
            if case is None:
                figures[name] = None
                continue
            claimed, table = case
            found, _ = answer(bench, claimed, options.predict, table)
            figures[name] = {"canonical": judge.canonical(found.right), **judge.votes(found.key, found.halting)}
    most = int(np.diff(bench.starts).max())
    row = {"votes": str(most)} | {
        f"{name}: canonical, pass@2": "–"
        if part is None
        else f"{part['canonical']['mean']:.1%}, {percent(part['pass@2'])}"
        for name, part in figures.items()
    }
    return {"votes_most": most, "embedding": bench.model.config.embedding, "conditions": figures}, [row]
