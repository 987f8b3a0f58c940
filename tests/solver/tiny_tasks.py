"""A hand-made task, and what the tests of tasks and of their sources share."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from solver.common.checks import InputError

PLAIN = {
    "train": [{"input": [[1, 2, 3]], "output": [[3], [2], [1]]}, {"input": [[4]], "output": [[5, 6], [7, 8]]}],
    "test": [{"input": [[0, 9]], "output": [[9], [0]]}, {"input": [[1]], "output": [[2]]}],
}


def plain(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(PLAIN) | changes


def unknown() -> dict[str, Any]:
    """The task as Kaggle's challenges hold it, without test outputs."""
    return plain(test=[{"input": [[0, 9]]}, {"input": [[1]]}])


def save(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def refusal(load: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        load()
    message = str(caught.value)
    assert message.isprintable(), "one line, no control characters"
    assert len(message) < 600
    assert "expected" in message
    assert "got" in message
    return message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["train", "test", "input", "output", "a", "", "\n"]), inner, max_size=4)
    ),
    max_leaves=30,
)
