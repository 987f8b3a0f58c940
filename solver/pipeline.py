"""The whole road: tasks -> variants -> fit -> predict -> vote -> two attempts -> submission.json -> score, record.

A valid submission lies on the disk before the first training step; it is only ever replaced, atomically, by one that
more votes have made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from tqdm import tqdm

from kernels.canvas import Decoder
from solver import submission_file
from solver.budget import Clock
from solver.canvases import CanvasConfig
from solver.files import write_atomically
from solver.fit import FitConfig, Fitted, Knowledge, fit
from solver.models.trm import TRM, TRMConfig
from solver.predict import PredictConfig, Predictor
from solver.run_file import FILE_NAME, FORMAT
from solver.score import LEAK_WARNING, Score, score
from solver.submission_file import Attempts
from solver.tasks import Task, without_test_outputs
from solver.vote import Ballot, Candidate, fallbacks, two_attempts

FIRST_ROUND = 8  # votes a test input in the first round; every next round doubles them
WRITE_RESERVE = 1.0  # seconds kept for the last count and the files


@dataclass(frozen=True)
class SolveConfig:
    """Everything that decides a run but its tasks, weights, seed and clock."""

    name: str = "published"
    model: TRMConfig = field(default_factory=TRMConfig)  # of a fresh trunk; a checkpoint brings its own
    fit: FitConfig = field(default_factory=FitConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    canvases: CanvasConfig = field(default_factory=CanvasConfig)
    decoder: Decoder = "robust"
    fit_share: float = 0.8  # of the time; the rest is for predicting
    kept_candidates: int = 10  # a test input, in the record


@dataclass
class Result:
    """What a run found: attempts of every task, and the ranked candidates behind them."""

    answers: dict[str, list[Attempts]]
    candidates: dict[str, list[list[Candidate]]]
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "predict": 0.0})
    fit_steps: int = 0
    notes: list[str] = field(default_factory=list)  # what whoever reads its score must know


def fresh_knowledge(config: TRMConfig, seed: int, device: torch.device) -> Knowledge:
    """An untrained trunk and an empty table."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TRM(config)
    return Knowledge(model.to(device).eval(), torch.zeros(0, config.row_width, device=device))


def solve(
    tasks: Sequence[Task],
    start: Knowledge,
    config: SolveConfig,
    out: str | Path,
    clock: Clock,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    show_progress: bool = True,
) -> Result:
    """Solve `tasks` within the clock and keep `out` (submission.json) valid all the while."""
    tasks = [without_test_outputs(task) for task in tasks]
    answers = {task.id: [fallbacks(task, index) for index in range(len(task.test))] for task in tasks}
    result = Result(answers, {task.id: [[] for _ in task.test] for task in tasks})
    if start.saw_test_outputs:
        result.notes.append(LEAK_WARNING)
    submission_file.write(out, result.answers)
    working = Clock(clock.left() - WRITE_RESERVE)
    groups = [[task] for task in tasks] if config.fit.each else [tasks]
    for number, group in enumerate(groups):
        mine = working.share(1 / (len(groups) - number))
        fitting = mine.share(config.fit_share)
        fitted = fit(group, start, config.fit, config.canvases, fitting, seed, autocast, show_progress)
        result.seconds["fit"] += fitting.elapsed()
        result.fit_steps += fitted.steps
        predicting = Clock(mine.left())
        _predict_in_rounds(group, fitted, config, predicting, autocast, result, out, show_progress)
        result.seconds["predict"] += predicting.elapsed()
    return result


def _predict_in_rounds(
    tasks: Sequence[Task],
    fitted: Fitted,
    config: SolveConfig,
    clock: Clock,
    autocast: torch.dtype | None,
    result: Result,
    out: str | Path,
    show_progress: bool,
) -> None:
    """Vote with ever more variants; after each round the submission on the disk is the best known."""
    predictor = Predictor(tasks, fitted, config.predict, config.canvases)
    tests = [(task, index) for task in tasks for index in range(len(task.test))]
    ballot = Ballot(len(tests))
    done = 0
    bar = tqdm(total=predictor.votes * len(tests), desc="predict", unit="vote", disable=not show_progress)
    with bar:
        while done < predictor.votes and not clock.expired():
            upto = min(predictor.votes, max(FIRST_ROUND, 2 * done))
            for predictions in predictor.run(done, upto, clock, autocast):
                ballot.add(predictions, config.decoder)
                bar.update(len(predictions.samples.test))
            done = upto
            for number, (task, index) in enumerate(tests):
                ranked = ballot.ranked(number)
                result.candidates[task.id][index] = ranked
                result.answers[task.id][index] = two_attempts(ranked, task, index)
            submission_file.write(out, result.answers)


def baseline(tasks: Sequence[Task]) -> dict[str, list[Attempts]]:
    """Attempts that need no model: the test input and the most common demonstration output."""
    return {task.id: [fallbacks(task, index) for index in range(len(task.test))] for task in tasks}


def known_truths(tasks: Sequence[Task]) -> dict[str, list[np.ndarray]] | None:
    """The test outputs of all tasks, None unless every one is known."""
    truths = {task.id: [pair.output for pair in task.test if pair.output is not None] for task in tasks}
    return truths if all(len(truths[task.id]) == len(task.test) for task in tasks) else None


def score_result(tasks: Sequence[Task], answers: dict[str, list[Attempts]]) -> Score | None:
    """The score of attempts at tasks whose test outputs are known, else None."""
    truths = known_truths(tasks)
    return score(answers, truths) if truths else None


def write_record(
    folder: Path, tasks: Sequence[Task], result: Result, config: SolveConfig, source: str, seed: int
) -> dict[str, Any]:
    """Write run.json, from which reports are made and votes re-counted; returns the record."""
    scores = {"score": score_result(tasks, result.answers), "baseline": score_result(tasks, baseline(tasks))}
    record = {
        "format": FORMAT,
        "source": source,
        "preset": config.name,
        "seed": seed,
        "seconds": result.seconds,
        "notes": [f"{result.fit_steps} fitting steps", *result.notes],
        **{name: known.to_json() if known else None for name, known in scores.items()},
        "tasks": [_task_record(task, result, config.kept_candidates) for task in tasks],
    }
    write_atomically(folder / FILE_NAME, orjson.dumps(record))
    return record


def _task_record(task: Task, result: Result, kept: int) -> dict[str, Any]:
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
                    {"grid": c.grid.tolist(), "votes": c.votes, "halting": c.halting} for c in candidates[:kept]
                ],
            }
        )
    train = [{"input": p.input.tolist(), "output": p.output.tolist()} for p in task.train if p.output is not None]
    return {"id": task.id, "train": train, "test": tests}
