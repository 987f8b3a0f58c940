"""The job of a worker, and how tasks are divided among workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from solver.tasks.task import Task, without_test_outputs

REFUSED = 1  # exit code of a worker that cannot use its weights, tasks or device
ORPHANED = 3  # exit code of a worker whose supervisor has ended


@dataclass(frozen=True)
class Job:
    """Which tasks a worker solves, on which device, and until when. Sent to it as one line of JSON."""

    tasks: dict[str, Any]  # a challenges file
    journal: str  # path of the folder of votes
    name: str  # of its fitted weights in that folder
    device: str
    deadline: float  # time.monotonic(), which all processes of a machine share
    options: dict[str, Any]  # SolveOptions
    weights: str | None = None


def share_tasks(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """Divide tasks into at most `count` lists of about equal work, the largest first (LPT, Graham 1969)."""
    shards: list[list[int]] = [[] for _ in range(min(count, len(tasks)))]
    work = [0] * len(shards)
    cells = [  # the cost of a supervision step is proportional to them
        sum(grid.size for pair in (*task.train, *task.test) for grid in (pair.input, pair.output) if grid is not None)
        for task in map(without_test_outputs, tasks)
    ]
    for number in sorted(range(len(tasks)), key=lambda n: (-cells[n], n)):
        least = work.index(min(work))
        shards[least].append(number)
        work[least] += cells[number]
    return [[tasks[number] for number in sorted(shard)] for shard in shards]
