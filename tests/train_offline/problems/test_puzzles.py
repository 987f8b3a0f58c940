"""Sets of puzzles, drawing distinct ones, and the reader of the published CSV files: what it takes and refuses."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.common.checks import InputError
from train_offline.problems import puzzles
from train_offline.problems.puzzles import Notation, Puzzles, Rule, draw_distinct, read_csv, row_keys

HEADER = "source,question,answer,rating\n"
SAME = Rule("answer", "the letter of the question", lambda q, a: (q == 1) | (q == a))
MIXED = Rule("question", "two letters or more", lambda q, a: q.max(axis=(1, 2)) > q.min(axis=(1, 2)))
NOTATION = Notation({".": 1, "a": 2, "b": 3}, {"a": 2, "b": 3}, 4, 2, (SAME, MIXED))
GOOD = "x,ab.b,abab,3\n"


def save(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "p.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def some(count: int) -> Puzzles:
    inputs = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
    return Puzzles(inputs, inputs + np.uint8(1), 256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((2, 3, 3), np.uint8)}, "labels: expected shape (2, 2, 3), got (2, 3, 3)"),
        ({"labels": np.zeros((2, 2, 3), int)}, "labels: expected uint8 tokens of shape (K, H, W), got int64 of shape"),
        ({"inputs": np.zeros((2, 6), np.uint8)}, "inputs: expected uint8 tokens of shape (K, H, W), got uint8 of"),
        ({"vocabulary": 11}, "inputs: expected tokens below 11, got 11"),
        ({"vocabulary": 12}, "labels: expected tokens below 12, got 12"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    two = some(2)
    with pytest.raises(InputError, match=re.escape(f"puzzles: {message}")):
        Puzzles(**{"inputs": two.inputs, "labels": two.labels, "vocabulary": 256, **change})


def test_some_of_the_puzzles() -> None:
    five = some(5)
    assert len(five) == 5
    for index in (np.array([3, 0]), np.array([False, True, True, False, False]), slice(1, 3), slice(0, 0)):
        part = five.at(index)
        np.testing.assert_array_equal(part.inputs, five.inputs[index])
        np.testing.assert_array_equal(part.labels, five.labels[index])
        assert part.vocabulary == 256


@settings(max_examples=50)
@given(rows=st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), max_size=12))
def test_keys_are_equal_where_grids_are(rows: list[list[int]]) -> None:
    keys = row_keys(np.array(rows, dtype=np.uint8).reshape(-1, 2, 2))
    assert keys.shape == (len(rows),)
    equal = [[bool(a == b) for b in keys] for a in keys]
    assert equal == [[a == b for b in rows] for a in rows]


def test_failures_and_repetitions_are_drawn_again() -> None:
    drawn = iter([7, 7, 5, 6, 5, 8, 9])
    asked: list[list[int]] = []

    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(slots.tolist())
        inputs = np.array([next(drawn) for _ in slots], dtype=np.uint8).reshape(-1, 1, 1)
        return inputs, inputs + np.uint8(1), inputs[:, 0, 0] != 8

    inputs, labels = draw_distinct(4, 1, attempt, str)
    assert inputs.ravel().tolist() == [7, 9, 5, 6]  # slot 1 drew 7, 5, 8 (not usable) and then 9
    assert labels.ravel().tolist() == [8, 10, 6, 7]
    assert asked == [[0, 1, 2, 3], [1], [1], [1]]


def test_drawing_ends_when_nothing_new_comes() -> None:
    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs = (slots % 3).astype(np.uint8).reshape(-1, 1, 1)
        return inputs, inputs, np.ones(len(slots), dtype=bool)

    with pytest.raises(InputError, match=r"slots \[3 4\]: expected 2 more, unlike the 3 found, got none in 2000 att"):
        draw_distinct(5, 1, attempt, lambda slots: f"slots {slots}")
    with pytest.raises(InputError, match="count: expected 1 or more, got 0"):
        draw_distinct(0, 1, attempt, str)


def test_a_file_as_published(tmp_path: Path) -> None:
    result = read_csv(save(tmp_path, HEADER + GOOD + '"z, é",b..a,baba,0\n'), NOTATION)
    assert result.inputs.tolist() == [[[2, 3], [1, 3]], [[3, 1], [1, 2]]]
    assert result.labels.tolist() == [[[2, 3], [2, 3]], [[3, 2], [3, 2]]]
    assert result.vocabulary == 4


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + (HEADER + GOOD).encode(),
        (HEADER + GOOD).replace("\n", "\r\n").encode(),
        (HEADER + "\n" + GOOD + "\n\n").encode(),
        (HEADER + GOOD).rstrip().encode(),
    ],
    ids=["byte order mark", "line ends of Windows", "empty lines", "no last line end"],
)
def test_small_liberties_are_accepted(tmp_path: Path, text: bytes) -> None:
    assert len(read_csv(save(tmp_path, text), NOTATION)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header source,question,answer,rating, got an empty file"),
        ("question,answer\nab.b,abab\n", "line 1: expected the header source,question,answer,rating, got 'question,"),
        (HEADER, "expected at least one puzzle, got none"),
        (HEADER + GOOD + "x,ab.b,abab\n", "line 3: expected 4 fields, got 3"),
        (HEADER + GOOD + "x,ab.b,abab,1,2\n", "line 3: expected 4 fields, got 5"),
        (HEADER + GOOD + "x,ab.,abab,1\n", "line 3, column question: expected 4 characters, got 3"),
        (HEADER + GOOD + "x,ab.b,ababa,1\n", "line 3, column answer: expected 4 characters, got 5"),
        (HEADER + GOOD + "x,abcb,abab,1\n", "line 3, column question, character 3: expected one of '.ab', got 'c'"),
        (HEADER + GOOD + "x,ab.b,aba.,1\n", "line 3, column answer, character 4: expected one of 'ab', got '.'"),
        (HEADER + GOOD + "x,ab☃b,abab,1\n", "line 3, column question, character 3: expected one of '.ab', got '☃'"),
        (HEADER + GOOD + "x,ab\0b,abab,1\n", "line 3"),  # Python 3.10's csv refuses it, later ones hand it on
        (HEADER + GOOD + "x,ab.b,aaab,1\n", "character 2: expected the letter of the question, got 'a'"),
        (HEADER + GOOD + "x,....,aaab,1\n", "line 3, column question: expected two letters or more, got '....'"),
        (HEADER + GOOD + 'x,"ab.b,abab,1\n', "line 3: expected CSV, got: unexpected end of data"),
        (HEADER + GOOD + "x,ab.b\rx,abab,1\n", "line 3: expected CSV, got: new-line character seen"),
        (HEADER + GOOD + "x" * 2**17 + ",ab.b,abab,1\n", "line 3: expected at most 131072 bytes, got more"),
        (HEADER.encode() + GOOD.encode() + b"\xff,ab.b,abab,1\n", "line 3: expected UTF-8 text, got byte 0xff at off"),
    ],
)
def test_every_fault_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = save(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_csv(path, NOTATION)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_line_is_named_in_a_later_chunk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puzzles, "_CHUNK", 2)
    assert len(read_csv(save(tmp_path, HEADER + 5 * GOOD), NOTATION)) == 5
    path = save(tmp_path, HEADER + 3 * GOOD + "x,ab.b,abaa,1\n")
    with pytest.raises(InputError, match="line 5, column answer, character 4: expected the letter of the question"):
        read_csv(path, NOTATION)


def test_limit_leaves_the_rest_unread(tmp_path: Path) -> None:
    path = save(tmp_path, (HEADER + 2 * GOOD).encode() + b"\xff\xff\n")
    assert len(read_csv(path, NOTATION, limit=2)) == 2
    with pytest.raises(InputError, match="line 4: expected UTF-8"):
        read_csv(path, NOTATION, limit=3)
    with pytest.raises(InputError, match="limit: expected 1 or more, got 0"):
        read_csv(path, NOTATION, limit=0)


def test_only_the_harder_ones(tmp_path: Path) -> None:
    path = save(tmp_path, HEADER + GOOD + "x,b...,baaa,4.5\n" + "x,a...,abbb,4\n")
    assert read_csv(path, NOTATION, minimum_rating=4).inputs[:, 0, 0].tolist() == [3, 2]
    assert read_csv(path, NOTATION, limit=1, minimum_rating=4).inputs[:, 0, 0].tolist() == [3]
    with pytest.raises(InputError, match="expected at least one puzzle rated 5 or more, got none"):
        read_csv(path, NOTATION, minimum_rating=5)


@pytest.mark.parametrize("rating", ["", "hard", "nan", "inf"])
def test_a_rating_that_is_none_matters_only_when_ratings_do(tmp_path: Path, rating: str) -> None:
    path = save(tmp_path, HEADER + f"x,ab.b,abab,{rating}\n")
    assert len(read_csv(path, NOTATION)) == 1
    with pytest.raises(InputError, match=f"line 2, column rating: expected a number, got '{rating}'"):
        read_csv(path, NOTATION, minimum_rating=0)


def test_the_first_puzzle_may_set_the_side(tmp_path: Path) -> None:
    free = Notation(NOTATION.question, NOTATION.answer, 4, None, ())
    assert read_csv(save(tmp_path, HEADER + "x,ab.b.a...,abababaab,\n"), free).inputs.shape == (1, 3, 3)
    for question, message in [("ab.", "as a square has cells, got 3"), ("", "as a square has cells, got 0")]:
        path = save(tmp_path, HEADER + f"x,{question},{question},\n")
        with pytest.raises(InputError, match=f"line 2, column question: expected as many characters {message}"):
            read_csv(path, free)
    with pytest.raises(InputError, match="line 3, column question: expected 4 characters, got 9"):
        read_csv(save(tmp_path, HEADER + GOOD + "x,ab.b.a...,abababaab,\n"), free)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path / "none.csv", "none.csv: expected a readable file, got: No such file"),
        (tmp_path, "expected a regular file, got a folder"),
        (tmp_path / "pipe", "expected a regular file, got a folder, device, pipe or socket"),
        ("a\0b", "expected a readable file, got: embedded null byte"),
    ]:
        with pytest.raises(InputError, match=message):
            read_csv(path, NOTATION)
