"""Short supervised runs: two hand-made tasks, few steps of the preset `tiny`, optionally with a faulty worker."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from solver.answers import submission_json
from solver.answers.outcome import Outcome
from solver.answers.submission_json import expected_counts
from solver.common.clock import Clock
from solver.settings.options import SolveOptions
from submission.challenges import Challenges
from submission.workers.supervisor import Plan, Supervisor
from tests.solver.samples import TASKS, save_challenges, save_solutions

STEPS = 10


def kaggle_files(folder: Path) -> Path:
    """Write the hand-made tasks as the competition's files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_challenges(folder / "arc-agi_test_challenges.json")
    save_challenges(folder / "arc-agi_evaluation_challenges.json")
    save_solutions(folder / "arc-agi_evaluation_solutions.json")
    return folder


def options(**changed: Any) -> dict[str, Any]:
    """Options of a run that takes seconds."""
    return asdict(SolveOptions(**{"fit_steps": STEPS, "augmentations": 8, **changed}))


def supervised(
    out: Path,
    fault: str | None = None,
    seconds: float = 3600.0,
    silence: float = 600.0,
    devices: tuple[str, ...] = ("cpu",),
    settings: dict[str, Any] | None = None,
    **plan: Any,
) -> tuple[Supervisor, Outcome]:
    """Run the hand-made tasks, or other `challenges`, under a supervisor; the submission is checked."""
    faulty = (sys.executable, "-m", "tests.submission.workers.faulty_worker", str(fault), str(out.parent / "flag"))
    challenges = plan.pop("challenges", Challenges(TASKS))
    if fault:
        plan["command"] = faulty
    supervisor = Supervisor(
        Plan(challenges, "hand-made", out, settings or options(), devices, silence=silence, **plan), Clock(seconds)
    )
    outcome = supervisor.run()
    submission_json.check(
        out, expected_counts(challenges.tasks) | {name: len(a) for name, a in challenges.broken.items()}
    )
    return supervisor, outcome
