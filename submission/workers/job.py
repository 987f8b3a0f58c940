"""The job of a worker, and how tasks are divided among workers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from solver.tasks.task import Task

REFUSED = 1  # exit code of a worker that cannot use its weights, tasks or device
ORPHANED = 3  # exit code of a worker whose supervisor has ended


@dataclass(frozen=True)
class Job:
    """Which tasks a worker solves, on which device, and until when."""

    tasks: str  # path of a challenges file
    journal: str  # path of the folder of votes
    name: str  # of its fitted weights in that folder
    device: str
    deadline: float  # time.monotonic(), which all processes of a machine share
    options: dict[str, Any]  # SolveOptions
    weights: str | None = None

    def to_line(self) -> bytes:
        """One line of JSON, which the worker reads from standard input."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes) -> "Job":
        """The job that `to_line` wrote."""
        return cls(**orjson.loads(line))


def share_tasks(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """Divide the tasks into at most `count` lists of about equal work, each in the order of `tasks`.

    Longest processing time first (Graham 1969): the largest task goes first, each to the list with the least work so
    far. Deterministic, so that all machines agree.
    """
    shards: list[list[int]] = [[] for _ in range(min(count, len(tasks)))]
    work = [0] * len(shards)
    for number in sorted(range(len(tasks)), key=lambda n: (-_work(tasks[n]), n)):
        least = work.index(min(work))
        shards[least].append(number)
        work[least] += _work(tasks[number])
    return [[tasks[number] for number in sorted(shard)] for shard in shards]


def _work(task: Task) -> int:
    """Cells of all grids of a task: the cost of a supervision step is proportional to them."""
    outputs = [pair.output.size for pair in task.train if pair.output is not None]
    return sum(pair.input.size for pair in (*task.train, *task.test)) + sum(outputs)
