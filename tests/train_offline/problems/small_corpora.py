"""Files of hand-made tasks, and what the tests of corpora share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solver.common.checks import InputError
from solver.tasks.task import Pair, parse_task
from train_offline.problems.corpora import Corpora, load_corpora

Document = dict[str, Any]


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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(path)


def grids(documents: list[Document]) -> tuple[Pair, ...]:
    return parse_task("x", task(documents, documents), "x").train


def load(*sources: str, **options: Any) -> Corpora:
    """`load_corpora` with nothing held out but what the test holds out."""
    return load_corpora(sources, **({"always_held_out": ()} | options))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert "expected" in message
    assert "got" in message
    return message
