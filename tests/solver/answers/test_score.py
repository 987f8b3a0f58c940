"""The three scores, counted again by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.answers.score import format_per_task, format_table, score
from solver.answers.submission_json import Attempts
from solver.common.checks import InputError


def grid(*cells: int) -> np.ndarray:
    return np.array([cells], dtype=np.uint8)


RIGHT, WRONG = grid(1, 2, 3), grid(1, 2, 4)
FIRST, SECOND, BOTH, NONE = (RIGHT, WRONG), (WRONG, RIGHT), (RIGHT, RIGHT), (WRONG, WRONG)

# Right: a 1 of 1, b 1 of 3, c 0 of 2, d 2 of 2. By hand: outputs 4 of 8; mean (1 + 1/3 + 0 + 1) / 4; all right 2 of 4.
ANSWERS: dict[str, list[Attempts]] = {"d": [BOTH, FIRST], "a": [SECOND], "b": [NONE, FIRST, NONE], "c": [NONE, NONE]}
TRUTHS = {"a": [RIGHT], "b": [RIGHT] * 3, "c": [RIGHT] * 2, "d": [RIGHT] * 2}


def test_the_json_has_kaggles_score_first_and_is_rounded() -> None:
    document = score(ANSWERS, TRUTHS).to_json()
    assert list(document) == ["test_outputs", "tasks_mean", "tasks_all"]
    assert document == {
        "test_outputs": {"correct": 4, "total": 8, "score": 0.5},
        "tasks_mean": {"correct": 2.3333, "total": 4, "score": 0.5833},
        "tasks_all": {"correct": 2, "total": 4, "score": 0.5},
    }
    many = {str(index): [FIRST if index < 59 else NONE] for index in range(172)}
    assert score(many, {task_id: [RIGHT] for task_id in many}).to_json()["test_outputs"] == {
        "correct": 59,
        "total": 172,
        "score": 0.343,
    }


def test_per_task_rows_tell_which_attempt_hit() -> None:
    rows = {row.id: (row.right, row.total, row.hits) for row in score(ANSWERS, TRUTHS).per_task}
    assert rows == {
        "a": (1, 1, (2,)),
        "b": (1, 3, (None, 1, None)),
        "c": (0, 2, (None, None)),
        "d": (2, 2, (1, 1)),
    }


def test_thirds_add_up_to_a_whole() -> None:
    answers = {name: [FIRST if name == hit else NONE for hit in "xyz"] for name in "xyz"}
    assert score(answers, {name: [RIGHT] * 3 for name in answers}).tasks_mean.correct == 1.0


@pytest.mark.parametrize("near", [WRONG, RIGHT.T, RIGHT[:, :2], grid(1, 2, 3, 3), np.vstack([RIGHT, RIGHT])])
def test_only_an_exact_grid_is_right(near: np.ndarray) -> None:
    assert score({"a": [(near, near)]}, {"a": [RIGHT]}).test_outputs.correct == 0


@settings(max_examples=50)
@given(rows=st.lists(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_any_pattern_of_hits_is_counted(rows: list[list[int]]) -> None:
    pairs = {0: NONE, 1: FIRST, 2: SECOND}
    answers = {str(index): [pairs[hit] for hit in row] for index, row in enumerate(rows)}
    result = score(answers, {str(index): [RIGHT] * len(row) for index, row in enumerate(rows)})
    assert result.test_outputs.correct == sum(hit > 0 for row in rows for hit in row)
    assert result.tasks_all.correct == sum(all(row) for row in rows)
    assert result.tasks_mean.score == pytest.approx(np.mean([np.mean([hit > 0 for hit in row]) for row in rows]))
    assert result.tasks_all.score <= result.tasks_mean.score + 1e-12


@pytest.mark.parametrize(
    ("answers", "truths", "words"),
    [
        ({"a": [FIRST]}, TRUTHS, ["1 answered and 4 known", "'b'", "not answered"]),
        (ANSWERS, {"a": [RIGHT], "d": [RIGHT] * 2}, ["4 answered and 2 known", "not known"]),
        ({"a": [FIRST]}, {"z": [RIGHT]}, ["1 answered and 1 known", "'z'"]),
        ({}, {}, ["at least one task"]),
        (ANSWERS, {}, ["at least one task", "4 answered"]),
        ({"a": [FIRST, FIRST]}, {"a": [RIGHT]}, ["task 'a'", "expected 1", "for 2"]),
        ({"a": []}, {"a": []}, ["task 'a'", "expected 0"]),
        ({}, {"a\n": [RIGHT]}, [r"'a\n'"]),
    ],
)
def test_other_tasks_than_the_known_ones_are_refused(
    answers: dict[str, list[Attempts]], truths: dict[str, list[np.ndarray]], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        score(answers, truths)
    assert str(caught.value).isprintable()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_table_names_the_three_in_words() -> None:
    lines = format_table(score(ANSWERS, TRUTHS)).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "Kaggle's score: share of test outputs",
        "mean over tasks of each task's share",
        "share of tasks with all outputs right",
    ]
    assert [line.split()[-1] for line in lines] == ["50.0%", "58.3%", "50.0%"]
    assert "4 of 8" in lines[0]
    assert "2.33333 of 4" in lines[1]
    assert "2 of 4" in lines[2]
    assert len({line.index(" of ", 40) for line in lines}) == 1, "columns line up"


def test_the_per_task_table() -> None:
    table = format_per_task(score(ANSWERS, TRUTHS))
    assert [line.split() for line in table.splitlines()] == [
        ["task", "right", "total", "attempt", "that", "hit"],
        ["a", "1", "1", "2"],
        ["b", "1", "3", "-", "1", "-"],
        ["c", "0", "2", "-", "-"],
        ["d", "2", "2", "1", "1"],
    ]
