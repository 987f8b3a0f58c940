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
from solver.answers.votes import MOST_VOTES, to_item
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
_WORDS: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
_WORDS |= {int: "a whole number, 0 or more", float: "a number, 0 or more"}

# The kinds of values: the types above, _GRID, _PROBABILITY, [kind of every item], (kind of what may be null,) and
# {key: kind}, in which a key with a question mark may be missing.
_GRID, _PROBABILITY = "a grid", "a probability 0..1"
_PAIR = {"input": _GRID, "output": _GRID}
_CANDIDATE = {"grid": _GRID, "votes": int, "halting": _PROBABILITY, "weight?": float}
_STEP = {"grid": (_GRID,), "halting": _PROBABILITY, "changed": (int,)}
_TEST = {"input": _GRID, "truth?": (_GRID,), "attempts": [_GRID], "votes": int}
_TASK = {"train": [_PAIR], "test": [{**_TEST, "candidates": [_CANDIDATE], "steps?": [_STEP]}]}
_READING = {"step": int, "seconds": float, "loss": float, "exact": _PROBABILITY}
_SCORE = {name: {"correct": float, "total": int, "score": float} for name in NAMES}
_FACTS = {"format": int, "source": str, "preset": str, "seed": int, "seconds": dict, "notes": [str]}
_RUN = {**_FACTS, "score?": (_SCORE,), "baseline?": (_SCORE,), "curve?": list, "tasks": [{"id": str}]}


def write_record(folder: Path, tasks: Sequence[Task], outcome: Outcome, preset: str, source: str, seed: int) -> Run:
    """Write run.json; returns the record. Raises InputError if the file cannot be written."""
    candidates = outcome.votes.ranked()
    answers = answers_of(tasks, candidates)
    records = []
    for task in tasks:
        tests: list[Run] = []
        for index, pair in enumerate(task.test):
            found, steps = candidates[task.id][index], outcome.steps.get((task.id, index), ())
            test: Run = {"input": pair.input.tolist(), "truth": _cells(pair.output)}
            test["attempts"] = [grid.tolist() for grid in answers[task.id][index]]
            test["votes"] = min(sum(candidate.votes for candidate in found), MOST_VOTES)
            test["candidates"] = [to_item(candidate) for candidate in found[:KEPT_CANDIDATES]]
            test["steps"] = [
                {"grid": _cells(step.grid), "halting": round(step.halting, 4), "changed": step.changed}
                for step in steps
            ]
            tests.append(test)
        records.append({"id": task.id, "train": to_challenge(task)["train"], "test": tests})
    record = {
        "format": FORMAT,
        "source": file_name(source),
        "preset": preset,
        "seed": seed,
        "seconds": outcome.seconds,
        "notes": [f"{outcome.fit_steps} fitting steps", *outcome.notes],
        **_scores(tasks, answers),
        "curve": [  # about four digits each, enough for a chart
            [step, round(seconds, 2), float(f"{loss:.4g}"), round(exact, 4)]
            for step, seconds, loss, exact in outcome.curve.points()
        ],
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
    """A checked record scored against `truths`; InputError unless they have the outputs of all its tasks."""
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


def check_run(run: object, where: str) -> Run:
    """`run`, if it is a record as described above. Raises InputError that begins with `where`."""
    if not isinstance(run, dict):
        raise fault(where, "the record of a run (an object)", run)
    if "format" not in run:
        raise fault(where, f"a {FILE_NAME}, which arc-trm solve leaves beside its submission", run)
    _check(run, _RUN, where, where, ": ")
    if run["format"] != FORMAT:
        raise fault(f"{where}: format", f"{FORMAT}, the one that this version reads", run["format"])
    for key, seconds in run["seconds"].items():
        _check(seconds, float, f"{where}: seconds: {shown(key)}")
    last = -1
    for index, reading in enumerate(run.get("curve", ())):
        place = f"{where}: curve[{index}]"
        if not isinstance(reading, list) or len(reading) != len(Reading._fields):
            raise fault(place, f"a list of {', '.join(Reading._fields)}", reading)
        _check(dict(zip(Reading._fields, reading, strict=True)), _READING, place)
        if reading[0] <= last:
            raise fault(f"{place}: 'step'", f"one after step {last}", reading[0])
        last = reading[0]
    for index, task in enumerate(run["tasks"]):
        place = f"{where}: tasks[{index}] {shown(task['id'])}"
        _check(task, _TASK, place, place, ": ")
        for number, test in enumerate(task["test"]):
            if len(test["attempts"]) != len(KEYS):
                got = f"expected {len(KEYS)} grids, got {len(test['attempts'])}"
                raise InputError(f"{place}: test[{number}].attempts: {got}")
    return run


def _check(value: Any, kind: Any, where: str, place: str = "", join: str = ".") -> None:
    """Raise InputError unless `value` is of this kind.

    `where` is in messages on the value itself, `place` (by default the same) on what is in it; `join` comes before the
    keys of an object.
    """
    place = place or where
    if isinstance(kind, tuple):
        if value is not None:
            _check(value, kind[0], where, place)
    elif kind is _GRID:
        _check(value, list, where)
        parse_grid(value, place)
    elif kind is _PROBABILITY:
        _check(value, float, where)
        if value > 1:
            raise fault(place, _PROBABILITY, value)
    elif isinstance(kind, list):
        _check(value, list, where)
        for index, item in enumerate(value):
            _check(item, kind[0], f"{place}[{index}]")
    elif isinstance(kind, dict):
        _check(value, dict, where)
        for key, inner in kind.items():
            name = key.removesuffix("?")
            if name in value:
                _check(value[name], inner, f"{place}: {shown(name)}", f"{place}{join}{name}")
            elif name == key:
                raise InputError(f"{place}: {shown(name)}: expected {_words(inner)}, got none")
    else:
        right = type(value) is kind or (kind is float and type(value) is int)
        # The limit also refuses infinity, which JSON writes as 1e999.
        if not right or (kind in (int, float) and not 0 <= value <= _LARGEST):
            raise fault(where, _WORDS[kind], value)


def _words(kind: Any) -> str:
    if isinstance(kind, tuple):
        return f"{_words(kind[0])} or null"
    return kind if isinstance(kind, str) else _WORDS[kind if isinstance(kind, type) else type(kind)]
