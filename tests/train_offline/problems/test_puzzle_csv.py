"""The reader of the published CSV files: what it takes and refuses."""

import os
from pathlib import Path

import pytest

from solver.common.checks import InputError
from train_offline.problems import puzzle_csv
from train_offline.problems.puzzle_csv import Notation, Rule, read_csv

HEADER = "source,question,answer,rating\n"
SAME = Rule("answer", "the letter of the question", lambda q, a: (q == 1) | (q == a))
MIXED = Rule("question", "two letters or more", lambda q, a: q.max(axis=(1, 2)) > q.min(axis=(1, 2)))
NOTATION = Notation({".": 1, "a": 2, "b": 3}, {"a": 2, "b": 3}, 4, 2, (SAME, MIXED))
GOOD = "x,ab.b,abab,3\n"


def save(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "p.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


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
    monkeypatch.setattr(puzzle_csv, "_CHUNK", 2)
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


@pytest.mark.parametrize("rating", ["", "hard", "nan", "inf"])
def test_ratings_are_not_read(tmp_path: Path, rating: str) -> None:
    assert len(read_csv(save(tmp_path, HEADER + f"x,ab.b,abab,{rating}\n"), NOTATION)) == 1


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
