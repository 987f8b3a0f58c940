"""Files of hand-made tasks, and what the tests of corpora share."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from solver.tasks.task import Pair, parse_task
from tests.solver import tiny_tasks
from train_offline.problems.corpora import Corpora, load_corpora
from train_offline.problems.pair_cache import PairCache
from train_offline.problems.sources import read_pairs

Document = dict[str, Any]

CACHE = tempfile.TemporaryDirectory()  # deleted at the end of the process


def pair(number: int, side: int = 4) -> Document:
    """A pair of random grids; those of two numbers are never the same content."""
    rng = np.random.default_rng(number)
    return {key: rng.integers(0, 10, (side, side + 1)).tolist() for key in ("input", "output")}


def disguised(document: Document) -> Document:
    """The same content, turned and with other colours."""
    return {key: ((np.rot90(grid) + 3) % 10).tolist() for key, grid in document.items()}


def hidden(document: Document) -> Document:
    return {"input": document["input"]}


def task(train: list[Document], test: list[Document]) -> Document:
    return {"train": train, "test": test}


def save(path: Path, document: object) -> str:
    return str(tiny_tasks.save(path, document))


def grids(documents: list[Document]) -> tuple[Pair, ...]:
    return parse_task("x", task(documents, documents), "x").train


def load(*sources: str, **options: Any) -> Corpora:
    """`load_corpora` with nothing held out but what the test holds out."""
    defaults: dict[str, Any] = {
        "held_out_by_default": (),
        "read_lists": partial(read_pairs, cache=PairCache(Path(CACHE.name))),
    }
    return load_corpora(sources, **(defaults | options))
