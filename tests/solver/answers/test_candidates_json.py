"""candidates.json: what is written is read back, ranked lists, submissions and runs are read, the rest is refused."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from solver.answers.candidates_json import MOST_VOTES, build, read, write
from solver.answers.outcome import Outcome
from solver.answers.run_json import write_record
from solver.answers.votes import Block, Candidate, Votes, ranked
from submission.merge import merge
from tests.solver import documents
from tests.solver.samples import TALL
from tests.solver.tiny_tasks import refusal, save

VOTED: dict[str, list[list[dict[str, Any]]]] = {
    "a": [
        [{"grid": [[1, 2]], "votes": 7, "halting": 0.75}, {"grid": [[3]], "votes": 0, "halting": 0}],
        [],
    ],
    "b": [[{"grid": [[9], [8]]}, {"grid": [[9, 8]]}, {"grid": [[7]]}]],
}
SUBMISSION = {
    "a": [{"attempt_1": [[1, 2]], "attempt_2": [[3]]}, {"attempt_1": [[0]], "attempt_2": [[0]]}],
    "format": [{"attempt_1": [[9], [8]], "attempt_2": [[9, 8]]}],
}
PAIR = {"input": [[4]], "output": [[5]]}
RUN: dict[str, Any] = {
    "format": 1,
    "source": "x.json",
    "preset": "tiny",
    "seconds": {"fit": 1.0},
    "seed": 0,
    "notes": [],
    "score": None,
    "baseline": None,
    "tasks": [
        {
            "id": name,
            "train": [PAIR],
            "test": [
                {"input": [[4]], "truth": None, "attempts": [[[1, 2]], [[3]]], "votes": 9, "candidates": one}
                for one in tests
            ],
        }
        for name, tests in (("a", VOTED["a"]), ("format", list[Any]([[]])))
    ],
}


def grid(row: str) -> np.ndarray:
    """A grid of one row, written as digits."""
    return np.array([[int(digit) for digit in row]], np.uint8)


def plain(candidates: dict[str, list[list[Candidate]]]) -> dict[str, Any]:
    """As JSON would hold it, so that it can be compared."""
    return {
        task: [[(c.grid.tolist(), c.votes, c.halting) for c in one] for one in tests]
        for task, tests in candidates.items()
    }


def changed(path: tuple[Any, ...], value: object, document: object = VOTED) -> Any:
    """A copy with one place overwritten, or removed where `value` is ..."""
    return documents.changed(path, value, document)


def test_candidates_are_read_with_and_without_votes(tmp_path: Path) -> None:
    result = read(save(tmp_path / "c.json", VOTED))
    assert plain(result) == {
        "a": [[([[1, 2]], 7, 0.75), ([[3]], 0, 0.0)], []],
        "b": [[([[9], [8]], 0, 0.0), ([[9, 8]], 0, 0.0), ([[7]], 0, 0.0)]],
    }
    first = result["a"][0][0]
    assert (first.weight, type(first.halting), first.grid.dtype) == (7, float, np.uint8)
    for one in (*result["a"], *result["b"]):
        assert ranked(one) == one, "ranking them again keeps the order"


def test_votes_and_halting_may_be_missing_one_without_the_other(tmp_path: Path) -> None:
    document = {"a": [[{"grid": [[1]], "votes": 3}, {"grid": [[2]], "votes": 2}], [{"grid": [[1]], "halting": 1}]]}
    assert plain(read(save(tmp_path / "c.json", document))) == {
        "a": [[([[1]], 3, 0.0), ([[2]], 2, 0.0)], [([[1]], 0, 1.0)]]
    }


def test_a_submission_is_two_ranked_candidates_or_one(tmp_path: Path) -> None:
    assert plain(read(save(tmp_path / "s.json", SUBMISSION))) == {
        "a": [[([[1, 2]], 0, 0.0), ([[3]], 0, 0.0)], [([[0]], 0, 0.0)]],
        "format": [[([[9], [8]], 0, 0.0), ([[9, 8]], 0, 0.0)]],  # equal cells, another shape
    }


def test_a_run_gives_the_candidates_that_it_records(tmp_path: Path) -> None:
    result = read(save(tmp_path / "any name.json", RUN))
    assert plain(result) == {"a": [[([[1, 2]], 7, 0.75), ([[3]], 0, 0.0)], []], "format": [[]]}
    more = changed(("tasks", 0, "test", 0, "candidates", 0, "colour"), "new", RUN)  # records may learn new keys
    assert plain(read(save(tmp_path / "r.json", more))) == plain(result)


grids = arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 9))
one_candidate = st.builds(Candidate, grids, st.integers(0, MOST_VOTES), st.floats(0, 1))
lists = st.lists(one_candidate, max_size=4, unique_by=lambda c: (c.grid.shape, c.grid.tobytes()))


@settings(max_examples=40)
@given(tests=st.lists(lists, min_size=1, max_size=3), most=st.integers(1, 5))
def test_any_candidates_travel_unchanged(
    tests: list[list[Candidate]], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "candidates round.json"
    write(path, {"a": tests, "b": tests[:1]}, most)
    best = [one[:most] for one in tests]
    assert plain(read(path)) == plain({"a": best, "b": best[:1]})
    assert build(read(path), most) == path.read_bytes()


def test_the_file_holds_the_best_alone(tmp_path: Path) -> None:
    voted = [Candidate(grid("12"), 5, 0.5, 5.0), Candidate(grid("3"), 4, 0.25, 4.0)]
    path = tmp_path / "new" / "candidates.json"
    write(path, {"a": [voted, []]}, 1)
    assert json.loads(path.read_bytes()) == {"a": [[{"grid": [[1, 2]], "votes": 5, "halting": 0.5, "weight": 5.0}], []]}
    assert [file.name for file in path.parent.iterdir()] == ["candidates.json"]


def test_a_run_merged_alone_is_itself_whatever_its_rounds(tmp_path: Path) -> None:
    """Early votes are many but weigh little: files must say so, or others would rank them first."""
    one, two, three = (Candidate(grid(cell), votes, 0.5) for cell, votes in (("1", 9), ("2", 3), ("3", 2)))
    votes = Votes([TALL])
    votes.add(Block((TALL.id, 0), 0, [one]))
    votes.add(Block((TALL.id, 0), 4, [two, three]))
    write(tmp_path / "candidates.json", votes.ranked(), 3)
    write_record(tmp_path, [TALL], Outcome(votes), "sample", "hand-made", 0)
    for name in ("candidates.json", "run.json"):
        again = merge([read(tmp_path / name)], [1.0])
        assert [c.grid.item() for c in again[TALL.id][0]] == [2, 3, 1]
        assert [c.weight for c in read(tmp_path / name)[TALL.id][0]] == [3, 2, 9 / 16]


A0 = "task 'a': [0]"
LISTS = "a list of candidates, best first"
REFUSED = {
    "no object": ([VOTED], ["an object"]),
    "no task": ({}, ["at least one task"]),
    "bad id": ({"a|||b": VOTED["a"]}, ["task id", "a|||b"]),
    "unprintable id": ({"a\nb": VOTED["a"]}, ["task id"]),
    "tests no list": (changed(("a",), {}), ["task 'a'", "one per test input"]),
    "no test": (changed(("a",), []), ["task 'a'", "got []"]),
    "a challenges file": ({"a": {"train": [PAIR], "test": [PAIR]}}, ["task 'a'", "one per test input"]),
    "a solutions file": ({"a": [[[1, 2]]]}, [f"{A0}[0]", "a candidate", "got [1, 2]"]),
    "number": (changed(("a", 0), 5), [A0, "attempt_1", LISTS, "got 5"]),
    "null": (changed(("a", 1), None), ["task 'a': [1]", LISTS, "got None"]),
    "attempts among lists": (changed(("b", 0), SUBMISSION["a"][0]), ["task 'b': [0]", LISTS]),
    "lists among attempts": (changed(("a", 1), [], SUBMISSION), ["task 'a': [1]", "attempt_1 and attempt_2"]),
    "candidate no object": (changed(("b", 0, 1), [[1]]), ["task 'b': [0][1]", "a candidate", "got [[1]]"]),
    "no grid": (changed(("a", 0, 1, "grid"), ...), [f"{A0}[1].grid", "got none"]),
    "bad grid": (changed(("b", 0, 2, "grid"), [[1, 10]]), ["task 'b': [0][2].grid[0][1]", "got 10"]),
    "same grid": (changed(("b", 0, 2, "grid"), [[9], [8]]), ["task 'b': [0][2].grid", "task 'b': [0][0]"]),
    "votes missing": (changed(("a", 0, 1, "votes"), ...), [f"{A0}[1].votes", "as in the first", "got none"]),
    "votes new": (changed(("b", 0, 1, "votes"), 2), ["task 'b': [0][1]", "as in the first", "got 'votes'"]),
    "halting missing": (changed(("a", 0, 1, "halting"), ...), [f"{A0}[1].halting", "got none"]),
    "negative votes": (changed(("a", 0, 1, "votes"), -1), [f"{A0}[1].votes", "got -1"]),
    "float votes": (changed(("a", 0, 1, "votes"), 1.0), [f"{A0}[1].votes", "got 1.0"]),
    "true votes": (changed(("a", 0, 1, "votes"), True), [f"{A0}[1].votes", "got True"]),
    "null votes": (changed(("a", 0, 1, "votes"), None), [f"{A0}[1].votes", "got None"]),
    "huge votes": (changed(("a", 0, 1, "votes"), 2**48 + 1), [f"{A0}[1].votes", "2^48"]),
    "halting low": (changed(("a", 0, 0, "halting"), -0.01), [f"{A0}[0].halting", "0..1", "got -0.01"]),
    "halting high": (changed(("a", 0, 0, "halting"), 1.01), [f"{A0}[0].halting", "got 1.01"]),
    "halting word": (changed(("a", 0, 0, "halting"), "1"), [f"{A0}[0].halting", "got '1'"]),
    "halting true": (changed(("a", 0, 0, "halting"), True), [f"{A0}[0].halting", "got True"]),
    "unknown key": (changed(("a", 0, 0, "score"), 1), [f"{A0}[0]", "grid and votes and halting alone", "'score'"]),
    "attempt missing": (changed(("a", 1, "attempt_2"), ..., SUBMISSION), ["task 'a': [1].attempt_2", "got none"]),
    "attempt_3": (changed(("a", 1, "attempt_3"), [[0]], SUBMISSION), ["task 'a': [1]", "'attempt_3'"]),
    "attempt bad": (changed(("a", 1, "attempt_2"), [[]], SUBMISSION), ["task 'a': [1].attempt_2[0]", "0 cells"]),
    "run of later": (changed(("format",), 2, RUN), ["format", "got 2"]),
    "run broken": (changed(("tasks", 0, "test", 0, "votes"), -1, RUN), ["tasks[0]", "votes", "got -1"]),
    "run task twice": (changed(("tasks", 1, "id"), "a", RUN), ["'a' twice"]),
    "run bad id": (changed(("tasks", 1, "id"), "", RUN), ["task id"]),
    "run no test": (changed(("tasks", 1, "test"), [], RUN), ["task 'format'", "one per test input"]),
    "run same grid": (
        changed(("tasks", 0, "test", 0, "candidates", 1, "grid"), [[1, 2]], RUN),
        [f"{A0}[1].grid", f"{A0}[0]"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_candidates_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    document, words = REFUSED[name]
    path = tmp_path / "c.json"
    path.write_bytes(orjson.dumps(document))
    message = refusal(lambda: read(path))
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in words), message


GOOD = Candidate(grid("12"), 2, 0.5)
BAD: dict[str, dict[str, list[list[Candidate]]]] = {
    "no task": {},
    "no test": {"a": []},
    "id": {"": [[GOOD]]},
    "same grid": {"a": [[GOOD, GOOD]]},
    "empty grid": {"a": [[Candidate(np.zeros((0, 0), np.uint8), 1, 0.5)]]},
    "colour 10": {"a": [[Candidate(np.full((1, 1), 10, np.uint8), 1, 0.5)]]},
    "negative votes": {"a": [[Candidate(grid("1"), -1, 0.5)]]},
    "halting": {"a": [[Candidate(grid("1"), 1, float("nan"))]]},
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_written_that_would_not_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "candidates.json"
    write(path, {"a": [[GOOD]]}, 1)
    before = path.read_bytes()
    assert refusal(lambda: write(path, BAD[name], 5)).startswith("candidates: ")
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_list_of_very_many_candidates_takes_no_more_than_its_size(tmp_path: Path) -> None:
    count = 50_000
    cells = [[int(digit) for digit in f"{number:05}"] for number in range(count)]
    path = save(tmp_path / "many.json", {"a": [[{"grid": [row]} for row in cells]]})
    start = time.process_time()
    assert len(read(path)["a"][0]) == count
    assert time.process_time() - start < 60, "0.5 s of CPU time; comparing each with each takes many minutes"
