"""What a run found, what it scores, and run.json, in which it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from solver.candidates import Answers, Candidate, baseline
from solver.files import write_atomically
from solver.run_file import FILE_NAME, FORMAT
from solver.score import Score, score
from solver.tasks import Task

KEPT_CANDIDATES = 10  # a test input, in the record


@dataclass
class Result:
    """What a run found: attempts of every task, and the ranked candidates behind them."""

    answers: Answers
    candidates: dict[str, list[list[Candidate]]]
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "predict": 0.0})
    fit_steps: int = 0
    notes: list[str] = field(default_factory=list)  # what whoever reads its score must know


def known_truths(tasks: Sequence[Task]) -> dict[str, list[np.ndarray]] | None:
    """The test outputs of all tasks, None unless every one is known."""
    truths = {task.id: [pair.output for pair in task.test if pair.output is not None] for task in tasks}
    return truths if all(len(truths[task.id]) == len(task.test) for task in tasks) else None


def score_result(tasks: Sequence[Task], answers: Answers) -> Score | None:
    """The score of attempts at tasks whose test outputs are known, else None."""
    truths = known_truths(tasks)
    return score(answers, truths) if truths else None


def write_record(
    folder: Path, tasks: Sequence[Task], result: Result, preset: str, source: str, seed: int
) -> dict[str, Any]:
    """Write run.json, from which reports are made and votes re-counted; returns the record."""
    scores = {"score": score_result(tasks, result.answers), "baseline": score_result(tasks, baseline(tasks))}
    record = {
        "format": FORMAT,
        "source": source,
        "preset": preset,
        "seed": seed,
        "seconds": result.seconds,
        "notes": [f"{result.fit_steps} fitting steps", *result.notes],
        **{name: known.to_json() if known else None for name, known in scores.items()},
        "tasks": [_task_record(task, result) for task in tasks],
    }
    write_atomically(folder / FILE_NAME, orjson.dumps(record))
    return record


def _task_record(task: Task, result: Result) -> dict[str, Any]:
    tests = []
    for index, pair in enumerate(task.test):
        candidates = result.candidates[task.id][index]
        tests.append(
            {
                "input": pair.input.tolist(),
                "truth": None if pair.output is None else pair.output.tolist(),
                "attempts": [grid.tolist() for grid in result.answers[task.id][index]],
                "votes": sum(c.votes for c in candidates),
                "candidates": [
                    {"grid": c.grid.tolist(), "votes": c.votes, "halting": c.halting}
                    for c in candidates[:KEPT_CANDIDATES]
                ],
            }
        )
    train = [{"input": p.input.tolist(), "output": p.output.tolist()} for p in task.train if p.output is not None]
    return {"id": task.id, "train": train, "test": tests}
