"""What a run found, what it scores, and run.json, in which it is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from solver.candidates import Answers, Candidate, answers_of, baseline
from solver.candidates_file import to_item
from solver.checks import Grid
from solver.files import write_atomically
from solver.fit_curve import FitCurve, Reading
from solver.run_file import FILE_NAME, FORMAT, Run
from solver.score import Score, score
from solver.sources import with_outputs
from solver.submission_file import Attempts
from solver.tasks import Task, parse_task, to_challenge
from solver.votes import Test, Votes

STOPPED = "stopped before its time"
KEPT_CANDIDATES = 10  # a test input, in the record


class Step(NamedTuple):
    """What the network answered for a test input, as the task is, after a supervision step."""

    grid: np.ndarray | None  # None: no grid could be read
    halting: float  # 0 to 1, probability
    changed: int | None  # cells that differ from the step before; None where there is no such grid of this size


@dataclass
class Outcome:
    """What a run did: its votes, and what it took."""

    votes: Votes
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "predict": 0.0})
    fit_steps: int = 0
    notes: list[str] = field(default_factory=list)  # what whoever reads its score must know
    rates: dict[str, float] = field(default_factory=dict)  # what `Planner.measured` says, to project from
    curve: FitCurve = field(default_factory=FitCurve)  # of all fits, one after the other
    steps: dict[Test, list[Step]] = field(default_factory=dict)  # where there was time to record them

    def answers(self, tasks: Sequence[Task]) -> Answers:
        """The attempts at every test input."""
        return answers_of(tasks, self.votes.ranked())


def known_truths(tasks: Sequence[Task]) -> dict[str, list[np.ndarray]] | None:
    """The test outputs of all tasks, None unless every one is known."""
    truths = {task.id: [pair.output for pair in task.test if pair.output is not None] for task in tasks}
    return truths if all(len(truths[task.id]) == len(task.test) for task in tasks) else None


def score_result(tasks: Sequence[Task], answers: Answers) -> Score | None:
    """The score of attempts at tasks whose test outputs are known, else None."""
    truths = known_truths(tasks)
    return score(answers, truths) if truths else None


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
