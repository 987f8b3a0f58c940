"""candidates.json: the best grids for every test output with their votes, to rescore or merge.

    {task id: [[{"grid": grid, "votes": int, "halting": 0..1, "weight": number}, ... best first], ... one list for each
                test input, in order], ... every task}

Candidates are ranked by `weight`; a missing weight is the number of votes. In our own files a vote of the latest round
weighs 1, of the previous round 1/2. Everything but the grid is optional, since many solvers write a ranked list only.
A list is empty if no candidate is known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson

from solver.answers.run_json import check_run
from solver.answers.submission_json import KEYS, parse_attempts
from solver.answers.votes import CANDIDATE_KEYS, MOST_VOTES, Candidate, grid_key, to_item
from solver.common.checks import InputError, at_least, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically

FILE_NAME = "candidates.json"

Candidates: TypeAlias = dict[str, list[list[Candidate]]]
"""Task id -> for each of its test inputs, in order, the candidates, best first."""

_WANTED: dict[type, str] = {list: "a list of candidates, best first", dict: f"an object with {' and '.join(KEYS)}"}


def build(candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> bytes:
    """The file's bytes, with the first `most` candidates of each test output. Raises InputError as `read` would."""
    at_least("candidates", most, 1)
    document = {task_id: [[to_item(c) for c in one[:most]] for one in tests] for task_id, tests in candidates.items()}
    _parse(document, "candidates")
    return orjson.dumps(document)


def write(path: str | Path, candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> None:
    """Write the file atomically. On InputError, from `build` or from writing, the old file stays."""
    write_atomically(path, build(candidates, most))


def read(path: str | Path) -> Candidates:
    """The checked candidates in a candidates.json, a submission.json of any tool, or a run.json. Raises InputError.

    Two attempts become two ranked candidates, or one if they are equal. Missing votes are 0; see above for weights.
    """
    document, name = read_json(path), file_name(path)
    # A run.json has a "format". A task of that id would hold a list.
    if isinstance(document, dict) and not isinstance(document.get("format", []), list):
        tests: dict[str, object] = {}
        for task in check_run(document, name)["tasks"]:
            if task["id"] in tests:
                raise InputError(f"{name}: expected every task once, got {shown(task['id'])} twice")
            lists = [test["candidates"] for test in task["test"]]
            tests[task["id"]] = [[{key: c[key] for key in CANDIDATE_KEYS if key in c} for c in one] for one in lists]
        document = tests
    return _parse(document, name)


def _parse(document: object, name: str) -> Candidates:
    if not isinstance(document, dict) or not document:
        raise fault(name, "an object {task id: [candidates or attempts, ...]} with at least one task", document)
    result: Candidates = {}
    kind: type | None = None  # of all entries: list (candidates) or dict (attempts), as the first one
    for task_id, entries in document.items():
        where = f"{name}: task {shown(check_id(task_id, name))}"
        if not isinstance(entries, list) or not entries:
            known = "as in a submission, candidates.json or run.json"
            raise fault(where, f"a list of entries, one per test input, {known}", entries)
        kind = kind or type(entries[0])
        result[task_id] = [_parse_entry(entry, kind, f"{where}: [{index}]") for index, entry in enumerate(entries)]
    return result


def _parse_entry(entry: object, kind: type, where: str) -> list[Candidate]:
    """The candidates of one test output; `entry` must be of the same kind as the first of the file."""
    if type(entry) is not kind or kind not in _WANTED:
        raise fault(where, _WANTED.get(kind, " or ".join(_WANTED.values())), entry)
    if not isinstance(entry, list):
        first, second = (Candidate(grid, 0, 0.0) for grid in parse_attempts(entry, where))
        return [first] if np.array_equal(first.grid, second.grid) else [first, second]
    result: list[Candidate] = []
    places: dict[bytes, int] = {}  # grid -> index
    for index, item in enumerate(entry):
        result.append(_parse_candidate(item, entry[0], f"{where}[{index}]"))
        known = places.setdefault(grid_key(result[-1].grid), index)
        if known != index:
            raise InputError(f"{where}[{index}].grid: expected a grid of its own, got the one at {where}[{known}]")
    return result


def _parse_candidate(item: object, first: object, where: str) -> Candidate:
    """`first`: the first of the list. All must have its keys, since shares of votes need the votes of all."""
    if not isinstance(item, dict) or not isinstance(first, dict):
        raise fault(where, "a candidate (an object with a grid)", item)
    needed = [key for key in CANDIDATE_KEYS if key == "grid" or key in first]
    for key in needed:
        if key not in item:
            kind = "a number, as in the first candidate of the list" if key != "grid" else "a grid"
            raise InputError(f"{where}.{key}: expected {kind}, got none")
    for key in item:
        if key not in needed:
            more = ", as in the first candidate of the list" if key in CANDIDATE_KEYS else ""
            raise fault(where, f"{' and '.join(needed)} alone{more}", key)
    votes, halting = item.get("votes", 0), item.get("halting", 0.0)
    weight: Any = item.get("weight", votes)
    for key, value, most, kinds, wanted in (
        ("votes", votes, MOST_VOTES, int, "a whole number, 0 to 2^48"),
        ("halting", halting, 1, int | float, "a probability 0..1"),
        ("weight", weight, MOST_VOTES, int | float, "a number, 0 to 2^48"),
    ):
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value <= most:
            raise fault(f"{where}.{key}", wanted, value)
    return Candidate(parse_grid(item["grid"], f"{where}.grid"), votes, float(halting), float(weight))
