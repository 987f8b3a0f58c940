"""What a supervisor asks of a worker. Imports no torch: the supervisor has to work where torch fails."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from solver.tasks.task import Task

REFUSED = 1  # exit code of a worker whose weights or tasks are no good
ORPHANED = 3  # exit code of a worker whose supervisor is gone


@dataclass(frozen=True)
class Job:
    """The tasks of one worker, where it computes and until when."""

    tasks: str  # a challenges file
    journal: str  # folder
    name: str  # of its fitted weights in there
    device: str
    deadline: float  # seconds of time.monotonic, which all processes of a machine share
    options: dict[str, Any]  # SolveOptions
    weights: str | None = None

    def to_line(self) -> bytes:
        """As the worker reads it from its standard input."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes) -> "Job":
        """The job in a line."""
        return cls(**orjson.loads(line))


def share_tasks(tasks: Sequence[Task], count: int) -> list[list[Task]]:
    """At most `count` lists that hold every task once, in the order of `tasks`: the same on every machine.

    The largest task goes first, each to whoever has least work so far (Graham 1969, longest processing time first).
    """
    shards: list[list[int]] = [[] for _ in range(min(count, len(tasks)))]
    work = [0] * len(shards)
    for number in sorted(range(len(tasks)), key=lambda n: (-_work(tasks[n]), n)):
        least = work.index(min(work))
        shards[least].append(number)
        work[least] += _work(tasks[number])
    return [[tasks[number] for number in sorted(shard)] for shard in shards]


def _work(task: Task) -> int:
    """Cells of all its grids: a supervision step costs in proportion to them."""
    outputs = [pair.output.size for pair in task.train if pair.output is not None]
    return sum(pair.input.size for pair in (*task.train, *task.test)) + sum(outputs)
