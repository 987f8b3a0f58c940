"""candidates.json: the best grids of every test output with their votes, for others to rescore or merge.

    {task id: [[{"grid": grid, "votes": int, "halting": 0..1, "weight": number}, ... best first], ... one list for each
                test input, in order], ... every task}

`weight` is what a candidate is ranked by: of ours, a vote of the latest round weighs 1, of the round before 1/2; where
it is missing, it is the votes. All but the grid may be missing: a list that is only ranked, as many solvers write it.
An empty list: no candidate is known. Imports no torch: files can be merged where torch fails.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import orjson

from solver.answers.run_json import check_run
from solver.answers.submission_json import KEYS as ATTEMPT_KEYS
from solver.answers.votes import CANDIDATE_KEYS, Candidate, to_item
from solver.common.checks import InputError, at_least, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically

FILE_NAME = "candidates.json"
MOST_VOTES = 2**48
"""Of one candidate: far more than anybody counts, and sums of them stay within the 64 bits that orjson writes."""

Candidates: TypeAlias = dict[str, list[list[Candidate]]]
"""Task id -> for each of its test inputs, in order, the candidates, best first."""

GridKey: TypeAlias = tuple[tuple[int, ...], bytes]

_WANTED: dict[type, str] = {
    list: "a list of candidates, best first",
    dict: f"an object with {' and '.join(ATTEMPT_KEYS)}",
}


def build(candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> bytes:
    """The file's bytes, with the first `most` candidates of each test output. Raises InputError as `read` would."""
    at_least("candidates", most, 1)
    document: dict[object, object] = {
        task_id: [[{key: getattr(c, key) for key in CANDIDATE_KEYS} for c in one[:most]] for one in tests]
        for task_id, tests in candidates.items()
    }
    return orjson.dumps(
        {
            task_id: [[to_item(candidate) for candidate in of_test] for of_test in tests]
            for task_id, tests in _parse(document, "candidates").items()
        }
    )


def write(path: str | Path, candidates: Mapping[str, Sequence[Sequence[Candidate]]], most: int) -> None:
    """Write the file atomically. Raises InputError as `build` does, or with the reason why the disk cannot be written.

    The old file is then intact.
    """
    write_atomically(path, build(candidates, most))


def read(path: str | Path) -> Candidates:
    """The checked candidates in a candidates file, a submission.json of any tool or a run.json of ours.

    A submission's two attempts are two ranked candidates, one where they are equal. Candidates without votes have 0;
    a candidate without a weight has that of its votes. Raises InputError, one line that names file, task, test and
    place; the work grows no faster than the file, which `read_json` bounds.
    """
    document, name = read_json(path), file_name(path)
    # A task may be called "format" too, but then a list follows.
    if isinstance(document, dict) and not isinstance(document.get("format", []), list):
        document = _of_run(document, name)
    return _parse(document, name)


def _of_run(document: object, name: str) -> dict[str, object]:
    """The candidates in the record of a run, as this file's head describes them."""
    result: dict[str, object] = {}
    for task in check_run(document, name)["tasks"]:
        if task["id"] in result:
            raise InputError(f"{name}: expected every task once, got {shown(task['id'])} twice")
        result[task["id"]] = [
            [{key: c[key] for key in CANDIDATE_KEYS if key in c} for c in test["candidates"]] for test in task["test"]
        ]
    return result


def _parse(document: object, name: str) -> Candidates:
    if not isinstance(document, dict) or not document:
        raise fault(name, "an object {task id: [candidates or attempts, ...]} with at least one task", document)
    result: Candidates = {}
    kind: type | None = None  # of the file: candidates are lists, attempts are objects; the first entry decides
    for task_id, entries in document.items():
        where = f"{name}: task {shown(check_id(task_id, name))}"
        if not isinstance(entries, list) or not entries:
            known = "as in a submission, candidates.json or run.json"
            raise fault(where, f"a list of entries, one per test input, {known}", entries)
        kind = kind or type(entries[0])
        result[task_id] = [_parse_entry(entry, kind, f"{where}: [{index}]") for index, entry in enumerate(entries)]
    return result


def _parse_entry(entry: object, kind: type, where: str) -> list[Candidate]:
    """The candidates of one test output, from an entry of `kind`, the kind of the whole file."""
    if type(entry) is kind and isinstance(entry, list):
        return _parse_list(entry, where)
    if type(entry) is kind and isinstance(entry, dict):
        return _parse_attempts(entry, where)
    raise fault(where, _WANTED.get(kind, " or ".join(_WANTED.values())), entry)


def _parse_attempts(entry: dict[str, object], where: str) -> list[Candidate]:
    _check_keys(entry, ATTEMPT_KEYS, ATTEMPT_KEYS, where)
    first, second = (Candidate(parse_grid(entry[key], f"{where}.{key}"), 0, 0.0) for key in ATTEMPT_KEYS)
    return [first] if grid_key(first) == grid_key(second) else [first, second]


def _parse_list(entries: list[object], where: str) -> list[Candidate]:
    result: list[Candidate] = []
    places: dict[GridKey, int] = {}  # where a grid stood first
    needed: tuple[str, ...] = ("grid",)
    for index, entry in enumerate(entries):
        place = f"{where}[{index}]"
        if not isinstance(entry, dict):
            raise fault(place, "a candidate (an object with a grid)", entry)
        if index == 0:  # what the first has, all must have, and no more: shares of votes need all of them
            needed = tuple(key for key in CANDIDATE_KEYS if key == "grid" or key in entry)
        _check_keys(entry, needed, CANDIDATE_KEYS, place)
        candidate = _parse_candidate(entry, place)
        known = places.setdefault(grid_key(candidate), index)
        if known != index:
            raise InputError(f"{place}.grid: expected a grid of its own, got the one at {where}[{known}]")
        result.append(candidate)
    return result


def grid_key(candidate: Candidate) -> GridKey:
    """Equal for equal grids, and for them only."""
    return candidate.grid.shape, candidate.grid.tobytes()


def _check_keys(entry: dict[str, object], needed: tuple[str, ...], known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless `entry` has the `needed` keys alone, of those that are `known`."""
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
