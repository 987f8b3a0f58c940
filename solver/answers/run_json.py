"""run.json: what the pipeline records beside submission.json, so that a report needs nothing else.

{"format": 1, "source": str, "preset": str, "seconds": {"fit": 1.0, ...}, "seed": int, "notes": [str],
 "score": Score.to_json() or null, "baseline": the same or null,
 "curve": [[step, seconds, loss, exact], …] of the fit: ascending steps, seconds of fitting before it, loss a slot,
          share of sequences that are wholly right, 0..1; where a run was resumed, since then; optional,
 "tasks": [{"id": str, "train": [{"input": grid, "output": grid}],
            "test": [{"input": grid, "truth": grid or null, "attempts": [grid, grid], "votes": int (in total),
                      "candidates": [{"grid": grid, "votes": int, "halting": 0..1 (a mean),
                                      "weight": what it is ranked by (a vote of the latest round: 1), optional}],
                      "steps": [{"grid": grid or null, "halting": 0..1, "changed": int (cells) or null}, …]}]}]}

"steps" are the answers to the task as it is, in no other symmetry and colours, after each supervision step of the last
fit; "changed" is null where the step before has no grid of the same size. Optional; empty where they are not known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson

from solver.answers.attempts import Answers, answers_of, baseline
from solver.answers.fit_curve import Reading
from solver.answers.outcome import Outcome, Step
from solver.answers.score import NAMES, score_result
from solver.answers.submission_json import Attempts
from solver.answers.votes import Candidate, Test, to_item
from solver.common.checks import Grid, InputError, fault, parse_grid, shown
from solver.common.files import file_name, read_json, write_atomically
from solver.tasks.load import with_outputs
from solver.tasks.task import Task, parse_task, to_challenge

Run: TypeAlias = dict[str, Any]

FORMAT = 1
FILE_NAME = "run.json"
ATTEMPTS = 2

_LARGEST = 2**64  # of any number in the record: it can be printed, and divided as a float
_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number, 0 or more",
    float: "a number, 0 or more",
    object: "a value or null",
}
_READING = ("step", "seconds", "loss", "exact")  # of the fit


def read_run(path: str | Path) -> Run:
    """The checked record in `path`, a run.json or the folder that holds one. Raises InputError in one line."""
    path = Path(path)
    if path.is_dir():
        path /= FILE_NAME
    return check_run(read_json(path), file_name(path))


def check_run(run: object, where: str) -> Run:
    """`run`, if it is a record as the head of this module describes it. Raises InputError that begins with `where`."""
    if not isinstance(run, dict):
        raise fault(where, "the record of a run (an object)", run)
    if "format" not in run:
        raise fault(where, f"a {FILE_NAME}, which arc-trm solve leaves beside its submission", run)
    if _member(run, "format", int, where) != FORMAT:
        raise fault(f"{where}: format", f"{FORMAT}, the one that this version reads", run["format"])
    for key, kind in (("source", str), ("preset", str), ("seed", int)):
        _member(run, key, kind, where)
    seconds = _member(run, "seconds", dict, where)
    for key in seconds:
        _member(seconds, key, float, f"{where}: seconds")
    for index, note in enumerate(_member(run, "notes", list, where)):
        if not isinstance(note, str):
            raise fault(f"{where}: notes[{index}]", _WORDS[str], note)
    for key in ("score", "baseline"):
        if run.get(key) is not None:
            _check_score(_member(run, key, dict, where), f"{where}: {key}")
    if "curve" in run:
        _check_curve(_member(run, "curve", list, where), f"{where}: curve")
    for task, place in _objects(run, "tasks", where):
        _check_task(task, place)
    return run


def _check_score(score: Run, where: str) -> None:
    for name in NAMES:
        part = _member(score, name, dict, where)
        for key, kind in (("correct", float), ("total", int), ("score", float)):
            _member(part, key, kind, f"{where}.{name}")


def _check_curve(curve: list[Any], where: str) -> None:
    last = -1
    for index, reading in enumerate(curve):
        place = f"{where}[{index}]"
        if not isinstance(reading, list) or len(reading) != len(_READING):
            raise fault(place, f"a list of {', '.join(_READING)}", reading)
        named = dict(zip(_READING, reading, strict=True))
        for key in _READING:
            _member(named, key, int if key == "step" else float, place)
        _probability(named, "exact", place)
        if named["step"] <= last:
            raise fault(f"{place}: 'step'", f"one after step {last}", named["step"])
        last = named["step"]


def _check_task(task: Run, where: str) -> None:
    where = f"{where} {shown(_member(task, 'id', str, where))}"
    for pair, place in _objects(task, "train", where):
        _check_grids(pair, ("input", "output"), place)
    for test, place in _objects(task, "test", where):
        _check_grids(test, ("input",) if test.get("truth") is None else ("input", "truth"), place)
        attempts = _member(test, "attempts", list, place)
        if len(attempts) != ATTEMPTS:
            raise InputError(f"{place}.attempts: expected {ATTEMPTS} grids, got {len(attempts)}")
        for index, attempt in enumerate(attempts):
            parse_grid(attempt, f"{place}.attempts[{index}]")
        _member(test, "votes", int, place)
        for candidate, spot in _objects(test, "candidates", place):
            _check_grids(candidate, ("grid",), spot)
            _member(candidate, "votes", int, spot)
            _probability(candidate, "halting", spot)
            if "weight" in candidate:
                _member(candidate, "weight", float, spot)
        for step, spot in _objects(test, "steps", place) if "steps" in test else ():
            if _member(step, "grid", object, spot) is not None:
                _check_grids(step, ("grid",), spot)
            _probability(step, "halting", spot)
            if _member(step, "changed", object, spot) is not None:
                _member(step, "changed", int, spot)


def _probability(document: Run, key: str, where: str) -> None:
    if _member(document, key, float, where) > 1:
        raise fault(f"{where}.{key}", "a probability 0..1", document[key])


def _check_grids(document: Run, keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        parse_grid(_member(document, key, list, where), f"{where}.{key}")


def _objects(document: Run, key: str, where: str) -> list[tuple[Run, str]]:
    """The objects in the list `document[key]`, each with the words for its place."""
    items = _member(document, key, list, where)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise fault(f"{where}: {key}[{index}]", _WORDS[dict], item)
    return [(item, f"{where}: {key}[{index}]") for index, item in enumerate(items)]


def _member(document: Run, key: str, kind: type, where: str) -> Any:
    """`document[key]`, if it is a value of `kind`; a whole number passes for a float. Raises InputError."""
    where = f"{where}: {shown(key)}"
    if key not in document:
        raise InputError(f"{where}: expected {_WORDS[kind]}, got none")
    value = document[key]
    if kind is not object and type(value) is not kind and not (kind is float and type(value) is int):
        raise fault(where, _WORDS[kind], value)
    if kind in (int, float) and not 0 <= value <= _LARGEST:  # also refuses the infinity that 1e999 is read as
        raise fault(where, _WORDS[kind], value)
    return value


def write_record(
    folder: Path, tasks: Sequence[Task], outcome: Outcome, preset: str, source: str, seed: int
) -> dict[str, Any]:
    """Write run.json, from which reports are made and votes re-counted; returns the record."""
    candidates, steps = outcome.votes.ranked(), outcome.steps
    answers = answers_of(tasks, candidates)
    record = {
        "format": FORMAT,
        "source": source,
        "preset": preset,
        "seed": seed,
        "seconds": outcome.seconds,
        "notes": [f"{outcome.fit_steps} fitting steps", *outcome.notes],
        **_scores(tasks, answers),
        "curve": [_reading_record(reading) for reading in outcome.curve.points()],
        "tasks": [_task_record(task, answers[task.id], candidates[task.id], steps) for task in tasks],
    }
    write_atomically(folder / FILE_NAME, orjson.dumps(record))
    return record


def with_truths(run: Run, truths: Mapping[str, list[Grid]], where: str) -> Run:
    """A checked record with these test outputs, and the score that it has by them.

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


def _scores(tasks: Sequence[Task], answers: Answers) -> dict[str, Any]:
    """The score and the baseline's, both None where a test output is not known."""
    scores = {"score": score_result(tasks, answers), "baseline": score_result(tasks, baseline(tasks))}
    return {name: known.to_json() if known else None for name, known in scores.items()}


KEPT_CANDIDATES = 10  # a test input, in the record


def _reading_record(reading: Reading) -> list[float]:
    """Four digits or so of each: what a picture of it shows."""
    return [reading.step, round(reading.seconds, 2), float(f"{reading.loss:.4g}"), round(reading.exact, 4)]


def _step_record(step: Step) -> dict[str, Any]:
    grid = None if step.grid is None else step.grid.tolist()
    return {"grid": grid, "halting": round(step.halting, 4), "changed": step.changed}


def _task_record(
    task: Task,
    answers: Sequence[Attempts],
    candidates: Sequence[Sequence[Candidate]],
    steps: Mapping[Test, Sequence[Step]],
) -> dict[str, Any]:
    tests = []
    for index, (pair, attempts, of_test) in enumerate(zip(task.test, answers, candidates, strict=True)):
        kept = of_test[:KEPT_CANDIDATES]
        tests.append(
            {
                "input": pair.input.tolist(),
                "truth": None if pair.output is None else pair.output.tolist(),
                "attempts": [grid.tolist() for grid in attempts],
                "votes": sum(c.votes for c in of_test),
                "candidates": [to_item(candidate) for candidate in kept],
                "steps": [_step_record(step) for step in steps.get((task.id, index), ())],
            }
        )
    return {"id": task.id, "train": to_challenge(task)["train"], "test": tests}
