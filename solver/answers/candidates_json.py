"""candidates.json: the best grids for every test output with their votes, to rescore or merge.

    {task id: [[{"grid": grid, "votes": int, "halting": 0..1, "weight": number}, ... best first], ... one list for each
                test input, in order], ... every task}

Candidates are ranked by `weight`; a missing weight is the number of votes. In our own files a vote of the latest round
weighs 1, of the previous round 1/2. Everything but the grid is optional, since many solvers write a ranked list only.
A list is empty if no candidate is known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import orjson

from solver.answers.run_json import check_run
from solver.answers.submission_json import KEYS as ATTEMPT_KEYS
from solver.answers.votes import CANDIDATE_KEYS, Candidate, grid_key, to_item
from solver.common.checks import InputError, at_least, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically

FILE_NAME = "candidates.json"
MOST_VOTES = 2**48  # per candidate; sums stay within the 64 bits that orjson writes

Candidates: TypeAlias = dict[str, list[list[Candidate]]]
"""Task id -> for each of its test inputs, in order, the candidates, best first."""

_WANTED: dict[type, str] = {
    list: "a list of candidates, best first",
    dict: f"an object with {' and '.join(ATTEMPT_KEYS)}",
}


def build(candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> bytes:
    """The file's bytes, with the first `most` candidates of each test output. Raises InputError as `read` would."""
    at_least("candidates", most, 1)
    document = {task_id: [[to_item(c) for c in one[:most]] for one in tests] for task_id, tests in candidates.items()}
    _parse(document, "candidates")
    return orjson.dumps(document)


def write(path: str | Path, candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> None:
    """Write the file atomically.

    Raises InputError as `build` does, or if the file cannot be written; the old file then stays.
    """
    write_atomically(path, build(candidates, most))


def read(path: str | Path) -> Candidates:
    """The checked candidates in a candidates.json, a submission.json of any tool, or a run.json.

    A submission's two attempts become two ranked candidates, or one if they are equal. Missing votes are 0; a missing
    weight is the number of votes. Raises InputError that names file, task, test and place.
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
    if type(entry) is kind and isinstance(entry, list):
        return _parse_list(entry, where)
    if type(entry) is kind and isinstance(entry, dict):
        return _parse_attempts(entry, where)
    raise fault(where, _WANTED.get(kind, " or ".join(_WANTED.values())), entry)


def _parse_attempts(entry: dict[str, object], where: str) -> list[Candidate]:
    _check_keys(entry, ATTEMPT_KEYS, ATTEMPT_KEYS, where)
    first, second = (Candidate(parse_grid(entry[key], f"{where}.{key}"), 0, 0.0) for key in ATTEMPT_KEYS)
    return [first] if np.array_equal(first.grid, second.grid) else [first, second]


def _parse_list(entries: list[object], where: str) -> list[Candidate]:
    result: list[Candidate] = []
    places: dict[bytes, int] = {}  # grid -> index
    needed: tuple[str, ...] = ("grid",)
    for index, entry in enumerate(entries):
        place = f"{where}[{index}]"
        if not isinstance(entry, dict):
            raise fault(place, "a candidate (an object with a grid)", entry)
        if index == 0:  # all must have the same keys as the first: shares of votes need the votes of all
            needed = tuple(key for key in CANDIDATE_KEYS if key == "grid" or key in entry)
        _check_keys(entry, needed, CANDIDATE_KEYS, place)
        candidate = _parse_candidate(entry, place)
        known = places.setdefault(grid_key(candidate.grid), index)
        if known != index:
            raise InputError(f"{place}.grid: expected a grid of its own, got the one at {where}[{known}]")
        result.append(candidate)
    return result


def _check_keys(entry: dict[str, object], needed: tuple[str, ...], known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless the keys of `entry` are `needed`, a part of the `known` keys of the format."""
    for key in needed:
        if key not in entry:
            kind = "a number, as in the first candidate of the list" if key != "grid" else "a grid"
            raise InputError(f"{where}.{key}: expected {kind}, got none")
    for key in entry:
        if key not in needed:
            more = ", as in the first candidate of the list" if key in known else ""
            raise fault(where, f"{' and '.join(needed)} alone{more}", key)


def _parse_candidate(entry: dict[str, object], where: str) -> Candidate:
    votes, halting = entry.get("votes", 0), entry.get("halting", 0.0)
    if not isinstance(votes, int) or isinstance(votes, bool) or not 0 <= votes <= MOST_VOTES:
        raise fault(f"{where}.votes", "a whole number, 0 to 2^48", votes)
    if not isinstance(halting, int | float) or isinstance(halting, bool) or not 0 <= halting <= 1:
        raise fault(f"{where}.halting", "a probability 0..1", halting)
    weight = entry.get("weight", votes)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= MOST_VOTES:
        raise fault(f"{where}.weight", "a number, 0 to 2^48", weight)
    return Candidate(parse_grid(entry["grid"], f"{where}.grid"), votes, float(halting), float(weight))
