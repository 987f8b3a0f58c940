"""Tasks and grids: what they promise, and every fault refused in one line that names the place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.common.checks import one_line, parse_grid, shown
from solver.tasks.load import load_tasks
from solver.tasks.task import Pair, Task, parse_task, without_test_outputs
from tests.solver.tiny_tasks import PLAIN, VALUES, plain, refusal, save, unknown


def grid(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


# --- Pair and Task


def test_a_pair_is_a_read_only_copy() -> None:
    mine = grid([[1, 2], [3, 4]])
    pair = Pair(mine, mine[:, :1])
    mine[0, 0] = 9
    assert pair.input.tolist() == [[1, 2], [3, 4]]
    assert pair.output is not None
    for array in (pair.input, pair.output):
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros(3, np.uint8)])
def test_a_pair_of_anything_but_uint8_grids_is_a_programming_fault(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        Pair(bad, None)


def test_pairs_and_tasks_are_equal_by_content() -> None:
    assert parse_task("a", plain(), "x") == parse_task("a", plain(), "y")
    assert hash(parse_task("a", plain(), "x")) == hash(parse_task("a", plain(), "y"))
    assert parse_task("a", plain(), "x") != parse_task("b", plain(), "x")
    assert parse_task("a", plain(), "x") != parse_task("a", unknown(), "x")
    assert Pair(grid([[1, 2]]), None) != Pair(grid([[1], [2]]), None)
    assert Pair(grid([[1]]), None) != "a pair"


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_task_needs_demonstrations_and_tests(part: str) -> None:
    pairs = {"train": (Pair(grid([[1]]), grid([[2]])),), "test": (Pair(grid([[1]]), None),)}
    Task("a", **pairs)
    with pytest.raises(ValueError, match="'a'"):
        Task("a", **(pairs | {part: ()}))
    with pytest.raises(ValueError, match="'a'"):
        Task("a", **(pairs | {"train": pairs["test"]}))


def test_the_digest_is_of_the_demonstrations_alone() -> None:
    task = parse_task("a", plain(), "x")
    assert task.digest == parse_task("b", unknown(), "x").digest
    assert len(task.digest) == 16
    assert set(task.digest) <= set("0123456789abcdef")
    other_cell = plain()
    other_cell["train"][0]["output"][0][0] = 4
    other_shape = plain()
    other_shape["train"][0]["output"] = [[3, 2, 1]]
    other_order = plain(train=PLAIN["train"][::-1])
    digests = {parse_task("a", document, "x").digest for document in (plain(), other_cell, other_shape, other_order)}
    assert len(digests) == 4


def test_the_digest_never_changes() -> None:
    """It is stored in checkpoints; a new value would throw their embeddings away."""
    assert parse_task("a", plain(), "x").digest == "25d83b3de509b7a4"


def test_without_test_outputs_keeps_the_rest() -> None:
    task = parse_task("a", plain(), "x")
    assert without_test_outputs(task) == parse_task("a", unknown(), "x")
    assert task.test[0].output is not None


# --- faults of tasks: (what, words of the message)


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = plain()
    change(document)
    return document


def cell(value: object) -> dict[str, Any]:
    return broken(lambda d: d["train"][1]["output"][1].__setitem__(0, value))


def asking(value: object) -> dict[str, Any]:
    return plain(test=[{"input": [[1]]}, {"input": value}])


CELL = "train[1].output[1][0]"
BAD_TASKS = {
    "float": (cell(1.0), [CELL, "integer 0..9", "got 1.0"]),
    "ten": (cell(10), [CELL, "got 10"]),
    "escapes": (cell("\x1b[31m\n\u2028"), [CELL, r"\x1b[31m\n\u2028"]),
    "empty grid": (asking([]), ["test[1].input", "1 to 30 rows", "got 0 rows"]),
    "empty row": (asking([[]]), ["test[1].input[0]", "1 to 30 cells", "got 0 cells"]),
    "31 rows": (asking([[1]] * 31), ["test[1].input", "got 31 rows"]),
    "31 columns": (asking([[1] * 31]), ["test[1].input[0]", "got 31 cells"]),
    "ragged": (asking([[1, 2], [3, 4], [5]]), ["test[1].input[2]", "2 cells", "got 1 cells"]),
    "row is no list": (asking([[1], 2]), ["test[1].input[1]", "a row", "got 2"]),
    "flat": (asking([1, 2]), ["test[1].input[0]", "a row", "got 1"]),
    "grid is no list": (asking("1 2"), ["test[1].input", "a grid", "got '1 2'"]),
    "no demonstration": (plain(train=[]), ["train", "at least one", "got []"]),
    "no train": ({"test": PLAIN["test"]}, ["train", "got none"]),
    "no test": ({"train": PLAIN["train"]}, ["test", "got none"]),
    "no test input": (plain(test=[]), ["test", "at least one", "got []"]),
    "train is an object": (plain(train={"0": 1}), ["train", "a list", "'0'"]),
    "pair is a list": (broken(lambda d: d["train"].__setitem__(1, [1])), ["train[1]", "a pair", "got [1]"]),
    "demonstration without output": (broken(lambda d: d["train"][1].pop("output")), ["train[1].output", "got none"]),
    "demonstration with null": (
        broken(lambda d: d["train"][1].__setitem__("output", None)),
        ["train[1].output", "got none"],
    ),
    "pair without input": (broken(lambda d: d["test"][1].pop("input")), ["test[1].input", "got none"]),
    "false output": (broken(lambda d: d["test"][1].__setitem__("output", False)), ["test[1].output", "got False"]),
}


@pytest.mark.parametrize("name", BAD_TASKS)
def test_a_bad_task_is_named_with_file_task_and_place(name: str, tmp_path: Path) -> None:
    document, words = BAD_TASKS[name]
    sources = [save(tmp_path / "challenges.json", {"good": plain(), "my task": document})]
    if name not in ("no train", "no test", "train is an object"):
        sources.append(save(tmp_path / "my task.json", document))
    for path in sources:
        message = refusal(lambda path=path: load_tasks(path))  # type: ignore[misc]
        assert message.startswith(f"{path}: task 'my task': ")
        assert all(word in message for word in words), message


@settings(max_examples=100)
@given(value=VALUES)
def test_a_grid_is_returned_exactly_when_it_is_one(value: object) -> None:
    """Against the definition, written out slowly."""
    valid = (
        isinstance(value, list)
        and 1 <= len(value) <= 30
        and all(isinstance(row, list) and 1 <= len(row) <= 30 and len(row) == len(value[0]) for row in value)
        and all(type(item) is int and 0 <= item <= 9 for row in value for item in row)
    )
    if valid:
        assert parse_grid(value, "here").tolist() == value
    else:
        assert refusal(lambda: parse_grid(value, "here")).startswith("here")


def test_grids_in_numpy_arrays_are_held_to_the_same_rules() -> None:
    assert parse_grid(np.ones((2, 3), np.int64), "here").shape == (2, 3)
    for bad in (np.ones((2, 3)), np.ones(3, int), np.array(3), np.ones((2, 0), int), np.ones((0, 2), int)):
        refusal(lambda bad=bad: parse_grid(bad, "here"))  # type: ignore[misc]
    for bad in (np.full((2, 2), 10), np.ones((2, 2), bool), np.ones((31, 1), int), np.ones((2, 2, 2), int)):
        refusal(lambda bad=bad: parse_grid(bad, "here"))  # type: ignore[misc]


@settings(max_examples=100)
@given(text=st.text())
def test_one_line_escapes_and_keeps_the_printable(text: str) -> None:
    assert one_line(text).isprintable()
    assert not text.isprintable() or one_line(text) == text
    assert len(shown(text)) <= 60


def test_shown_survives_what_python_cannot_print() -> None:
    assert "int" in shown(10**5000)
    assert len(shown([[10**100] * 100] * 100)) <= 60
