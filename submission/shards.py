"""Which worker takes which tasks, so that all have about the same work."""

from collections.abc import Sequence

from solver.tasks import Task


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
