"""Supervised runs that take seconds: two hand-made tasks, the preset `tiny` with a few steps, workers with a fault."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from solver.answers import submission_json
from solver.answers.outcome import Outcome
from solver.answers.submission_json import expected_counts
from solver.common.clock import Clock
from solver.settings.options import SolveOptions
from solver.tasks.task import Task
from submission.challenges import Challenges
from submission.workers.supervisor import Plan, Supervisor
from tests.solver.samples import TASKS

STEPS = 10


def as_json(task: Task, outputs: bool = False) -> dict[str, Any]:
    """A task as files hold it."""
    train = [{"input": p.input.tolist(), "output": p.output.tolist()} for p in task.train if p.output is not None]
    test = [
        {"input": p.input.tolist(), **({"output": p.output.tolist()} if outputs and p.output is not None else {})}
        for p in task.test
    ]
    return {"train": train, "test": test}


def kaggle_files(folder: Path) -> Path:
    """The competition's files of the hand-made tasks in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    challenges = json.dumps({task.id: as_json(task) for task in TASKS})
    solutions = json.dumps({task.id: [p.output.tolist() for p in task.test if p.output is not None] for task in TASKS})
    (folder / "arc-agi_test_challenges.json").write_text(challenges)
    (folder / "arc-agi_evaluation_challenges.json").write_text(challenges)
    (folder / "arc-agi_evaluation_solutions.json").write_text(solutions)
    return folder


def options(**changed: Any) -> dict[str, Any]:
    """Settings of a run of seconds."""
    return asdict(SolveOptions(**{"fit_steps": STEPS, "augmentations": 8, **changed}))


def supervised(
    out: Path,
    fault: str | None = None,
    seconds: float = 3600.0,
    silence: float = 60.0,
    devices: tuple[str, ...] = ("cpu",),
    settings: dict[str, Any] | None = None,
    **plan: Any,
) -> tuple[Supervisor, Outcome]:
    """Run the hand-made tasks under a supervisor; the submission is checked."""
    faulty = (sys.executable, "-m", "tests.submission.workers.faulty_worker", str(fault), str(out.parent / "flag"))
    given = {"command": faulty} if fault else {}
    challenges = plan.pop("challenges", Challenges(TASKS))
    supervisor = Supervisor(
        Plan(challenges, "hand-made", out, settings or options(), devices, silence=silence, **given, **plan),
        Clock(seconds),
    )
    outcome = supervisor.run()
    submission_json.check(out, expected_counts(TASKS) | {name: len(a) for name, a in challenges.broken.items()})
    return supervisor, outcome
