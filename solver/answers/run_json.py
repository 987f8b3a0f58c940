"""run.json, the record of a run: everything that a report or a later count of the votes needs.

    {"format": 1, "source": str, "preset": str, "seed": int, "seconds": {"fit": 1.0, ...}, "notes": [str],
     "score": Score.to_json() or null, "baseline": the same or null,
     "curve": [[step, seconds, loss, exact], ...],
     "tasks": [{"id": str, "train": [{"input": grid, "output": grid}],
                "test": [{"input": grid, "truth": grid or null, "attempts": [grid, grid], "votes": int,
                          "candidates": [{"grid": grid, "votes": int, "halting": 0..1, "weight": number}],
                          "steps": [{"grid": grid or null, "halting": 0..1, "changed": int or null}, ...]}]}]}

"notes"       caveats for readers of the score, such as LEAK_WARNING and STOPPED.
"curve"       the fit: ascending steps, seconds of fitting before each, loss per slot, share of sequences with every
              token right. After a restart it begins at the restart. Optional.
"votes"       of a test: all votes; of a candidate: its own.
"candidates"  the first KEPT_CANDIDATES, best first, by "weight" (optional), in which a vote of the latest round counts
              1. "halting" is the mean over votes.
"steps"       the answers to the task in its own symmetry and colours, after each supervision step of the last fit.
              "changed" counts cells that differ from the previous step; null if that has no grid of the same size.
              Optional, empty if they were not recorded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson

from solver.answers.attempts import Answers, answers_of, baseline
from solver.answers.fit_curve import Reading
from solver.answers.outcome import Outcome
from solver.answers.score import NAMES, score_result
from solver.answers.submission_json import KEYS
from solver.answers.votes import to_item
from solver.common.checks import Grid, InputError, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically
from solver.tasks.load import with_outputs
from solver.tasks.task import Task, parse_task, to_challenge

Run: TypeAlias = dict[str, Any]
"""A checked record, or an object in it."""

FORMAT = 1
FILE_NAME = "run.json"
KEPT_CANDIDATES = 10  # per test input

_LARGEST = 2**64  # of any number: it prints in few digits, and divides as a float
_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number, 0 or more",
    float: "a number, 0 or more",
    object: "a value or null",
}


def write_record(folder: Path, tasks: Sequence[Task], outcome: Outcome, preset: str, source: str, seed: int) -> Run:
    """Write run.json; returns the record. Raises InputError if the file cannot be written."""
    candidates = outcome.votes.ranked()
    answers = answers_of(tasks, candidates)
    records = []
    for task in tasks:
        tests = []
        for index, pair in enumerate(task.test):
            found, steps = candidates[task.id][index], outcome.steps.get((task.id, index), ())
            tests.append(
                {
                    "input": pair.input.tolist(),
                    "truth": _cells(pair.output),
                    "attempts": [grid.tolist() for grid in answers[task.id][index]],
                    "votes": sum(candidate.votes for candidate in found),
                    "candidates": [to_item(candidate) for candidate in found[:KEPT_CANDIDATES]],
                    "steps": [
                        {"grid": _cells(step.grid), "halting": round(step.halting, 4), "changed": step.changed}
                        for step in steps
                    ],
                }
            )
        records.append({"id": task.id, "train": to_challenge(task)["train"], "test": tests})
    record = {
        "format": FORMAT,
        "source": source,
        "preset": preset,
        "seed": seed,
        "seconds": outcome.seconds,
        "notes": [f"{outcome.fit_steps} fitting steps", *outcome.notes],
        **_scores(tasks, answers),
        "curve": [_rounded(reading) for reading in outcome.curve.points()],
        "tasks": records,
    }
    write_atomically(folder / FILE_NAME, orjson.dumps(record))
    return record


def read_run(path: str | Path) -> Run:
    """The checked record in a run.json, or in the folder that holds one. Raises InputError."""
    path = Path(path)
    if path.is_dir():
        path /= FILE_NAME
    return check_run(read_json(path), file_name(path))


def with_truths(run: Run, truths: Mapping[str, list[Grid]], where: str) -> Run:
    """A checked record with these test outputs, scored against them.

    Raises InputError, which begins with `where`, unless `truths` has the outputs of every task.
    """
    tasks, answers, records = [], {}, []
    for record in run["tasks"]:
        outputs = truths.get(record["id"], [])
        tasks.append(with_outputs(parse_task(record["id"], record, FILE_NAME), outputs, where))
        tests = zip(record["test"], outputs, strict=True)
        records.append({**record, "test": [{**test, "truth": output.tolist()} for test, output in tests]})
        attempts = [test["attempts"] for test in record["test"]]
        answers[record["id"]] = [(np.array(one, np.uint8), np.array(two, np.uint8)) for one, two in attempts]
    return {**run, **_scores(tasks, answers), "tasks": records}


def _scores(tasks: Sequence[Task], answers: Answers) -> Run:
    """The scores of the attempts and of the fallbacks; None if a test output is unknown."""
    scores = {"score": score_result(tasks, answers), "baseline": score_result(tasks, baseline(tasks))}
    return {name: known.to_json() if known else None for name, known in scores.items()}


def _cells(grid: np.ndarray | None) -> list[list[int]] | None:
    return None if grid is None else grid.tolist()


def _rounded(reading: Reading) -> list[float]:
    """About four digits each, enough for a chart."""
    return [reading.step, round(reading.seconds, 2), float(f"{reading.loss:.4g}"), round(reading.exact, 4)]


def check_run(run: object, where: str) -> Run:
    """`run`, if it is a record as described above. Raises InputError that begins with `where`."""
    if not isinstance(run, dict):
        raise fault(where, "the record of a run (an object)", run)
    if "format" not in run:
        raise fault(where, f"a {FILE_NAME}, which arc-trm solve leaves beside its submission", run)
    if _member(run, "format", int, where) != FORMAT:
        raise fault(f"{where}: format", f"{FORMAT}, the one that this version reads", run["format"])
    _members(run, {"source": str, "preset": str, "seed": int}, where)
    seconds = _member(run, "seconds", dict, where)
    _members(seconds, dict.fromkeys(seconds, float), f"{where}: seconds")
    for index, note in enumerate(_member(run, "notes", list, where)):
        if not isinstance(note, str):
            raise fault(f"{where}: notes[{index}]", _WORDS[str], note)
    for key in ("score", "baseline"):
        if run.get(key) is not None:
            score = _member(run, key, dict, where)
            for name in NAMES:
                part = _member(score, name, dict, f"{where}: {key}")
                _members(part, {"correct": float, "total": int, "score": float}, f"{where}: {key}.{name}")
    if "curve" in run:
        _check_curve(_member(run, "curve", list, where), f"{where}: curve")
    for task, place in _objects(run, "tasks", where):
        place = f"{place} {shown(_member(task, 'id', str, place))}"
        for pair, spot in _objects(task, "train", place):
            _check_grid(pair, "input", spot)
            _check_grid(pair, "output", spot)
        for test, spot in _objects(task, "test", place):
            _check_test(test, spot)
    return run


def _check_curve(curve: list[Any], where: str) -> None:
    last = -1
    for index, reading in enumerate(curve):
        place = f"{where}[{index}]"
        if not isinstance(reading, list) or len(reading) != len(Reading._fields):
            raise fault(place, f"a list of {', '.join(Reading._fields)}", reading)
        named = dict(zip(Reading._fields, reading, strict=True))
        _members(named, {"step": int, "seconds": float, "loss": float}, place)
        _check_probability(named, "exact", place)
        if named["step"] <= last:
            raise fault(f"{place}: 'step'", f"one after step {last}", named["step"])
        last = named["step"]


def _check_test(test: Run, where: str) -> None:
    _check_grid(test, "input", where)
    if test.get("truth") is not None:
        _check_grid(test, "truth", where)
    attempts = _member(test, "attempts", list, where)
    if len(attempts) != len(KEYS):
        raise InputError(f"{where}.attempts: expected {len(KEYS)} grids, got {len(attempts)}")
    for index, attempt in enumerate(attempts):
        parse_grid(attempt, f"{where}.attempts[{index}]")
    _member(test, "votes", int, where)
    for candidate, place in _objects(test, "candidates", where):
        _check_grid(candidate, "grid", place)
        _members(candidate, {"votes": int} | ({"weight": float} if "weight" in candidate else {}), place)
        _check_probability(candidate, "halting", place)
    for step, place in _objects(test, "steps", where) if "steps" in test else ():
        if _member(step, "grid", object, place) is not None:
            _check_grid(step, "grid", place)
        _check_probability(step, "halting", place)
        if _member(step, "changed", object, place) is not None:
            _member(step, "changed", int, place)


def _objects(document: Run, key: str, where: str) -> list[tuple[Run, str]]:
    """The objects in the list `document[key]`, each with its place for messages."""
    items = _member(document, key, list, where)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise fault(f"{where}: {key}[{index}]", _WORDS[dict], item)
    return [(item, f"{where}: {key}[{index}]") for index, item in enumerate(items)]


def _check_grid(document: Run, key: str, where: str) -> None:
    parse_grid(_member(document, key, list, where), f"{where}.{key}")


def _check_probability(document: Run, key: str, where: str) -> None:
    if _member(document, key, float, where) > 1:
        raise fault(f"{where}.{key}", "a probability 0..1", document[key])


def _members(document: Run, kinds: Mapping[str, type], where: str) -> None:
    for key, kind in kinds.items():
        _member(document, key, kind, where)


def _member(document: Run, key: str, kind: type, where: str) -> Any:
    """`document[key]`, if its type is `kind`; an int passes as a float. Raises InputError."""
    where = f"{where}: {shown(key)}"
    if key not in document:
        raise InputError(f"{where}: expected {_WORDS[kind]}, got none")
    value = document[key]
    if kind is not object and type(value) is not kind and not (kind is float and type(value) is int):
        raise fault(where, _WORDS[kind], value)
    if kind in (int, float) and not 0 <= value <= _LARGEST:  # also refuses infinity, which JSON writes as 1e999
        raise fault(where, _WORDS[kind], value)
    return value
