"""The whole road: tasks -> variants -> fit -> predict -> vote -> two attempts -> submission.json -> score, record.

A valid submission lies on the disk before the first training step; it is only ever replaced, atomically, by one that
more votes have made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from kernels.canvas import Decoder
from solver import submission_file
from solver.budget import Clock
from solver.candidates import Candidate, answers_of, two_attempts
from solver.canvases import CanvasConfig
from solver.fit import FitConfig, Fitted, Knowledge, fit
from solver.models.trm import TRM, TRMConfig
from solver.predict import PredictConfig, Predictor
from solver.result import Result
from solver.score import LEAK_WARNING
from solver.tasks import Task, without_test_outputs
from solver.vote import Ballot

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
    nothing: dict[str, list[list[Candidate]]] = {task.id: [[] for _ in task.test] for task in tasks}
    result = Result(answers_of(tasks, nothing), nothing)
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
